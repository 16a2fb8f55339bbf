"""Calibration: is a model right as often as it says it is?

The expected calibration error with equal bins of confidence, as in Guo, Pleiss, Sun and Weinberger
2017, "On Calibration of Modern Neural Networks", section 2 (who take 15 bins, too).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15


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
            confidence: (N,) probability of the most probable label.
            correct: (N,) bool, whether that label is the right one.
        """
        raise NotImplementedError

    @classmethod
    def none(cls) -> "Calibration":
        """No frames yet."""
        raise NotImplementedError

    def __add__(self, other: "Calibration") -> "Calibration":
        """The frames of both together."""
        raise NotImplementedError

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1: `Σ_b |correct_b − confidence_b| / Σ_b frames_b`.

        NaN without frames.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, list[int] | list[float]]:
        """JSON-able."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, values: dict[str, list[float]]) -> "Calibration":
        """What `to_dict` gave.

        Raises:
            ValueError: for arrays of another length than `BINS`.
        """
        raise NotImplementedError
