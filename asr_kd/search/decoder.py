"""Viterbi beam search of frame scores through a graph, by kaldi-decoder."""

import math
from typing import NamedTuple

import kaldi_decoder
import kaldifst
import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.search.arrays import to_arrays
from asr_kd.search.nbest import Lattice, Sentence, best_sentences, with_sentence


class Path(NamedTuple):
    """The best path found.

    Attributes:
        words: the graph's output labels along the path, without epsilons.
        labels: label of each frame, int32 (T,); empty if no path was left in the beam.
        cost: negated sum of frame scores and graph weights, the final weight included.
        complete: whether it ends in a final state. A path that does not is the best *partial* one;
            it must never be passed off as a result. No frames make no complete path.
    """

    words: list[int]
    labels: NDArray[np.int32]
    cost: float
    complete: bool


_NO_PATH = Path([], np.zeros(0, np.int32), float("inf"), False)


class GraphDecoder:
    """Searches one graph.

    Args:
        graph: input labels are label + 1, one per frame, 0 for none; kept alive by this object.
        num_labels: V, the columns that scores will have.
        beam: width of the search, in the units of the (scaled) scores.
        max_active: most states kept per frame; bounds the time that noise can take.
        min_active: fewest, whatever the beam. CTC's frames of a sure blank need none: looking for
            some more states takes most of the time there.

    Raises:
        InputError: if the graph is empty or asks for a label that scores do not have.
    """

    def __init__(
        self,
        graph: "kaldifst.StdVectorFst",
        num_labels: int,
        beam: float = 13.0,
        max_active: int = 7000,
        min_active: int = 20,
    ) -> None:
        if graph.start < 0:
            raise InputError("the graph is empty: it accepts no sequence of labels")
        # The library reads beyond the scores' columns without a word.
        if (needed := num_input_labels(graph)) > num_labels:
            raise InputError(
                f"the graph needs at least {needed} labels, the scores have {num_labels}: "
                f"they were made with different language folders"
            )
        self._graph = graph  # the library does not hold on to it
        self._num_labels = num_labels
        self._beam, self._max_active, self._min_active = beam, max_active, min_active
        self._decoder = kaldi_decoder.FasterDecoder(graph, self._options(beam))

    def _options(self, beam: float) -> "kaldi_decoder.FasterDecoderOptions":
        return kaldi_decoder.FasterDecoderOptions(
            beam=beam, max_active=self._max_active, min_active=self._min_active
        )

    def set_beam(self, beam: float) -> None:
        """Changes the width of the search."""
        self._beam = beam
        self._decoder.set_options(self._options(beam))

    def decode(
        self, scores: NDArray[np.float32], utt_id: str = "utterance", follows: bool = False
    ) -> Path:
        """Finds the best path.

        Args:
            scores: (T, V), larger is better, acoustic scale applied.
            utt_id: for messages.
            follows: whether the frames go on where those of the last call ended; the path is of
                all of them.

        Raises:
            InputError: for NaN or +inf among the scores, naming the utterance and the frame.
        """
        self._check(scores, utt_id)
        if not follows or self._decoder.num_frames_decoded() < 0:  # of none that has begun
            self._decoder.init_decoding()
        first = self._decoder.num_frames_decoded()
        if first + len(scores) == 0:
            return _NO_PATH
        self._decoder.advance_decoding(_decodable(scores, first))
        found, lattice = self._decoder.get_best_path()
        if not found:
            return _NO_PATH
        _, labels, words, weight = kaldifst.get_linear_symbol_sequence(lattice)
        return Path(
            list(words),
            np.asarray(labels, dtype=np.int32) - 1,
            weight.value1 + weight.value2,
            # get_best_path returns something even where no final state was reached.
            bool(self._decoder.reached_final()),
        )

    def nbest(
        self,
        scores: NDArray[np.float32],
        n: int,
        lattice_beam: float,
        utt_id: str = "utterance",
    ) -> list[Sentence]:
        """The best distinct word sequences, by a second search that keeps a lattice.

        The library's search for lattices knows no `max_active`: only the beam bounds its time.

        Args:
            scores: (T, V), larger is better, acoustic scale applied.
            n: most sequences.
            lattice_beam: largest cost of a sequence above the best one's; at most the beam.
            utt_id: for messages.

        Returns:
            Best first. The words of `decode` are always among them (words of equal cost,
            homophones, may stand before them), and alone where their path is not complete: the
            costs of paths that end anywhere cannot be compared.

        Raises:
            InputError: as `decode`.
        """
        path = self.decode(scores, utt_id)
        if not len(path.labels):
            return [Sentence((), 0.0, 0.0)]
        acoustic = -float(scores[np.arange(len(scores)), path.labels].sum(dtype=np.float64))
        own = Sentence(tuple(path.words), path.cost - acoustic, acoustic)
        if not path.complete or n == 1:
            return [own]
        lattice_beam = min(lattice_beam, self._beam)
        config = kaldi_decoder.LatticeSimpleDecoderConfig(
            beam=self._beam, lattice_beam=lattice_beam
        )
        decoder = kaldi_decoder.LatticeSimpleDecoder(self._graph, config)
        decoder.decode(_decodable(scores))
        # Where no path reached an end, every state is handed out as one.
        if math.isinf(decoder.final_relative_cost()):
            return [own]
        _, lattice = decoder.get_raw_lattice()
        return with_sentence(best_sentences(Lattice.of(lattice), n, lattice_beam), own, n)

    def _check(self, scores: NDArray[np.float32], utt_id: str) -> None:
        if scores.ndim != 2 or scores.shape[1] != self._num_labels:
            raise ValueError(f"{utt_id}: scores of shape {scores.shape}, V is {self._num_labels}")
        bad = np.isnan(scores) | (scores == np.inf)
        if bad.any():
            frame, label = np.argwhere(bad)[0]
            raise InputError(
                f"{utt_id}: score of label {label} at frame {frame} is {scores[frame, label]} "
                f"({bad.any(axis=1).sum()} of {len(scores)} frames); the model or its features "
                f"are broken"
            )


def _decodable(scores: NDArray[np.float32], first: int = 0) -> "kaldi_decoder.DecodableCtc":
    return kaldi_decoder.DecodableCtc(np.ascontiguousarray(scores, dtype=np.float32), first)


def num_input_labels(graph: "kaldifst.StdVectorFst") -> int:
    """The largest input label of a graph: the number of score columns that it needs."""
    return int(to_arrays(graph).arcs["ilabel"].max(initial=0))
