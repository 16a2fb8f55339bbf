"""Soft targets of many frames with only their larger probabilities, as tensors."""

from typing import NamedTuple

import torch
from torch import Tensor


class SoftTargets(NamedTuple):
    """Distributions over V labels for N frames, in compressed sparse rows.

    Frame n keeps `labels[indptr[n]:indptr[n + 1]]` with the probabilities at the same places;
    all other labels together hold `left[n]`. Probabilities and what is left add up to 1.

    Attributes:
        indptr: (N+1,) int64, from 0 to the number of entries.
        labels: (entries,) int64, all different within a frame.
        probs: (entries,) float32.
        left: (N,) float32; 0 where a frame keeps all labels.
    """

    indptr: Tensor
    labels: Tensor
    probs: Tensor
    left: Tensor

    @classmethod
    def from_dense(cls, probs: Tensor) -> "SoftTargets":
        """Keeps every label of dense distributions (N,V)."""
        num_frames, num_labels = probs.shape
        indptr = torch.arange(num_frames + 1, device=probs.device) * num_labels
        labels = torch.arange(num_labels, device=probs.device).repeat(num_frames)
        return cls(indptr, labels, probs.reshape(-1), probs.new_zeros(num_frames))

    @property
    def num_frames(self) -> int:
        """N."""
        return len(self.left)

    def frames(self) -> Tensor:
        """The frame of each entry, (entries,) int64."""
        numbers = torch.arange(self.num_frames, device=self.indptr.device)
        return numbers.repeat_interleave(self.indptr.diff(), output_size=len(self.labels))

    def best(self) -> Tensor:
        """The most probable label of each frame (N,) int64; 0 where none is kept."""
        frames = self.frames()
        top = torch.zeros_like(self.left).scatter_reduce(0, frames, self.probs, "amax")
        is_top = self.probs == top[frames]
        best = torch.zeros_like(self.indptr[1:])
        best[frames[is_top]] = self.labels[is_top]
        return best

    def dense(self, num_labels: int) -> Tensor:
        """(N,V) probabilities, with what is left spread evenly over the labels not kept."""
        others = (num_labels - self.indptr.diff()).clamp_min(1)
        dense = (self.left / others)[:, None].repeat(1, num_labels)
        return dense.index_put_((self.frames(), self.labels), self.probs)

    def to(self, device: torch.device | str) -> "SoftTargets":
        """The same targets on `device`."""
        return SoftTargets(*(part.to(device) for part in self))
