"""A graph folder (HCLG.fst, words.txt) opened for search."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import kaldifst
import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import WORD_START, join_pieces
from asr_kd.search.decoder import GraphDecoder

GRAPH_FILES = ("HCLG.fst", "words.txt")
_PENALTIES_AT_HAND = 8  # graphs kept in memory, one for each insertion penalty


class OpenGraph:
    """Searches a graph folder with any insertion penalty.

    Where words.txt has pieces of words, by the mark that begins words, they are joined.

    Args:
        folder: output of `make-graph`, `make-ctc-graph` or `export`.
        num_labels: V, the columns of the scores.
        beam: width of the search, in scaled cost.
        max_active: most active states of a frame.

    Raises:
        InputError: if the words cannot be read; at the first search, if the graph cannot.
    """

    def __init__(self, folder: Path, num_labels: int, beam: float, max_active: int) -> None:
        symbols = read_table(folder / "words.txt")
        self._words = {int(number): word for word, number in symbols.items()}
        self._starts = word_starts(self._words)
        self._in_pieces = any(word.startswith(WORD_START) for word in symbols)
        self._folder = folder
        self._num_labels = num_labels
        self._beam = beam
        self._max_active = max_active
        self._decoder = lru_cache(_PENALTIES_AT_HAND)(self._make_decoder)

    def search(
        self,
        scores: NDArray[np.float32],
        insertion_penalty: float,
        utt_id: str,
        follows: bool = False,
    ) -> tuple[list[str], bool]:
        """The best path's words, and whether it reached a final state.

        Args:
            scores: (T, V), acoustic scale applied.
            insertion_penalty: cost of each word.
            utt_id: for messages.
            follows: whether the frames go on where those of the last search ended; the path is of
                all of them.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        path = self._decoder(insertion_penalty).decode(scores, utt_id, follows)
        return self._spoken(path.words), path.complete

    def _spoken(self, numbers: Sequence[int]) -> list[str]:
        symbols = [self._words[number] for number in numbers]
        return join_pieces(symbols) if self._in_pieces else symbols

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
        found: dict[tuple[str, ...], tuple[list[str], float, float]] = {}
        for one in self._decoder(insertion_penalty).nbest(scores, n, lattice_beam, utt_id):
            words = self._spoken(one.words)
            graph = one.graph - insertion_penalty * sum(n in self._starts for n in one.words)
            # Words in other pieces are the same words.
            found.setdefault(tuple(words), (words, graph, one.acoustic))
        return list(found.values())

    def _make_decoder(self, insertion_penalty: float) -> GraphDecoder:
        path = self._folder / "HCLG.fst"
        graph = kaldifst.StdVectorFst.read(str(path))
        if graph is None:
            raise InputError(f"{path}: corrupt, truncated or no vector FST; make the graph again")
        if insertion_penalty:
            graph = penalised(graph, insertion_penalty, self._words)
        labels = self._folder / "labels.json"
        sparse = labels.is_file() and LabelSet.load(labels).is_ctc
        least = {"min_active": 0} if sparse else {}
        return GraphDecoder(graph, self._num_labels, self._beam, self._max_active, **least)


def missing_files(folder: Path) -> list[str]:
    """A fault for each file of a graph that a folder lacks."""
    missing = [name for name in GRAPH_FILES if not (folder / name).is_file()]
    expected = "expected the output of `asr-kd make-graph` or `make-ctc-graph`"
    return [f"{folder}: no {name}; {expected}" for name in missing]


def word_starts(symbols: Mapping[int, str]) -> set[int]:
    """The symbols, 0 left out, that begin a word: all, or of pieces those with the mark."""
    starts = {number for number, symbol in symbols.items() if symbol.startswith(WORD_START)}
    return (starts or set(symbols)) - {0}


def penalised(
    graph: "kaldifst.StdVectorFst", insertion_penalty: float, symbols: Mapping[int, str]
) -> "kaldifst.StdVectorFst":
    """A copy of a graph in which each arc that begins a word costs `insertion_penalty` more.

    Composition with a one-state loop does it outside Python: a thousand times faster than a walk
    over the arcs.
    """
    loop = kaldifst.StdVectorFst()
    state = loop.add_state()
    loop.start = state
    loop.set_final(state, 0.0)
    starts = word_starts(symbols)
    for number in sorted(symbols):
        if number:
            cost = insertion_penalty if number in starts else 0.0
            loop.add_arc(state, kaldifst.StdArc(number, number, cost, state))
    return kaldifst.StdVectorFst(kaldifst.compose(graph, loop))
