"""Deltas and splicing; beyond its ends an utterance continues as its first or last frame."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def delta_filters(order: int, window: int) -> NDArray[np.float64]:
    """Filters of orders 0 to `order` over the frames t - order·window to t + order·window.

    Order 1 is the slope of the regression line, d_t = Σ k·x_{t+k} / Σ k² with |k| ≤ window; order
    n is that slope taken n times (Kaldi's add-deltas, feat/feature-functions.cc).

    Returns:
        (order + 1, 2·order·window + 1).
    """
    offsets = np.arange(-window, window + 1, dtype=np.float64)
    slope = offsets / np.square(offsets).sum()
    filters = np.zeros((order + 1, 2 * order * window + 1))
    taps = np.ones(1)
    for n in range(order + 1):
        margin = (order - n) * window
        filters[n, margin : margin + len(taps)] = taps
        taps = np.convolve(taps, slope)
    return filters


def add_deltas(feats: Floats, order: int = 2, window: int = 2) -> Floats:
    """Appends deltas up to an order: (T, F) → (T, F·(order + 1)), statics first.

    The filters run over the statics, so that the ends are continued once, as in Kaldi.
    """
    filters = delta_filters(order, window).astype(np.float32)
    windows = _neighbours(feats, order * window, order * window)
    return np.concatenate([np.einsum("tkf,k->tf", windows, taps) for taps in filters], axis=1)


def splice(feats: Floats, left: int, right: int) -> Floats:
    """Puts each frame beside its neighbours: (T, F) → (T, F·(left + 1 + right)), earliest first."""
    return _neighbours(feats, left, right).reshape(len(feats), -1)


def _neighbours(feats: Floats, left: int, right: int) -> Floats:
    """(T, F) → (T, left + 1 + right, F)."""
    at = np.arange(len(feats))[:, None] + np.arange(-left, right + 1)
    return feats[np.clip(at, 0, len(feats) - 1)]
