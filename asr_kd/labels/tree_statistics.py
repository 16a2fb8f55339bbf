"""Sums over the frames of every state in every context, and the likelihoods that follow from them.

They are all that trees are grown from: their size depends on the contexts seen, not on the hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from asr_kd.labels.phone_path import Contexts

Sums = NDArray[np.float64]
"""(..., 1 + 2D): number of frames, sum of the features, sum of their squares."""


@dataclass(frozen=True)
class ContextStatistics:
    """Sums of C states in context.

    Attributes:
        keys: the states, all different, sorted by label, left and right neighbour.
        sums: float64 (C, 1 + 2D).
    """

    keys: Contexts
    sums: Sums

    @classmethod
    def of_frames(cls, contexts: Contexts, feats: NDArray[np.float32]) -> "ContextStatistics":
        """Sums over (N, D) features, frame by frame in the given contexts."""
        keys, adder = _adder(contexts)
        x = feats.astype(np.float64)
        frames = np.asarray(adder.sum(axis=1)).reshape(-1, 1)
        return cls(keys, np.concatenate([frames, adder @ x, adder @ np.square(x)], axis=1))

    @classmethod
    def merged(cls, parts: Sequence["ContextStatistics"]) -> "ContextStatistics":
        """The sums of several, at least one, added up."""
        keys = Contexts(
            *(np.concatenate(key) for key in zip(*(p.keys for p in parts), strict=True))
        )
        keys, adder = _adder(keys)
        return cls(keys, adder @ np.concatenate([part.sums for part in parts]))

    def total(self, num_labels: int) -> Sums:
        """(num_labels, 1 + 2D) sums of each label over all contexts."""
        sums = np.zeros((num_labels, self.sums.shape[1]))
        starts = np.flatnonzero(np.diff(self.keys.label, prepend=-1))
        sums[self.keys.label[starts]] = np.add.reduceat(self.sums, starts, axis=0)
        return sums


def _adder(keys: Contexts) -> tuple[Contexts, csr_matrix]:
    """The different ones of N contexts, sorted, and the (C, N) matrix that adds up their rows."""
    most = 1 + max(int(keys.left.max()), int(keys.right.max()))
    code = (keys.label.astype(np.int64) * most + keys.left) * most + keys.right
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    ones = np.ones(len(code))
    adder = csr_matrix((ones, (place, np.arange(len(code)))), shape=(len(first), len(code)))
    return Contexts(*(key[first] for key in keys)), adder


def log_likelihood(sums: Sums, floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural-log likelihood of frames under the best single diagonal Gaussian of their own.

    The sum over frames of log N(x; μ, max(σ², floor)) depends on their sums only (Young, Odell &
    Woodland 1994, equation 1). Of no frames it is 0.

    Args:
        sums: (..., 1 + 2D).
        floor: (D,) least variance, above 0.

    Returns:
        (...) log-likelihoods.
    """
    dim = len(floor)
    frames = sums[..., :1]
    counted = np.maximum(frames, 1e-10)
    variance = sums[..., 1 + dim :] / counted - np.square(sums[..., 1 : 1 + dim] / counted)
    floored = np.maximum(variance, floor)
    each = np.log(2 * np.pi * floored) + np.maximum(variance, 0) / floored
    return np.asarray(-0.5 * (frames * each).sum(axis=-1))


def variance_floor(sums: Sums, fraction: float) -> NDArray[np.float64]:
    """(D,) a fraction of the variance of all frames of (C, 1 + 2D) sums."""
    total = sums.sum(axis=0)
    dim = (len(total) - 1) // 2
    variance = total[1 + dim :] / total[0] - np.square(total[1 : 1 + dim] / total[0])
    return np.maximum(fraction * variance, 1e-10)
