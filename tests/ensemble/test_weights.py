import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from asr_kd.ensemble.weights import (
    Figures,
    Means,
    Rule,
    TeacherWeights,
    WeighedTeacher,
    WeightsFrom,
    fit_weights,
    weights_of_errors,
)
from asr_kd.errors import InputError


def label_posts(num_frames: int, num_teachers: int, seed: int) -> np.ndarray:
    """Teachers of unlike skill, right on frames of their own."""
    rng = np.random.default_rng(seed)
    skill = rng.uniform(-3, 1, num_teachers)
    logits = 2 * rng.standard_normal((num_frames, num_teachers)) + skill
    return -np.log1p(np.exp(-logits))


def cross_entropy(log_posts: np.ndarray, weights: np.ndarray) -> float:
    """Frame by frame."""
    total = 0.0
    for row in log_posts.tolist():
        total -= math.log(sum(w * math.exp(x) for w, x in zip(weights, row, strict=True)))
    return total / len(log_posts)


@settings(max_examples=15, deadline=None)
@given(num_teachers=st.integers(2, 6), seed=st.integers(0, 1000))
def test_fit_against_another_method(num_teachers: int, seed: int) -> None:
    log_posts = label_posts(300, num_teachers, seed)
    fit = fit_weights(log_posts)
    probs = np.exp(log_posts)
    found = minimize(
        lambda w: -np.log(probs @ w).mean(),
        np.full(num_teachers, 1 / num_teachers),
        jac=lambda w: -(probs / (probs @ w)[:, None]).mean(0),
        bounds=[(0, 1)] * num_teachers,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert fit.cross_entropy == pytest.approx(cross_entropy(log_posts, fit.weights), rel=1e-9)
    assert fit.cross_entropy <= found.fun + 1e-4
    # The gap is a bound: nothing that another method finds lies below it.
    assert found.fun >= fit.cross_entropy - fit.gap - 1e-9
    np.testing.assert_allclose(fit.weights, found.x, atol=0.02)
    assert fit.weights.sum() == pytest.approx(1)
    assert ((fit.weights == 0) | (fit.weights >= 1e-4)).all()


def test_no_corner_or_middle_is_better() -> None:
    log_posts = label_posts(200, 3, 5)
    fit = fit_weights(log_posts)
    for parts in itertools.product(range(6), repeat=3):
        if sum(parts) == 5:
            other = cross_entropy(log_posts, np.array(parts) / 5 + 1e-300)
            assert fit.cross_entropy <= other + 1e-6


def test_every_step_lowers_the_cross_entropy() -> None:
    log_posts = label_posts(200, 4, 1)
    values = [fit_weights(log_posts, 0.0, n).cross_entropy for n in range(12)]
    assert all(a > b for a, b in itertools.pairwise(values))


def test_planted_mixture() -> None:
    """Labels drawn from 0.7 p + 0.3 q are best explained by 0.7 p + 0.3 q."""
    rng = np.random.default_rng(0)
    num_frames = 40_000
    p, q = (rng.dirichlet(np.full(5, 0.3), num_frames) for _ in range(2))
    mixture = np.where(rng.random(num_frames)[:, None] < 0.7, p, q)
    labels = (mixture.cumsum(1) < rng.random(num_frames)[:, None]).sum(1)
    rows = np.arange(num_frames)
    fit = fit_weights(np.log(np.stack([p[rows, labels], q[rows, labels]], 1)))
    np.testing.assert_allclose(fit.weights, [0.7, 0.3], atol=0.02)


def test_a_teacher_that_is_always_worse_has_no_weight() -> None:
    log_posts = label_posts(200, 2, 3)
    worse = log_posts.min(axis=1, keepdims=True) - 2
    fit = fit_weights(np.hstack([log_posts, worse]))
    assert fit.weights[2] == 0.0
    assert fit.gap <= 1e-3


@pytest.mark.parametrize("impossible", [-math.inf, -400.0])
def test_a_small_weight_stays_where_it_alone_explains_a_frame(impossible: float) -> None:
    """One frame of 30,000: the weight is a third of 1e-4, and all that keeps its loss finite."""
    log_posts = np.full((30_000, 3), np.log([0.9, 0.1, 0.01]))
    log_posts[7] = [impossible, math.log(0.9), impossible]
    fit = fit_weights(log_posts)
    assert 2e-5 < fit.weights[1] < 5e-5
    assert fit.weights[2] == 0.0
    assert fit.cross_entropy == pytest.approx(cross_entropy(log_posts, fit.weights))
    assert fit.cross_entropy == pytest.approx(-math.log(0.9), abs=1e-3)
    assert 0 <= fit.gap < 1e-4


def test_a_file_of_teachers_that_think_labels_impossible_can_be_read(tmp_path: Path) -> None:
    never = Figures(accuracy=0.0, cross_entropy=math.inf)
    means = Means(arithmetic=Figures(accuracy=0.5, cross_entropy=0.7), geometric=never)
    teacher = WeighedTeacher(name="t", digest="d", alone=never, without=means)
    found = TeacherWeights(
        teachers=(teacher,), rules={"equal": Rule(weights=(1.0,), means=means)},
        num_frames=3, gap=0.0, iterations=0,
    )  # fmt: skip
    found.save(tmp_path)
    assert TeacherWeights.load(tmp_path) == found


def test_far_below_zero_nothing_underflows() -> None:
    log_posts = label_posts(50, 3, 2)
    far = fit_weights(log_posts - 5000)
    near = fit_weights(log_posts)
    np.testing.assert_allclose(far.weights, near.weights, atol=1e-9)
    assert far.cross_entropy == pytest.approx(near.cross_entropy + 5000)


def test_impossible_labels_are_refused() -> None:
    log_posts = label_posts(4, 2, 0)
    log_posts[1] = -np.inf
    with pytest.raises(ValueError, match="probability 0"):
        fit_weights(log_posts)
    with pytest.raises(ValueError, match="probability 0"):
        fit_weights(log_posts[:0])


def test_weights_by_word_errors() -> None:
    np.testing.assert_allclose(weights_of_errors([9, 19, 19]), [0.5, 0.25, 0.25])
    np.testing.assert_allclose(weights_of_errors([0, 3]), [0.8, 0.2])


def test_weights_on_the_command_line() -> None:
    assert WeightsFrom.parse("2,1,0.5") == (2.0, 1.0, 0.5)
    assert WeightsFrom.parse("exp/a:b/w:fitted") == WeightsFrom(Path("exp/a:b/w"), "fitted")
    for text in ("exp/weights", "exp/weights:", ":fitted", "2,x"):
        with pytest.raises(InputError, match=r"weights .*expected a number for each teacher"):
            WeightsFrom.parse(text)
