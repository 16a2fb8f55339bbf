"""A graph folder (HCLG.fst, words.txt) opened for search."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import kaldifst
import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.search.decoder import GraphDecoder

GRAPH_FILES = ("HCLG.fst", "words.txt")
_PENALTIES_AT_HAND = 8  # graphs kept in memory, one for each insertion penalty


class OpenGraph:
    """Searches a graph folder with any insertion penalty.

    Args:
        folder: output of `make-graph` or `export`.
        num_labels: V, the columns of the scores.
        beam: width of the search, in scaled cost.
        max_active: most active states of a frame.

    Raises:
        InputError: if the words cannot be read; at the first search, if the graph cannot.
    """

    def __init__(self, folder: Path, num_labels: int, beam: float, max_active: int) -> None:
        symbols = read_table(folder / "words.txt")
        self._words = {int(number): word for word, number in symbols.items()}
        self._folder = folder
        self._num_labels = num_labels
        self._beam = beam
        self._max_active = max_active
        self._decoder = lru_cache(_PENALTIES_AT_HAND)(self._make_decoder)

    def search(
        self, scores: NDArray[np.float32], insertion_penalty: float, utt_id: str
    ) -> tuple[list[str], bool]:
        """The best path's words, and whether it reached a final state.

        Args:
            scores: (T, V), acoustic scale applied.
            insertion_penalty: cost of each word.
            utt_id: for messages.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        path = self._decoder(insertion_penalty).decode(scores, utt_id)
        return [self._words[word] for word in path.words], path.complete

    def nbest(
        self,
        scores: NDArray[np.float32],
        insertion_penalty: float,
        n: int,
        lattice_beam: float,
        utt_id: str,
    ) -> list[tuple[list[str], float, float]]:
        """The best distinct word sequences, best first, those of `search` among them.

        Args:
            scores: (T, V), acoustic scale applied.
            insertion_penalty: cost of each word.
            n: most sequences.
            lattice_beam: largest cost of a sequence above the best one's.
            utt_id: for messages.

        Returns:
            Words, graph cost without the penalties of words, acoustic cost; a list of one where
            no path is complete.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        found = self._decoder(insertion_penalty).nbest(scores, n, lattice_beam, utt_id)
        return [
            (
                [self._words[word] for word in sentence.words],
                sentence.graph - insertion_penalty * len(sentence.words),
                sentence.acoustic,
            )
            for sentence in found
        ]

    def _make_decoder(self, insertion_penalty: float) -> GraphDecoder:
        path = self._folder / "HCLG.fst"
        graph = kaldifst.StdVectorFst.read(str(path))
        if graph is None:
            raise InputError(f"{path}: corrupt, truncated or no vector FST; make the graph again")
        if insertion_penalty:
            graph = penalised(graph, insertion_penalty, self._words)
        return GraphDecoder(graph, self._num_labels, self._beam, self._max_active)


def penalised(
    graph: "kaldifst.StdVectorFst", insertion_penalty: float, words: Iterable[int]
) -> "kaldifst.StdVectorFst":
    """A copy of a graph in which each arc with one of `words` costs `insertion_penalty` more.

    Composition with a one-state loop does it outside Python: a thousand times faster than a walk
    over the arcs.
    """
    loop = kaldifst.StdVectorFst()
    state = loop.add_state()
    loop.start = state
    loop.set_final(state, 0.0)
    for word in sorted(words):
        if word:
            loop.add_arc(state, kaldifst.StdArc(word, word, insertion_penalty, state))
    return kaldifst.StdVectorFst(kaldifst.compose(graph, loop))
