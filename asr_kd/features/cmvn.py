"""Mean and variance normalisation, with statistics as Kaldi keeps them.

Statistics are a matrix (2, F + 1): the sums of the features and their count, the sums of their
squares and a zero. They add up: those of a speaker are the sum of those of the utterances.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Stats = NDArray[np.float64]

_MIN_STD = 1e-4  # a constant dimension (digital silence, a dead filter) must not divide by zero


def cmvn_stats(feats: Floats) -> Stats:
    """Statistics (2, F + 1) of features (T, F), in float64."""
    wide = feats.astype(np.float64)
    stats = np.zeros((2, wide.shape[1] + 1))
    stats[0, :-1] = wide.sum(axis=0)
    stats[0, -1] = len(wide)
    stats[1, :-1] = np.square(wide, out=wide).sum(axis=0)
    return stats


def mean_and_std(stats: NDArray[np.floating]) -> tuple[Stats, Stats]:
    """Mean and standard deviation (at least 1e-4), (F,) each, of statistics of at least a frame."""
    wide = stats.astype(np.float64)
    mean = wide[0, :-1] / wide[0, -1]
    variance = wide[1, :-1] / wide[0, -1] - np.square(mean)
    return mean, np.sqrt(np.maximum(variance, _MIN_STD**2))


def apply_cmvn(feats: Floats, stats: NDArray[np.floating]) -> Floats:
    """Takes off the mean and divides by the standard deviation: (T, F) → (T, F)."""
    mean, std = mean_and_std(stats)
    return ((feats - mean) / std).astype(np.float32)
