import numpy as np
import pytest
from scipy import stats

from asr_kd.score.bootstrap import (
    Interval,
    bca_interval,
    block_sums,
    few_drawn,
    jackknife_sums,
    percentile_interval,
    resampled_sums,
    widened_by_seeds,
)


def test_block_sums() -> None:
    sums = block_sums(["s2", "s1", "s2"], [[1, 10], [2, 20], [4, 40]])
    assert sums.tolist() == [[2, 20], [5, 50]]


def test_totals_are_those_of_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(1, 50, size=(3, 7, 2)).astype(float)
    fast = resampled_sums(values, 20_000, seed=1)
    slow = np.empty((4_000, 2))
    for r in range(len(slow)):
        blocks = rng.integers(7, size=7)
        of_seeds = [sum(values[s, b] for b in blocks) for s in range(3)]
        # Three independent normal numbers in the plane of sum 0 are two; over their own chi.
        one, two = rng.standard_normal(2) / np.sqrt(rng.chisquare(2))
        moves = one / np.sqrt(2) * np.array([1, -1, 0]) + two / np.sqrt(6) * np.array([1, 1, -2])
        slow[r] = sum(of_seeds) + np.sqrt(3) * moves @ values.sum(axis=1)
    for statistic in (lambda x: x[:, 0], lambda x: x[:, 0] / x[:, 1]):
        low, high = np.percentile(statistic(slow), [2.5, 97.5])
        interval = percentile_interval(statistic(fast))
        width = high - low
        assert interval.low == pytest.approx(low, abs=0.08 * width)
        assert interval.high == pytest.approx(high, abs=0.08 * width)


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.706), (3, 4.303), (10, 2.262)])
def test_of_one_block_the_interval_is_that_of_the_t_test(seeds: int, quantile: float) -> None:
    values = np.random.default_rng(seeds).normal(5, 1, (seeds, 1, 1))
    totals = resampled_sums(values, 100_000)
    wide = quantile * np.std(values, ddof=1) / np.sqrt(seeds)
    interval = percentile_interval(totals[:, 0] / seeds)
    assert interval.low == pytest.approx(values.mean() - wide, abs=0.05 * wide)
    assert interval.high == pytest.approx(values.mean() + wide, abs=0.05 * wide)


def test_what_is_the_same_for_all_seeds_varies_with_the_blocks_alone() -> None:
    values = np.random.default_rng(1).random((1, 6, 2))
    alone = resampled_sums(values, 20_000)
    thrice = resampled_sums(np.repeat(values, 3, axis=0), 20_000) / 3
    for tail in (2.5, 50, 97.5):
        np.testing.assert_allclose(*np.percentile([alone, thrice], tail, axis=1), rtol=0.06)
    one_block = resampled_sums(np.ones((4, 1, 1)), 500)
    np.testing.assert_allclose(one_block, 4, rtol=1e-12)


def test_seeds_that_err_elsewhere_but_as_often_widen_nothing() -> None:
    # Drawn blocks would set two such seeds apart, and that would count beside the blocks' own luck.
    values = np.random.default_rng(4).random((1, 12, 2))
    elsewhere = np.concatenate([values, values[:, ::-1]])
    mean = elsewhere.mean(axis=0, keepdims=True)
    for tail in (2.5, 97.5):
        np.testing.assert_allclose(
            np.percentile(resampled_sums(elsewhere, 20_000) / 2, tail, axis=0),
            np.percentile(resampled_sums(mean, 20_000), tail, axis=0),
            rtol=0.02,
        )


@pytest.mark.parametrize(("seeds", "speakers"), [(3, 1), (3, 10), (10, 10)])
def test_coverage_of_a_difference_that_is_none(seeds: int, speakers: int) -> None:
    # Two systems that are the same but for the luck of a seed and of a speaker with a system.
    # Drawn with replacement three seeds cover in 75% (one speaker) and 82% of the cases.
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(400):
        luck = rng.normal(0, 0.003, (2, seeds, 1))
        if speakers > 1:
            luck = luck + rng.normal(0, 0.003, (2, 1, speakers))
        errors = 1000 * (0.3 + luck)
        values = np.stack([np.full((seeds, speakers), 1000.0), *errors], axis=2)
        frames, one, two = resampled_sums(values, 400, seed=trial).T
        held += percentile_interval((one - two) / frames).holds(0)
    assert 0.92 <= held / 400 <= 0.99


