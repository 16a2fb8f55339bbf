from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION, Alignments
from asr_kd.score.mapsswe import cells, mapsswe, mapsswe_error, segment_errors
from asr_kd.score.pair import TESTS, PairSide, compare_pair
from asr_kd.score.power import smallest_difference
from asr_kd.score.significance import Test, mcnemar, sign, wilcoxon

LENGTHS = np.random.default_rng(0).integers(0, 12, 120).tolist()
SPEAKERS = {f"u{i:03}": f"s{i % 8}" for i in range(len(LENGTHS))}


def made_up(seed: int, rate: float, lengths: list[int] = LENGTHS) -> Alignments:
    rng = np.random.default_rng(seed)
    steps: list[np.ndarray] = []
    for length in lengths:
        words = rng.choice(3, length, p=[1 - rate, 0.6 * rate, 0.4 * rate])
        steps.append(np.insert(words, 0, [INSERTION] * rng.binomial(2, rate / 4)))
    ids = tuple(f"u{i:03}" for i in range(len(lengths)))
    bounds = np.cumsum([0, *map(len, steps)])
    return Alignments(ids, np.concatenate(steps).astype(np.uint8), bounds)


def side(name: str, *alignments: Alignments, seeds: list[str | None] | None = None) -> PairSide:
    return PairSide(name, alignments, seeds or [None] * len(alignments))


def errors_of(alignments: Alignments) -> np.ndarray:
    return np.array([np.sum(alignments.of(i) != CORRECT) for i in range(len(alignments))])


ONE, OTHER = made_up(1, 0.2), made_up(2, 0.3)
WORDS = np.array(LENGTHS)


def test_of_one_decoding_each() -> None:
    result = compare_pair(side("one", ONE), side("other", OTHER), SPEAKERS)
    a, b = errors_of(ONE), errors_of(OTHER)
    assert (result.a, result.b, result.blocks) == ("one", "other", "speakers")
    assert result.wer_a == a.sum() / WORDS.sum()
    assert result.wer_b == b.sum() / WORDS.sum()
    assert result.difference == pytest.approx(result.wer_a - result.wer_b)
    segments = segment_errors([cells(ONE), cells(OTHER)])
    speakers = np.arange(len(LENGTHS)) % 8
    rates = [np.bincount(speakers, e) / np.bincount(speakers, WORDS) for e in (a, b)]
    assert [test.name for test in result.tests] == list(TESTS)
    assert result.tests[1:] == (
        mapsswe(*segments), mcnemar(a > 0, b > 0), wilcoxon(*rates), sign(*rates)
    )  # fmt: skip
    error = mapsswe_error(*segments) / WORDS.sum()
    assert result.smallest_mapsswe == pytest.approx(smallest_difference(error))
    assert result.test("sign") is result.tests[4]


def test_intervals_are_those_of_a_slow_loop() -> None:
    result = compare_pair(side("one", ONE), side("other", OTHER), SPEAKERS)
    rng = np.random.default_rng(5)
    a, b = errors_of(ONE), errors_of(OTHER)
    of_speaker = [np.arange(len(LENGTHS)) % 8 == k for k in range(8)]
    samples = []
    for _ in range(5000):
        drawn = [of_speaker[k] for k in rng.integers(8, size=8)]
        words, errors, others = (sum(x[own].sum() for own in drawn) for x in (WORDS, a, b))
        samples.append(errors / words - others / words)
    low, high = np.percentile(samples, [2.5, 97.5])
    width = high - low
    assert result.percentile == pytest.approx((low, high), abs=0.08 * width)
    assert result.bca == pytest.approx((low, high), abs=0.25 * width)
    assert result.better == pytest.approx(np.mean(np.array(samples) < 0), abs=0.02)
    assert result.smallest == pytest.approx(2.80159 * np.std(samples), rel=0.1)
    rarer = 2 * min(np.mean(np.array(samples) <= 0), np.mean(np.array(samples) >= 0))
    assert result.test("bootstrap").p_value == pytest.approx(rarer, abs=0.02)
    assert result.test("bootstrap").size == 10_000


def test_the_bootstraps_p_value_is_of_both_sides() -> None:
    result = compare_pair(side("one", ONE), side("near", made_up(3, 0.25)), SPEAKERS)
    assert 0.6 < result.better < 0.97
    assert result.test("bootstrap").p_value == pytest.approx(
        2 * (1 - result.better), abs=0.02
    )  # ties


