"""Statistics against a slow reference; they add up; normalised features are normal."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from asr_kd.features.cmvn import apply_cmvn, cmvn_stats, mean_and_std

FEATS = (50 + 3 * np.random.default_rng(0).standard_normal((40, 4))).astype(np.float32)


def test_statistics_are_kaldis() -> None:
    stats = cmvn_stats(FEATS)
    assert stats.shape == (2, 5)
    for f in range(4):
        column = [float(x) for x in FEATS[:, f]]
        assert stats[0, f] == pytest.approx(math.fsum(column), rel=1e-12)
        assert stats[1, f] == pytest.approx(math.fsum(x * x for x in column), rel=1e-12)
    assert stats[0, 4] == 40
    assert stats[1, 4] == 0


@given(arrays(np.float32, (20, 3), elements=st.floats(-100, 100, width=32)), st.integers(1, 19))
def test_statistics_add_up(feats: np.ndarray, cut: int) -> None:
    parts = cmvn_stats(feats[:cut]) + cmvn_stats(feats[cut:])
    np.testing.assert_allclose(parts, cmvn_stats(feats), rtol=1e-9, atol=1e-9)


def test_normalised_features_have_mean_0_and_deviation_1() -> None:
    normed = apply_cmvn(FEATS, cmvn_stats(FEATS))
    assert normed.dtype == np.float32
    np.testing.assert_allclose(normed.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normed.std(axis=0), 1, atol=1e-4)


def test_a_constant_dimension_becomes_zero() -> None:
    feats = np.full((10, 2), 7.25, np.float32)
    np.testing.assert_array_equal(apply_cmvn(feats, cmvn_stats(feats)), np.zeros((10, 2)))


def test_features_stay_as_they_are() -> None:
    before = FEATS.copy()
    apply_cmvn(FEATS, cmvn_stats(FEATS))
    np.testing.assert_array_equal(FEATS, before)


def test_statistics_survive_float32_on_disk() -> None:
    feats = (50 + 3 * np.random.default_rng(1).standard_normal((50000, 2))).astype(np.float32)
    mean, std = mean_and_std(cmvn_stats(feats).astype(np.float32))
    np.testing.assert_allclose(mean, feats.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(std, feats.std(axis=0, dtype=np.float64), rtol=1e-3)
