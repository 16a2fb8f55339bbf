"""Slow references for deltas and splicing, and the same deltas as in a model's front end."""

import numpy as np
import pytest
import torch

from asr_kd.features.deltas import add_deltas, splice
from asr_kd.models.config import FrontendConfig
from asr_kd.models.frontend import Frontend

FEATS = np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32)


def slope(feats: list[float], window: int) -> list[float]:
    """Kaldi's slope of a signal given far enough on both sides: shorter by 2·window."""
    norm = sum(k * k for k in range(-window, window + 1))
    return [
        sum(k * feats[t + k] for k in range(-window, window + 1)) / norm
        for t in range(window, len(feats) - window)
    ]


@pytest.mark.parametrize(("order", "window"), [(0, 2), (1, 2), (2, 2), (2, 3), (3, 1)])
def test_deltas_are_slopes_of_the_continued_signal(order: int, window: int) -> None:
    result = add_deltas(FEATS, order, window)
    assert result.shape == (23, 3 * (order + 1))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, :3], FEATS, rtol=1e-6)
    for f in range(3):
        margin = order * window
        column = FEATS[:, f].tolist()
        signal = [column[0]] * margin + column + [column[-1]] * margin
        for n in range(1, order + 1):
            signal = slope(signal, window)
            spare = (order - n) * window
            expected = signal[spare : len(signal) - spare]
            np.testing.assert_allclose(result[:, 3 * n + f], expected, atol=1e-6)


def test_deltas_of_a_line_and_a_parabola() -> None:
    t = np.arange(30, dtype=np.float32)[:, None]
    np.testing.assert_allclose(add_deltas(3 * t)[4:-4, 1:], [[3, 0]] * 22, atol=1e-5)
    np.testing.assert_allclose(add_deltas(t * t)[4:-4, 2], 2, atol=1e-3)


def test_deltas_are_those_of_the_front_end() -> None:
    front_end = Frontend(FrontendConfig(delta_order=2, delta_window=2, left=0, right=0), 3)
    theirs = front_end.add_deltas(torch.from_numpy(FEATS)[None], torch.tensor([23]))[0]
    np.testing.assert_allclose(add_deltas(FEATS, 2, 2), theirs.numpy(), atol=1e-6)


def test_splice_puts_neighbours_side_by_side() -> None:
    spliced = splice(FEATS, left=2, right=1)
    assert spliced.shape == (23, 12)
    for t in range(23):
        for n, offset in enumerate((-2, -1, 0, 1)):
            neighbour = FEATS[min(max(t + offset, 0), 22)]
            np.testing.assert_array_equal(spliced[t, 3 * n : 3 * n + 3], neighbour)


def test_one_frame() -> None:
    np.testing.assert_allclose(add_deltas(FEATS[:1])[:, 3:], 0, atol=1e-6)
    np.testing.assert_array_equal(splice(FEATS[:1], 1, 1), np.tile(FEATS[:1], 3))
