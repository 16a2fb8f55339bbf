"""Forced alignment of single utterances, with a second try and the reason where there is none."""

from dataclasses import dataclass, field
from typing import NamedTuple

import kaldifst
import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from asr_kd.config import Config
from asr_kd.labels.lang import Lang
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


@dataclass
class Aligner:
    """Aligns transcripts of one language; keeps the graphs that it made.

    Attributes:
        lang: words, phones and transitions.
        config: of the search.
        transcripts: utterance id → word numbers.
    """

    lang: Lang
    config: SearchConfig
    transcripts: dict[str, list[int]]
    _decoders: dict[str, GraphDecoder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._graphs = TrainingGraphs(
            self.lang, self.config.transition_scale, self.config.self_loop_scale
        )

    def obstacle(self, utt_id: str, num_frames: int) -> str:
        """Why no path can exist, or an empty string."""
        needed = self.lang.min_frames(self.transcripts[utt_id])
        if num_frames == 0:
            return "no frames"
        if needed > num_frames:
            return f"its transcript needs at least {needed} frames, its audio has {num_frames}"
        return ""

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
        decoder = self._decoder(utt_id)
        scaled = np.float32(self.config.acoustic_scale) * scores
        for beam in (self.config.beam, self.config.retry_beam):
            decoder.set_beam(beam)
            path = decoder.decode(scaled, utt_id)
            if path.complete:
                return Aligned(path.labels, path.cost, retried=beam != self.config.beam)
        return Aligned(
            None, retried=True, reason=f"no path reached its end within beam {beam:g}; "
            f"does the transcript belong to the audio?"
        )  # fmt: skip

    def graph(self, utt_id: str) -> "kaldifst.StdVectorFst":
        """The graph of a transcript."""
        return self._graphs(self.transcripts[utt_id])

    def _decoder(self, utt_id: str) -> GraphDecoder:
        if utt_id not in self._decoders:
            self._decoders[utt_id] = GraphDecoder(
                self.graph(utt_id),
                len(self.lang.label_set),
                self.config.beam,
                self.config.max_active,
            )
        return self._decoders[utt_id]
