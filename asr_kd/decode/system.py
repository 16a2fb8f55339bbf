"""One process's decoding system: the models' scores, and the search through the graph.

Opened once per process from a small description that can be sent to worker processes; neither a
model nor a graph travels between processes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.decode.config import Scales, UnitSearch
from asr_kd.decode.nbest import Candidate, Keep
from asr_kd.decode.unit_decoder import UnitDecoder, has_graph, normaliser_of
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.scorer import Scorer
from asr_kd.search.open_graph import OpenGraph


@dataclass(frozen=True)
class Setup:
    """What decodes; hashable and picklable.

    Attributes:
        models: one model, or the members of an ensemble, as `Scorer.open` takes them.
        data: feature directory to decode.
        graph: folder with HCLG.fst and words.txt, or of units to search without a graph.
        mean: how posteriors are averaged, "arithmetic" or "geometric".
        beam: of the search.
        max_active: of the search.
        weights: of the members; None for equal ones.
        trust: whether programs that can run any code may be loaded.
        keep: how long n-best lists are kept; None for none.
        units: how units are searched.
        lm: language model of units.
    """

    models: tuple[str, ...]
    data: Path
    graph: Path
    mean: Mean
    beam: float
    max_active: int
    weights: tuple[float, ...] | None = None
    trust: bool = False
    keep: Keep | None = None
    units: UnitSearch = field(default_factory=UnitSearch)
    lm: Path | None = None


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
        each: (M, T, V) log-posteriors of models that search together.
    """

    scores: NDArray[np.float32]
    log_prior: NDArray[np.float32] | None
    each: NDArray[np.float32] | None = None

    def scaled(self, scales: Scales) -> NDArray[np.float32]:
        """(T, V): acoustic_scale · (log_post − prior_scale · log_prior)."""
        return scales.apply(self.scores, self.log_prior)


class System:
    """Scores and searches utterances; make it by `open_system`.

    Attributes:
        scorer: the models.
        normaliser: what is done to words before they are compared with a reference.
    """

    def __init__(self, setup: Setup) -> None:
        self.scorer = Scorer.open(
            list(setup.models), setup.data, mean=setup.mean, weights=setup.weights,
            trust=setup.trust,
        )  # fmt: skip
        self.normaliser = normaliser_of(setup.graph)
        self._shared = setup.units.shared
        num_labels = len(self.scorer.label_set)
        self._search: OpenGraph | UnitDecoder
        if has_graph(setup.graph):
            self._search = OpenGraph(setup.graph, num_labels, setup.beam, setup.max_active)
        else:
            self._search = UnitDecoder(
                setup.graph, setup.units, setup.lm, setup.mean, setup.weights
            )

    def frame_scores(self, utt_id: str) -> FrameScores:
        """Runs the models on one utterance."""
        if self.scorer.log_prior is None:
            return FrameScores(self.scorer.loglikes(utt_id), None)
        if self._shared:
            averaged, each = self.scorer.log_posts(utt_id)
            return FrameScores(averaged, self.scorer.log_prior, each)
        return FrameScores(self.scorer.log_post(utt_id), self.scorer.log_prior)

    def search(self, utt_id: str, scores: FrameScores, scales: Scales) -> Hypothesis:
        """The best path's words.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        if isinstance(self._search, UnitDecoder):
            log_posts = scores.scores[None] if scores.each is None else scores.each
            if scores.log_prior is not None:
                log_posts = log_posts - np.float32(scales.prior_scale) * scores.log_prior
            return Hypothesis(*self._search.search(log_posts, scales, utt_id))
        scaled = scores.scaled(scales)
        return Hypothesis(*self._search.search(scaled, scales.insertion_penalty, utt_id))

    def nbest(
        self, utt_id: str, scores: FrameScores, scales: Scales, keep: Keep
    ) -> list[Candidate]:
        """The best distinct word sequences, best first.

        Raises:
            InputError: for NaN among the scores, naming the utterance.
        """
        assert isinstance(self._search, OpenGraph)  # `decode` refused lists without a graph
        found = self._search.nbest(scores.scaled(scales), scales.insertion_penalty, *keep, utt_id)
        return [
            Candidate(tuple(words), graph, acoustic / scales.acoustic_scale)
            for words, graph, acoustic in found
        ]


@lru_cache(maxsize=2)  # the data to decode, and the data to tune on
def open_system(setup: Setup) -> System:
    """The system of this process, opened at its first call."""
    return System(setup)
