from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.score.alignment import Alignments, align
from asr_kd.score.mapsswe import cells, mapsswe, mapsswe_error, segment_errors


def alignments(*utterances: str) -> Alignments:
    """Of steps as letters: C, S, D, I."""
    bounds = np.cumsum([0, *map(len, utterances)])
    steps = np.array(["CSDI".index(step) for step in "".join(utterances)], np.uint8)
    return Alignments(tuple(f"u{i}" for i in range(len(utterances))), steps, bounds)


def segments(*systems: list[str]) -> list[list[float]]:
    return segment_errors([cells(alignments(*system)) for system in systems]).T.tolist()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("CCCC", "CCCC", []),
        ("CCSCC", "CCCCC", [[1, 0]]),
        ("SCCS", "CCCC", [[1, 0], [1, 0]]),  # two right words are enough
        ("SCS", "CCC", [[2, 0]]),  # one is not
        ("SCCS", "CDCC", [[2, 1]]),  # right by both it has to be
        ("SCCCCS", "CCCCCD", [[1, 0], [1, 1]]),
        ("SCICS", "CCCC", [[3, 0]]),  # an insertion between them cuts them off each other
        ("SCCICCS", "SCCCCS", [[1, 1], [1, 0], [1, 1]]),
        ("IICCCCII", "CCCC", [[2, 0], [2, 0]]),  # before the first and after the last word
        ("CCCC", "CCCCI", [[0, 1]]),
        ("I", "II", [[1, 2]]),  # a reference of no words
        ("", "", []),
        ("SICC", "DCC", [[2, 1]]),
    ],
)
def test_segments(a: str, b: str, expected: list[list[float]]) -> None:
    assert segments([a], [b]) == expected


def test_an_utterances_edge_bounds_a_segment() -> None:
    assert segments(["CS", "SC"], ["CC", "CC"]) == [[1, 0], [1, 0]]
    assert segments(["S", "", "I", "CC"], ["D", "", "", "CC"]) == [[1, 1], [1, 0]]


def words_of(utterance: str) -> list[tuple[int, str]]:
    """Insertions before each word and the word's step; an entry without a word at the end."""
    words, inserted = [], 0
    for step in utterance:
        if step == "I":
            inserted += 1
        else:
            words.append((inserted, step))
            inserted = 0
    return [*words, (inserted, "")]


def slow_segments(systems: list[list[str]]) -> list[list[float]]:
    """Grows a segment from its first error until two words in a row are right in all systems."""
    found = []
    for utterances in zip(*systems, strict=True):
        places = list(zip(*map(words_of, utterances), strict=True))
        errors, right = np.zeros(len(systems)), 0
        for place in places:
            inserted = np.array([n for n, _ in place])
            wrong = np.array([step in ("S", "D") for _, step in place])
            errors += inserted + wrong
            if inserted.any():
                right = 0
            right = 0 if wrong.any() or not place[0][1] else right + 1
            if right == 2:
                found.append(errors)
                errors, right = np.zeros(len(systems)), 1
        found.append(errors)
    return [errors.tolist() for errors in found if errors.any()]


@st.composite
def corpora(draw: st.DrawFn) -> list[list[str]]:
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    step = st.sampled_from(["C", "C", "C", "C", "S", "D", "IC", "IIS"])
    return [
        [
            "".join(draw(st.lists(step, min_size=n, max_size=n))) + draw(st.sampled_from(["", "I"]))
            for n in lengths
        ]
        for _ in range(draw(st.integers(1, 3)))
    ]


@given(corpora())
def test_segments_are_those_of_a_slow_loop(systems: list[list[str]]) -> None:
    assert segments(*systems) == slow_segments(systems)


@given(corpora())
def test_segments_hold_all_errors(systems: list[list[str]]) -> None:
    errors = [sum(step != "C" for step in "".join(system)) for system in systems]
    found = np.reshape(segments(*systems), (-1, len(systems)))
    assert found.sum(axis=0).tolist() == errors


def test_of_words() -> None:
    ref = {"u": list("abcdef")}
    one, other = (align(ref, {"u": hyp.split()}) for hyp in ("a x c d e", "a b c d e y"))
    assert segment_errors([cells(one), cells(other)]).T.tolist() == [[1, 0], [1, 1]]


def test_other_references_are_refused() -> None:
    for pair in pairwise([["CC", "CC"], ["CCC", "C"], ["CC"]]):
        with pytest.raises(ValueError, match="not of one reference"):
            segments(*pair)


def test_statistic_of_a_planted_case() -> None:
    test = mapsswe([1, 2, 0, 1], [0, 0, 1, 1])  # differences 1, 2, -1, 0
    assert test.statistic == pytest.approx(0.5 / (np.sqrt(5 / 3) / 2))
    assert test.p_value == pytest.approx(0.438578, abs=1e-6)  # of the normal distribution's table
    assert test.size == 4
    assert "only 4 segments" in test.note
    assert mapsswe_error([1, 2, 0, 1], [0, 0, 1, 1]) == pytest.approx(np.sqrt(5 / 3) * 2)


def test_where_it_is_not_defined() -> None:
    same = "all 2 segments differ by the same"
    for a, note in [([], "no segment has"), ([1, 1], same), ([3], "only one segment has an error")]:
        test = mapsswe(a, np.zeros(len(a)))
        assert (test.statistic, test.p_value, test.size) == (None, None, len(a))
        assert note in test.note
    same = mapsswe([2, 1, 1], [2, 1, 1])
    assert (same.statistic, same.p_value) == (0, 1)
    assert mapsswe_error([3], [1]) == 0


@pytest.mark.parametrize("size", [2, 3, 7, 200])
@pytest.mark.parametrize("seeds", [3, 7, 10])
def test_equal_means_over_seeds_do_not_vary_by_rounding(size: int, seeds: int) -> None:
    # The same mean, its addends in other orders
    rng = np.random.default_rng(size)
    addends = [rng.permutation(np.arange(seeds) / 10 / seeds) for _ in range(size)]
    means = np.array([sum(one.tolist()) for one in addends])
    assert mapsswe(means, np.zeros(size)).p_value is None
    assert mapsswe_error(means, np.zeros(size)) == 0
    assert mapsswe(means, np.full(size, means[0])).p_value == 1


def test_finds_what_is_not_there_in_one_of_twenty() -> None:
    rng = np.random.default_rng(5)
    p_values = [mapsswe(*rng.poisson(0.7, (2, 200))).p_value for _ in range(1000)]
    assert 0.03 < np.mean(np.array(p_values) < 0.05) < 0.07


def test_many_segments_need_no_note() -> None:
    assert mapsswe(np.arange(50) % 3, np.zeros(50)).note == ""