def test_columns_are_paired() -> None:
    values = np.random.default_rng(0).random((2, 5, 1))
    totals = resampled_sums(np.concatenate([values, 3 * values], axis=2), 500)
    np.testing.assert_allclose(totals[:, 1], 3 * totals[:, 0])


def test_the_chunks_of_a_large_draw_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from asr_kd.score import bootstrap

    values = np.random.default_rng(0).random((3, 5, 2))
    at_once = resampled_sums(values, 1_000)
    monkeypatch.setattr(bootstrap, "_ELEMENTS_AT_ONCE", 12)
    np.testing.assert_array_equal(resampled_sums(values, 1_000), at_once)


def ratio_interval(blocks, errors, words, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Of errors over words, as every report takes it."""
    sums = block_sums(blocks, np.stack([errors, words], axis=1))
    totals = resampled_sums(sums[None], resamples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return percentile_interval(rate(totals))


def test_same_seed_same_interval() -> None:
    blocks = list("abcdef")
    errors, words = [0, 1, 2, 3, 1, 0], [10, 9, 8, 7, 6, 5]
    first = ratio_interval(blocks, errors, words, seed=5)
    assert first == ratio_interval(blocks, errors, words, seed=5)
    assert first != ratio_interval(blocks, errors, words, seed=6)


def test_coverage_of_a_known_rate() -> None:
    # 100 independent blocks of 20 words with rate 0.2: about 95 of 100 intervals hold 0.2.
    rng = np.random.default_rng(7)
    held = 0
    for trial in range(200):
        errors = rng.binomial(20, 0.2, size=100)
        held += ratio_interval(range(100), errors, [20] * 100, 500, seed=trial).holds(0.2)
    assert 180 <= held <= 199


def test_speakers_widen_the_interval_where_they_differ() -> None:
    rng = np.random.default_rng(2)
    speakers = [f"s{i // 30}" for i in range(300)]
    rates = np.repeat(rng.random(10) * 0.5, 30)
    errors, words = rng.binomial(10, rates), [10] * 300
    by_utt = ratio_interval(range(300), errors, words)
    by_spk = ratio_interval(speakers, errors, words)
    assert by_spk.high - by_spk.low > 2 * (by_utt.high - by_utt.low)


def test_an_interval_ends_where_nothing_can_happen() -> None:
    samples = np.linspace(-1, 2, 301)
    assert percentile_interval(samples, 0, 1) == Interval(0, 1)
    assert percentile_interval(samples, 0) == pytest.approx((0, 1.925))


@pytest.mark.parametrize("insertions", [0, 3])
def test_a_draw_without_words_is_left_out(insertions: int) -> None:
    # Without words the rate of 3 insertions is infinite, that of none is not a number.
    interval = ratio_interval(["a", "b"], [1, insertions], [2, 0])
    assert interval.low == 0.5
    assert interval.high in (0.5, 2)
    samples = np.array([np.nan, np.inf, 1.0, 2.0, 3.0])
    for of in (percentile_interval(samples), bca_interval(samples, 2.0, samples)):
        assert of == pytest.approx((1.05, 2.95), abs=0.05)


def bca(values: np.ndarray, statistic, resamples: int = 20_000) -> Interval:
    """The interval of a statistic of (…, C) totals of (G, C)."""
    return bca_interval(
        statistic(resampled_sums(values[None], resamples)),
        float(statistic(values.sum(axis=0))),
        statistic(jackknife_sums(values[None])),
    )


def rate(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bca_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(5, 60, 25).astype(float)
    errors = rng.lognormal(0, 1.3, 25)  # skewed
    interval = bca(np.stack([errors, words], axis=1), rate)
    reference = stats.bootstrap(
        (errors, words), lambda e, w, axis: e.sum(axis) / w.sum(axis), paired=True,
        n_resamples=20_000, vectorized=True, method="BCa", rng=rng,
    ).confidence_interval  # fmt: skip
    width = reference.high - reference.low
    assert interval.low == pytest.approx(reference.low, abs=0.04 * width)
    assert interval.high == pytest.approx(reference.high, abs=0.04 * width)
    # and another one than that of the percentiles
    samples = rate(resampled_sums(np.stack([errors, words], axis=1)[None], 20_000))
    assert interval.high > percentile_interval(samples).high + 0.08 * width


def test_bca_of_samples_given() -> None:
    # 1,000 resamples, 600 of them below the figure; influences 3, -1, -1, -1
    samples = np.arange(1000.0)
    interval = bca_interval(samples, 599.5, np.array([-3.0, 1, 1, 1]))
    bias, skewness = stats.norm.ppf(0.6), (27 - 3) / (6 * 12**1.5)
    for end, tail in zip(interval, (-1.959964, 1.959964), strict=True):
        moved = stats.norm.cdf(bias + (bias + tail) / (1 - skewness * (bias + tail)))
        assert end == pytest.approx(999 * moved, abs=0.01)


def test_bca_misses_on_both_sides() -> None:
    # Of skewed speakers the plain interval ends too low: the truth is mostly missed above it.
    rng = np.random.default_rng(8)
    missed = np.zeros((2, 2))
    for trial in range(400):
        errors = rng.exponential(1.0, 40)  # of mean 1
        values = np.stack([errors, np.ones(40)], axis=1)
        samples = rate(resampled_sums(values[None], 400, trial))
        moved = bca_interval(samples, float(errors.mean()), rate(jackknife_sums(values[None])))
        for row, interval in enumerate((percentile_interval(samples), moved)):
            missed[row] += interval.low > 1, interval.high < 1
    shares = missed[:, 1] / missed.sum(axis=1)
    assert shares[0] > 0.7
    assert shares[1] < shares[0] - 0.1


def test_bca_where_there_is_nothing_to_correct() -> None:
    same = np.full(10, 0.25)
    assert bca_interval(same, 0.25, same) == Interval(0.25, 0.25)
    assert bca_interval(np.array([1.0, 2]), 0.5, np.array([1.0, 2])) == pytest.approx(
        (1.025, 1.975)
    )
    samples = np.linspace(-1, 2, 301)
    plain = percentile_interval(samples)
    assert bca_interval(samples, 0.5, np.array([np.nan])) == pytest.approx(plain)


def test_jackknife() -> None:
    values = np.random.default_rng(0).random((2, 5, 3))
    for left_out, totals in enumerate(jackknife_sums(values)):
        rest = np.delete(values, left_out, axis=1)
        np.testing.assert_allclose(totals, rest.sum(axis=(0, 1)))
    assert jackknife_sums(np.ones((2, 1, 3))).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.706), (3, 4.303)])
def test_widened_by_seeds(seeds: int, quantile: float) -> None:
    per_seed = np.random.default_rng(seeds).normal(5, 1, seeds)
    half = quantile * np.std(per_seed, ddof=1) / np.sqrt(seeds)
    assert widened_by_seeds(Interval(5, 5), 5.0, per_seed) == pytest.approx(
        (5 - half, 5 + half), abs=1e-3
    )
    wide = widened_by_seeds(Interval(4, 7), 5.0, per_seed)
    assert wide == pytest.approx((5 - np.hypot(1, half), 5 + np.hypot(2, half)), abs=1e-3)
    assert widened_by_seeds(Interval(4, 7), 5.0, np.ones(seeds)) == Interval(4, 7)


def test_few_blocks_are_told() -> None:
    assert few_drawn(1, "utterances") == "drawn from only 1 utterance"
    assert few_drawn(9, "speakers") == "drawn from only 9 speakers"
    assert few_drawn(10, "speakers") == ""
