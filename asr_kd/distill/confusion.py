"""Which labels a model confuses: the covariance of its posteriors (paper, section 5.1)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Confusion:
    """Mean and scatter of posteriors over a set of frames, one batch after the other.

    Labels whose probabilities rise and fall together have similar columns in the covariance: they
    are those that the model cannot tell apart. No true label is needed.

    Attributes:
        frames: N so far.
        mean: of the posteriors (V,) in double precision.
        scatter: Σ (p − mean)(p − mean)ᵀ over the frames (V,V) in double precision.
    """

    frames: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, num_labels: int) -> "Confusion":
        """Of no frame."""
        zeros = torch.zeros(num_labels, num_labels, dtype=torch.float64)
        return cls(0, zeros[0].clone(), zeros)

    @classmethod
    def of(cls, probs: Tensor) -> "Confusion":
        """Of frames (N,V), N at least 1."""
        probs = probs.double()
        mean = probs.mean(0)
        centred = probs - mean
        return cls(len(probs), mean, centred.T @ centred)

    def merge(self, other: "Confusion") -> None:
        """Takes in other frames; their means are never subtracted from large sums."""
        total = self.frames + other.frames
        if not total:
            return
        step = other.mean - self.mean
        self.scatter += other.scatter
        self.scatter += torch.outer(step, step) * (self.frames * other.frames / total)
        self.mean = self.mean + step * (other.frames / total)
        self.frames = total

    @property
    def covariance(self) -> Tensor:
        """(V,V), over the number of frames."""
        return self.scatter / max(self.frames, 1)
