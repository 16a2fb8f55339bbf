"""Forced alignment of single utterances, with a second try and the reason where there is none."""

from collections.abc import Mapping
from typing import NamedTuple

import kaldifst
import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from asr_kd.config import Config
from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import to_arrays
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.graph import TrainingGraphs


class SearchConfig(Config):
    """How an alignment is searched.

    Attributes:
        acoustic_scale: weight of the frame scores against pronunciations, silence and transitions.
        transition_scale: weight of the log-probabilities of a state's successors.
        self_loop_scale: weight of those of staying in a state and of leaving it.
        beam: width of the search, in scaled cost.
        retry_beam: width of the second try, of utterances that did not reach their end.
        max_active: most active states of a frame.
    """

    acoustic_scale: PositiveFloat = 0.1
    transition_scale: NonNegativeFloat = 1.0
    self_loop_scale: NonNegativeFloat = 0.1
    beam: PositiveFloat = 10.0
    retry_beam: PositiveFloat = 40.0
    max_active: PositiveInt = 7000


class Aligned(NamedTuple):
    """What came of one utterance.

    Attributes:
        pdf_ids: int32 (T,), or None if it cannot be aligned.
        cost: of the best path; infinite where there is none.
        retried: whether the wider beam was needed.
        reason: why there is no alignment; empty where there is one.
    """

    pdf_ids: NDArray[np.int32] | None
    cost: float = float("inf")
    retried: bool = False
    reason: str = ""


class Aligner:
    """Aligns transcripts of one language.

    Args:
        lang: words, phones and transitions.
        config: of the search.
        transcripts: utterance id → word numbers.
    """

    def __init__(
        self, lang: Lang, config: SearchConfig, transcripts: Mapping[str, list[int]]
    ) -> None:
        self.lang = lang
        self.config = config
        self.transcripts = transcripts
        self._graphs = TrainingGraphs(lang, config.transition_scale, config.self_loop_scale)

    def obstacle(self, utt_id: str, num_frames: int) -> str:
        """Why no path can exist, or an empty string."""
        needed = self.lang.min_frames(self.transcripts[utt_id])
        if num_frames == 0:
            return "no frames"
        if needed > num_frames:
            return f"its transcript needs at least {needed} frames, its audio has {num_frames}"
        return ""

    def graph(self, utt_id: str) -> "kaldifst.StdVectorFst":
        """The graph of an utterance's transcript."""
        return self._graphs(self.transcripts[utt_id])

    def labels(self, utt_id: str) -> NDArray[np.int64]:
        """The labels that paths of its transcript run through: `align` reads no other scores."""
        labels = np.unique(to_arrays(self.graph(utt_id)).arcs["ilabel"]).astype(np.int64)
        return labels[labels > 0] - 1

    def align(self, utt_id: str, scores: NDArray[np.float32]) -> Aligned:
        """The best path through the states of the transcript.

        Args:
            utt_id: one of `transcripts`.
            scores: (T, V) log-likelihoods, unscaled.

        Raises:
            InputError: for scores that are NaN.
        """
        if reason := self.obstacle(utt_id, len(scores)):
            return Aligned(None, reason=reason)
        config = self.config
        graph, num_labels = self.graph(utt_id), len(self.lang.label_set)
        decoder = GraphDecoder(graph, num_labels, config.beam, config.max_active)
        scaled = np.float32(config.acoustic_scale) * scores
        path = decoder.decode(scaled, utt_id)
        if path.complete:
            return Aligned(path.labels, path.cost)
        decoder.set_beam(config.retry_beam)
        path = decoder.decode(scaled, utt_id)
        if path.complete:
            return Aligned(path.labels, path.cost, retried=True)
        reason = (
            f"no path reached its end within beam {config.retry_beam:g}; does the transcript "
            f"belong to the audio?"
        )
        return Aligned(None, retried=True, reason=reason)
