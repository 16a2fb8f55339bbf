"""One process's decoding system: the models' scores, and the search through the graph.

Opened once per process from a small description that can be sent to worker processes; neither a
model nor a graph travels between processes.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import kaldifst
import numpy as np
from numpy.typing import NDArray

from asr_kd.decode.config import Scales
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.scorer import Scorer
from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.search.decoder import GraphDecoder

_PENALTIES_AT_HAND = 8  # graphs kept in memory, one for each insertion penalty


@dataclass(frozen=True)
class Setup:
    """What decodes; hashable and picklable.

    Attributes:
        models: one model, or the members of an ensemble, as `Scorer.open` takes them.
        data: feature directory to decode.
        graph: folder with HCLG.fst and words.txt.
        mean: how posteriors are averaged, "arithmetic" or "geometric".
        beam: of the search.
        max_active: of the search.
        weights: of the members; None for equal ones.
        trust: whether programs that can run any code may be loaded.
    """

    models: tuple[str, ...]
    data: Path
    graph: Path
    mean: Mean
    beam: float
    max_active: int
    weights: tuple[float, ...] | None = None
    trust: bool = False


class Hypothesis(NamedTuple):
    """Words of the best path, and whether it reached a final state."""

    words: list[str]
    complete: bool


@dataclass
class Timer:
    """CPU seconds of this process by kind of work; all its threads count, so it is per core."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Adds the time of the block."""
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.process_time() - start


class FrameScores(NamedTuple):
    """Unscaled scores of one utterance.

    Attributes:
        scores: (T, V) log-posteriors, or log-likelihoods where there is no prior.
        log_prior: (V,), or None for a GMM, whose scores are log-likelihoods already.
    """

    scores: NDArray[np.float32]
    log_prior: NDArray[np.float32] | None

    def scaled(self, scales: Scales) -> NDArray[np.float32]:
        """(T, V): acoustic_scale · (log_post − prior_scale · log_prior)."""
        loglikes = self.scores
        if self.log_prior is not None:
            loglikes = loglikes - np.float32(scales.prior_scale) * self.log_prior
        return np.ascontiguousarray(np.float32(scales.acoustic_scale) * loglikes)


class System:
    """Scores and searches utterances; make it by `open_system`."""

    def __init__(self, setup: Setup) -> None:
        self.scorer = Scorer.open(
            list(setup.models), setup.data, mean=setup.mean, weights=setup.weights,
            trust=setup.trust,
        )  # fmt: skip
        symbols = read_table(setup.graph / "words.txt")
        self._words = {int(number): word for word, number in symbols.items()}
        self._setup = setup
        self._decoder = lru_cache(_PENALTIES_AT_HAND)(self._make_decoder)

    def frame_scores(self, utt_id: str) -> FrameScores:
        """Runs the models on one utterance."""
        if self.scorer.log_prior is None:
            return FrameScores(self.scorer.loglikes(utt_id), None)
        return FrameScores(self.scorer.log_post(utt_id), self.scorer.log_prior)

    def search(self, utt_id: str, scores: FrameScores, scales: Scales) -> Hypothesis:
        """The best path's words.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        path = self._decoder(scales.insertion_penalty).decode(scores.scaled(scales), utt_id)
        return Hypothesis([self._words[word] for word in path.words], path.complete)

    def _make_decoder(self, insertion_penalty: float) -> GraphDecoder:
        path = self._setup.graph / "HCLG.fst"
        graph = kaldifst.StdVectorFst.read(str(path))
        if graph is None:
            raise InputError(f"{path}: corrupt, truncated or no vector FST; make the graph again")
        if insertion_penalty:
            graph = penalised(graph, insertion_penalty, self._words)
        num_labels = len(self.scorer.label_set)
        return GraphDecoder(graph, num_labels, self._setup.beam, self._setup.max_active)


@lru_cache(maxsize=2)  # the data to decode, and the data to tune on
def open_system(setup: Setup) -> System:
    """The system of this process, opened at its first call."""
    return System(setup)


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
