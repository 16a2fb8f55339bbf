from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from asr_kd.score import significance
from asr_kd.score.significance import holm, mcnemar, sign, wilcoxon


@pytest.mark.parametrize(("worse", "better"), [(3, 9), (9, 3), (0, 6), (40, 41), (2000, 2200)])
def test_mcnemar_is_the_binomial_test(worse: int, better: int) -> None:
    a = [1] * worse + [0] * better + [1, 1, 0]
    b = [0] * worse + [1] * better + [1, 1, 0]
    test = mcnemar(a, b)
    assert test.p_value == pytest.approx(stats.binomtest(worse, worse + better).pvalue)
    assert (test.statistic, test.size) == (worse - better, len(a))
    assert test.note == ""


def test_mcnemar_of_seeds_is_that_of_clusters() -> None:
    # 30 sentences with two of three seeds better, 12 with one worse
    a, b = [1 / 3] * 30 + [1 / 3] * 12, [1] * 30 + [0] * 12
    test = mcnemar(a, b)
    z = (12 / 3 - 30 * 2 / 3) / np.sqrt(12 / 9 + 30 * 4 / 9)
    assert test.statistic == pytest.approx(-16)
    assert test.p_value == pytest.approx(2 * stats.norm.cdf(z))


def test_mcnemar_of_few_seeds_has_the_note_of_its_own_approximation() -> None:
    # Four sentences can be below 5% here, which the binomial test's note would deny.
    test = mcnemar([2 / 3, 1, 1, 1] + [0] * 9, np.zeros(13))
    assert test.p_value is not None
    assert test.p_value < 0.05
    assert test.note == "sentences that differ: 4; the normal approximation is crude"
    assert mcnemar([1 / 3] * 25, np.zeros(25)).note == ""
    assert "approximation" not in mcnemar([1] * 4, np.zeros(4)).note


def test_mcnemar_is_fair_to_a_side_of_several_seeds() -> None:
    # Seeds that agree less than those of the other side are no better and no worse.
    rng = np.random.default_rng(2)
    trials = 0
    for _ in range(400):
        a = (rng.random((3, 200)) < 0.7).mean(axis=0)
        b = (rng.random((1, 200)) < 0.7).mean(axis=0)
        p_value = mcnemar(a, b).p_value
        assert p_value is not None
        trials += p_value < 0.05
    assert 0.02 < trials / 400 < 0.09


@pytest.mark.parametrize("size", [1, 2, 7, 30, 200])
def test_wilcoxon_is_scipys_exact_one(size: int) -> None:
    rng = np.random.default_rng(size)
    a, b = rng.random(size), rng.random(size) + 0.1
    test, reference = wilcoxon(a, b), stats.wilcoxon(a, b, method="exact")
    assert test.p_value == pytest.approx(reference.pvalue)
    assert abs(test.statistic or 0) == size * (size + 1) / 2 - 2 * reference.statistic
    assert np.sign(test.statistic or 0) == np.sign(stats.rankdata(abs(a - b)) @ np.sign(a - b))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_wilcoxon_of_equal_differences_counts_all_signs(differences: list[int]) -> None:
    used = np.array([d for d in differences if d])
    test = wilcoxon(differences, np.zeros(len(differences)))
    if not len(used):
        assert (test.statistic, test.p_value) == (0, 1)
        return
    ranks = stats.rankdata(abs(used))
    found = np.sign(used) @ ranks
    sums = [np.array(signs) @ ranks for signs in product([-1, 1], repeat=len(used))]
    assert test.statistic == found
    assert test.p_value == pytest.approx(np.mean(np.abs(sums) >= abs(found)))


def test_wilcoxon_of_many_is_scipys_approximation() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 9, (2, 400))
    b[:30] += 2
    test = wilcoxon(a, b)
    reference = stats.wilcoxon(a, b, method="approx", correction=False, zero_method="wilcox")
    assert test.p_value == pytest.approx(reference.pvalue)


def test_the_count_and_the_approximation_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 20, (2, 150)) / 7
    exact = wilcoxon(a, b).p_value
    monkeypatch.setattr(significance, "EXACT_RANKS", 10)
    assert wilcoxon(a, b).p_value == pytest.approx(exact, abs=0.005)


def test_rates_that_are_equal_but_for_rounding_are_equal() -> None:
    a, b = np.array([0.1 + 0.2, 0.5, 0.7]), np.array([0.3, 0.4, 0.6])
    assert a[0] != b[0]
    assert sign(a, b).statistic == 2
    assert wilcoxon(a, b).statistic == 3  # 0.5 - 0.4 and 0.7 - 0.6 share their rank
    assert wilcoxon(a, b).p_value == 0.5


@pytest.mark.parametrize(("worse", "better", "same"), [(8, 2, 0), (1, 7, 5), (5, 5, 1)])
def test_sign_test_is_the_binomial_test(worse: int, better: int, same: int) -> None:
    differences = [0.5] * worse + [-0.1] * better + [0] * same
    test = sign(differences, np.zeros(len(differences)))
    assert test.p_value == pytest.approx(stats.binomtest(worse, worse + better).pvalue)
    assert (test.statistic, test.size) == (worse - better, worse + better + same)


@pytest.mark.parametrize("test", [sign, wilcoxon, mcnemar])
def test_what_cannot_find_anything_says_so(test) -> None:
    five = test([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])
    assert "that differ: 5; no p-value of this test can be below 0.05" in five.note
    assert five.p_value == 1 / 16
    six = test([1] * 6, [0] * 6)
    assert (six.note, six.p_value) == ("", 1 / 32)
    none = test([1, 0], [1, 0])
    assert (none.statistic, none.p_value, none.size) == (0, 1, 2)
    empty = test([], [])
    assert (empty.statistic, empty.p_value, empty.size) == (None, None, 0)
    assert "there are no" in empty.note


def test_speakers_without_words_are_left_out() -> None:
    nan = float("nan")
    for test in (sign, wilcoxon):
        assert test([1, nan, 0.5], [0.2, nan, 0.1]) == test([1, 0.5], [0.2, 0.1])


def test_holm_of_a_planted_case() -> None:
    corrected = holm([0.01, 0.04, None, 0.03, 0.005])
    assert corrected[2] is None
    assert corrected[:2] + corrected[3:] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([None]) == [None]
    assert holm([0.7, 0.6]) == [1, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_steps_reject(p_values: list[float], alpha: float) -> None:
    rejected = set()
    left = sorted(range(len(p_values)), key=lambda i: p_values[i])
    while left and p_values[left[0]] * len(left) <= alpha:
        rejected.add(left.pop(0))
    corrected = holm(p_values)
    assert {i for i, p in enumerate(corrected) if p is not None and p <= alpha} == rejected