def test_the_other_way_round_all_signs_turn() -> None:
    one, other = side("one", ONE), side("other", OTHER)
    there, back = compare_pair(one, other, SPEAKERS), compare_pair(other, one, SPEAKERS)
    assert back.difference == -there.difference
    for mine, theirs in ((there.percentile, back.percentile), (there.bca, back.bca)):
        assert (theirs.high, theirs.low) == pytest.approx((-mine.low, -mine.high), abs=1e-9)
    assert back.better == pytest.approx(1 - there.better)
    assert back.smallest == pytest.approx(there.smallest)
    for mine, theirs in zip(there.tests, back.tests, strict=True):
        assert mine.statistic is not None
        assert theirs == replace(mine, statistic=-mine.statistic)


@pytest.mark.parametrize("speakers", [None, dict.fromkeys(SPEAKERS, "s")])
def test_without_speakers_utterances_are_drawn(speakers: dict[str, str] | None) -> None:
    result = compare_pair(side("one", ONE), side("other", OTHER), speakers)
    assert result.blocks == "utterances"
    assert result == compare_pair(side("one", ONE), side("other", OTHER), None)
    for name in ("wilcoxon", "sign"):
        assert result.test(name).p_value is None
        assert result.test(name).note == "there are no speakers to look at"


def test_a_system_against_itself() -> None:
    result = compare_pair(side("one", ONE), side("same", ONE), SPEAKERS)
    assert result.difference == 0
    assert result.percentile == result.bca == (0, 0)
    assert result.better == 0.5
    assert [test.p_value for test in result.tests] == [1] * 5
    assert result.smallest is result.smallest_mapsswe is None


def of_utterances(count: int, worse: int, speakers: int | None = None) -> Test:
    """The bootstrap's test of a perfect system and one that errs once in `worse` of `count`."""
    ids, bounds = tuple(f"u{i}" for i in range(count)), np.arange(count + 1) * 10
    steps = np.zeros((2, count, 10), np.uint8)
    steps[1, :worse, 0] = SUBSTITUTION
    sides = [side(n, Alignments(ids, s.ravel(), bounds)) for n, s in zip("ab", steps, strict=True)]
    of = None if speakers is None else {u: str(i % speakers) for i, u in enumerate(ids)}
    return compare_pair(*sides, of).test("bootstrap")


def test_one_block_has_no_p_value() -> None:
    for test in (of_utterances(1, 1), of_utterances(1, 0)):
        assert test.p_value is None
        assert "drawn from only 1 utterance: nothing varies" in test.note


@pytest.mark.parametrize("blocks", [2, 3, 5, 6, 9])
@pytest.mark.parametrize("of", ["speakers", "utterances"])
def test_the_p_value_of_few_blocks_is_no_smaller_than_the_sign_tests(blocks: int, of: str) -> None:
    test = of_utterances(12, 12, blocks) if of == "speakers" else of_utterances(blocks, blocks)
    assert test.p_value == stats.binomtest(blocks, blocks).pvalue
    assert f"drawn from only {blocks} {of}" in test.note


def test_blocks_without_words_do_not_count() -> None:
    # Ten utterances, but two have words: every draw that has any shows the same difference.
    ids, bounds = tuple(f"u{i}" for i in range(10)), np.array([0, 4, 8, *[8] * 8])
    right, wrong = (Alignments(ids, np.full(8, step, np.uint8), bounds) for step in (0, 1))
    test = compare_pair(side("a", right), side("b", wrong), None).test("bootstrap")
    assert test.p_value == 0.5
    assert "only 2 utterances" in test.note


def test_rounding_makes_no_difference_of_means_over_seeds() -> None:
    # Each seed of one side errs in two of three of its own utterances, the other side in none.
    ids, bounds = ("u0", "u1", "u2"), np.array([0, 7, 14, 21])
    runs = []
    for seed in range(3):
        steps = np.zeros((3, 7), np.uint8)
        steps[[i for i in range(3) if i != seed], 3] = SUBSTITUTION
        runs.append(Alignments(ids, steps.ravel(), bounds))
    students = PairSide("student", runs, list("123"))
    perfect = side("perfect", Alignments(ids, np.zeros(21, np.uint8), bounds))
    result = compare_pair(students, perfect, None)
    mapsswe_test = result.test("mapsswe")
    assert (mapsswe_test.statistic, mapsswe_test.p_value) == (None, None)
    assert "all 3 segments differ by the same" in mapsswe_test.note
    assert result.smallest_mapsswe is None


