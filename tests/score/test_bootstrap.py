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
        seeds, blocks = rng.integers(3, size=3), rng.integers(7, size=7)
        slow[r] = sum(values[s, b] for s in seeds for b in blocks)
    for statistic in (lambda x: x[:, 0], lambda x: x[:, 0] / x[:, 1]):
        low, high = np.percentile(statistic(slow), [2.5, 97.5])
        interval = percentile_interval(statistic(fast))
        width = high - low
        assert interval.low == pytest.approx(low, abs=0.06 * width)
        assert interval.high == pytest.approx(high, abs=0.06 * width)


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


def test_a_draw_without_words_is_left_out() -> None:
    interval = ratio_interval(["a", "b"], [1, 0], [2, 0])
    assert interval == Interval(0.5, 0.5)


def test_utterances_of_ten_thousand_in_seconds() -> None:
    interval = ratio_interval(range(10_000), [1] * 10_000, [10] * 10_000, resamples=1_000)
    assert interval.low == interval.high == pytest.approx(0.1)
