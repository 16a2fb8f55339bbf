"""Calibration: is a model right as often as it says it is?

The expected calibration error with equal bins of confidence, as in Guo, Pleiss, Sun and Weinberger
2017, "On Calibration of Modern Neural Networks", section 2 (who take 15 bins, too).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
_ROUNDING = 1e-4  # of probabilities from float32 logarithms


@dataclass(frozen=True, eq=False)
class Calibration:
    """Frames sorted by the probability of their most probable label, in `BINS` equal bins of 0..1.

    Attributes:
        frames: (BINS,) how many fell into each bin.
        correct: (BINS,) how many of them were right.
        confidence: (BINS,) the sum of their probabilities.
    """

    frames: NDArray[np.int64]
    correct: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike) -> "Calibration":
        """Counts frames.

        Args:
            confidence: (N,) probability of the most probable label, 0 to 1.
            correct: (N,) bool, whether that label is the right one.

        Raises:
            ValueError: for probabilities outside 0 to 1, by more than rounding, or NaN.
        """
        said = np.asarray(confidence, dtype=np.float64)
        if not ((said >= -_ROUNDING) & (said <= 1 + _ROUNDING)).all():
            raise ValueError("a probability is not between 0 and 1")
        # Bin b is what lies above b / BINS up to (b + 1) / BINS, as in the paper.
        bins = np.clip(np.ceil(said * BINS).astype(np.int64) - 1, 0, BINS - 1)
        right = np.asarray(correct, dtype=bool)
        return cls(
            np.bincount(bins, minlength=BINS).astype(np.int64),
            np.bincount(bins[right], minlength=BINS).astype(np.int64),
            np.bincount(bins, said, BINS).astype(np.float64),
        )

    @classmethod
    def none(cls) -> "Calibration":
        """No frames yet."""
        return cls.of([], [])

    def __add__(self, other: "Calibration") -> "Calibration":
        """The frames of both together."""
        return Calibration(
            self.frames + other.frames,
            self.correct + other.correct,
            self.confidence + other.confidence,
        )

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: `Σ_b |correct_b − confidence_b| / Σ_b frames_b`.

        NaN without frames.
        """
        if not (frames := self.frames.sum()):
            return math.nan
        return float(np.abs(self.correct - self.confidence).sum() / frames)

    def to_dict(self) -> dict[str, list[Any]]:
        """JSON-able."""
        return {
            "frames": self.frames.tolist(),
            "correct": self.correct.tolist(),
            "confidence": self.confidence.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> "Calibration":
        """What `to_dict` gave.

        Raises:
            ValueError: for anything else.
        """
        if set(values) != {"frames", "correct", "confidence"}:
            raise ValueError(f"calibration has {sorted(values)}")
        found = cls(
            np.asarray(values["frames"], np.int64),
            np.asarray(values["correct"], np.int64),
            np.asarray(values["confidence"], np.float64),
        )
        if {found.frames.shape, found.correct.shape, found.confidence.shape} != {(BINS,)}:
            raise ValueError(f"calibration with another number of bins than {BINS}")
        return found