def test_a_system_without_errors_against_itself() -> None:
    perfect = Alignments(("u", "v"), np.zeros(4, np.uint8), np.array([0, 2, 4]))
    result = compare_pair(side("one", perfect), side("same", perfect), None)
    assert (result.wer_a, result.difference) == (0, 0)
    assert result.test("mapsswe").p_value is None
    assert result.test("mcnemar").p_value == 1


def test_members_of_a_role_are_averaged() -> None:
    members = [made_up(seed, 0.3) for seed in (3, 4)]
    result = compare_pair(side("one", ONE), side("teachers", *members), SPEAKERS)
    each = [compare_pair(side("one", ONE), side("t", m), SPEAKERS) for m in members]
    assert result.wer_b == pytest.approx(np.mean([r.wer_b for r in each]))
    segments = segment_errors([cells(x) for x in (ONE, *members)])
    assert result.test("mapsswe") == mapsswe(segments[0], segments[1:].mean(axis=0))
    wrong = np.mean([errors_of(m) > 0 for m in members], axis=0)
    assert result.test("mcnemar") == mcnemar(errors_of(ONE) > 0, wrong)
    assert result.test("mapsswe").note == ""  # members are no seeds


def test_seeds_are_paired() -> None:
    # Each seed shifts both systems alike, so the difference does not spread with them.
    a = [made_up(seed, rate) for seed, rate in enumerate([0.1, 0.3, 0.6])]
    students = PairSide("student", a, ["1", "2", "3"])
    worse = PairSide("worse", a[::-1], ["3", "2", "1"])
    result = compare_pair(students, worse, SPEAKERS)
    assert result.difference == pytest.approx(0)
    assert result.percentile == pytest.approx((0, 0), abs=1e-12)
    shuffled = compare_pair(students, PairSide("worse", a[::-1], ["1", "2", "3"]), SPEAKERS)
    assert shuffled.percentile.high - shuffled.percentile.low > 0.5


def test_the_bootstrap_alone_sees_the_spread_of_seeds() -> None:
    # One seed of three is much worse: no evidence over seeds, plenty over segments.
    good = [made_up(seed, 0.1) for seed in range(6)]
    students = PairSide("student", [*good[:2], made_up(9, 0.7)], ["1", "2", "3"])
    baseline = PairSide("baseline", good[3:], ["1", "2", "3"])
    result = compare_pair(students, baseline, SPEAKERS)
    p_value, of_segments = (result.test(name).p_value for name in ("bootstrap", "mapsswe"))
    assert p_value is not None
    assert of_segments is not None
    assert of_segments < 1e-6
    assert p_value > 0.2
    assert result.percentile.holds(0)
    assert result.bca.holds(0)
    assert "means over 3 seeds" not in result.test("bootstrap").note
    assert "means over 3 seeds" in result.test("mapsswe").note


def test_both_intervals_hold_the_spread_of_seeds() -> None:
    lengths = [200] * 60
    rates = [0.16, 0.2, 0.27]
    students = PairSide("a", [made_up(i, r, lengths) for i, r in enumerate(rates)], list("123"))
    others = PairSide("b", [made_up(9, 0.2, lengths)], [None])
    result = compare_pair(students, others, None)
    width = result.percentile.high - result.percentile.low
    assert result.bca == pytest.approx(result.percentile, abs=0.05 * width)
    assert width > 2 * 4 * np.std(rates, ddof=1) / np.sqrt(3)  # t of 2 degrees of freedom: 4.30


def test_a_system_without_seeds_stands_beside_each() -> None:
    seeds = PairSide("student", [made_up(s, 0.2) for s in (5, 6)], ["1", "2"])
    alone = compare_pair(seeds, side("ensemble", OTHER), SPEAKERS)
    thrice = compare_pair(seeds, PairSide("ensemble", [OTHER, OTHER], ["1", "2"]), SPEAKERS)
    assert alone == thrice


