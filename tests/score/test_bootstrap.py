import numpy as np
import pytest

from asr_kd.score.bootstrap import (
    Interval,
    block_sums,
    percentile_interval,
    ratio_interval,
    resampled_sums,
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
        slow[r] = sum((1 + np.sqrt(3) * moves[s]) * of_seeds[s] for s in range(3))
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

    values = np.ones((1, 4, 1))
    monkeypatch.setattr(bootstrap, "_ELEMENTS_AT_ONCE", 12)
    totals = resampled_sums(values, 10)
    assert totals.tolist() == [[4.0]] * 10


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


def test_a_draw_without_words_is_left_out() -> None:
    interval = ratio_interval(["a", "b"], [1, 0], [2, 0])
    assert interval == Interval(0.5, 0.5)


def test_utterances_of_ten_thousand_in_seconds() -> None:
    interval = ratio_interval(range(10_000), [1] * 10_000, [10] * 10_000, resamples=1_000)
    assert interval.low == interval.high == pytest.approx(0.1)