def test_insertions_where_there_are_no_words() -> None:
    steps = np.array([INSERTION, CORRECT, DELETION, SUBSTITUTION], np.uint8)
    a = Alignments(("u", "v"), steps, np.array([0, 1, 4]))
    b = Alignments(("u", "v"), steps[1:], np.array([0, 0, 3]))
    result = compare_pair(side("a", a), side("b", b), {"u": "s", "v": "t"})
    assert (result.wer_a, result.wer_b) == (1, pytest.approx(2 / 3))
    assert result.percentile.high >= result.difference
    # A draw of the first speaker twice has no words: a quarter of them.
    assert result.test("bootstrap").size == pytest.approx(7500, rel=0.05)
    assert result.test("sign").size == 1  # the speaker without words has no rate


def test_what_cannot_be_compared_is_refused() -> None:
    one = side("one", ONE)
    with pytest.raises(ValueError, match="one and two are not over the same utterances"):
        compare_pair(one, side("two", made_up(1, 0.1, LENGTHS[:-1])), SPEAKERS)
    with pytest.raises(ValueError, match="not of one reference"):
        compare_pair(one, side("two", made_up(1, 0.1, LENGTHS[::-1])), SPEAKERS)
    with pytest.raises(ValueError, match="two: nothing of seed 2"):
        compare_pair(PairSide("one", [ONE, ONE], ["1", "2"]), PairSide("two", [ONE], ["1"]), None)
    with pytest.raises(ValueError, match="no words"):
        compare_pair(*[side("x", made_up(1, 0.1, [0, 0]))] * 2, None)
    with pytest.raises(ValueError, match="u119: no speaker"):
        compare_pair(one, one, {u: s for u, s in SPEAKERS.items() if u != "u119"})


@pytest.mark.parametrize(("speakers", "low", "high"), [(5, 0.75, 0.9), (40, 0.9, 0.98)])
def test_few_speakers_give_intervals_that_are_too_narrow(
    speakers: int, low: float, high: float
) -> None:
    # Each speaker favours a system by chance; the true difference is none.
    rng = np.random.default_rng(6)
    held = 0
    for trial in range(200):
        errors = rng.poisson(rng.gamma(4, 2, (2, speakers)))
        a, b = (
            Alignments(
                tuple(map(str, range(speakers))),
                np.concatenate([np.repeat([1, 0], [n, 60 - n]) for n in errors.clip(0, 60)[i]]),
                np.arange(speakers + 1) * 60,
            )
            for i in range(2)
        )
        ids = {utt_id: utt_id for utt_id in a.utt_ids}
        result = compare_pair(side("a", a), side("b", b), ids, 400, trial)
        held += result.percentile.holds(0)
    assert low < held / 200 < high
    assert ("drawn from only 5 speakers" in result.test("bootstrap").note) == (speakers == 5)


def test_what_a_side_remembers_is_that_of_its_other_pairs() -> None:
    names = ("a", "b", "c")
    sides = [
        PairSide(n, [made_up(i, 0.2), made_up(i + 5, 0.2)], ["1", "2"]) for i, n in enumerate(names)
    ]
    alone = {"u" + name[1:]: speaker + "x" for name, speaker in SPEAKERS.items()}
    for speakers, seed in ((SPEAKERS, 0), (None, 0), (SPEAKERS, 1), (alone, 0), (SPEAKERS, 0)):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            new = [PairSide(s.name, s.alignments, s.seeds) for s in (sides[a], sides[b])]
            assert compare_pair(sides[a], sides[b], speakers, 200, seed) == compare_pair(
                *new, speakers, 200, seed
            )
    single = side("d", ONE)
    compare_pair(single, side("e", OTHER), SPEAKERS, 200)
    with_seeds = compare_pair(single, sides[0], SPEAKERS, 200)
    assert with_seeds == compare_pair(side("d", ONE), sides[0], SPEAKERS, 200)


def test_same_seed_same_result() -> None:
    one, other = side("one", ONE), side("other", OTHER)
    first = compare_pair(one, other, SPEAKERS, 500)
    assert first == compare_pair(side("one", ONE), other, SPEAKERS, 500)
    assert first.percentile != compare_pair(one, other, SPEAKERS, 500, seed=1).percentile
