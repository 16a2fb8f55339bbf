import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.score import edit_paths
from asr_kd.score.edit_paths import DELETION, INSERTION, KALDI, PAIR, SCLITE, Rule, Words

COSTS = {KALDI: (1, 1), SCLITE: (4, 3)}  # of a substitution, and of a word that stands alone
UTTERANCES = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=6)


def words(utterances: Sequence[Sequence[int]]) -> Words:
    bounds = np.cumsum([0, *map(len, utterances)])
    return Words(np.array([w for words in utterances for w in words], np.int32), bounds)


def slow_path(ref: Sequence[int], hyp: Sequence[int], rule: Rule) -> list[int]:
    """A table of costs, cell by cell, and the way back from its last cell."""
    replaced, alone = COSTS[rule]
    table = [[alone * (i + j) for j in range(len(hyp) + 1)] for i in range(len(ref) + 1)]

    def choices(i: int, j: int) -> tuple[int, int, int]:
        pair = table[i - 1][j - 1] + replaced * (ref[i - 1] != hyp[j - 1])
        return pair, table[i - 1][j] + alone, table[i][j - 1] + alone

    for i in range(1, len(ref) + 1):
        for j in range(1, len(hyp) + 1):
            table[i][j] = min(choices(i, j))
    i, j, path = len(ref), len(hyp), []
    while i or j:
        if not i or not j:
            step = DELETION if i else INSERTION
        else:
            pair, deletion, insertion = choices(i, j)
            others = min(deletion, insertion)
            step = DELETION if deletion < insertion else INSERTION
            if pair < others or (rule is SCLITE and pair == others):
                step = PAIR
        path.append(step)
        i, j = i - (step != INSERTION), j - (step != DELETION)
    return path[::-1]


def paths(ref: Sequence[Sequence[int]], hyp: Sequence[Sequence[int]], rule: Rule) -> list[list]:
    steps, bounds = edit_paths.edit_paths(words(ref), words(hyp), rule)
    assert len(bounds) == len(ref) + 1
    assert bounds[-1] == len(steps)
    return [steps[a:b].tolist() for a, b in pairwise(bounds)]


@pytest.mark.parametrize("rule", COSTS)
@given(ref=UTTERANCES, data=st.data())
@settings(max_examples=50, deadline=None)
def test_paths_are_those_of_a_plain_table(
    rule: Rule, ref: list[list[int]], data: st.DataObject
) -> None:
    hyp = data.draw(st.lists(UTTERANCES.map(lambda u: u[0]), min_size=len(ref), max_size=len(ref)))
    assert paths(ref, hyp, rule) == [slow_path(r, h, rule) for r, h in zip(ref, hyp, strict=True)]


@pytest.mark.parametrize("rule", COSTS)
@pytest.mark.parametrize(
    ("cells_at_once", "cells_of_a_band"),
    [
        (1 << 20, 1 << 27),  # all in few batches
        (700, 1 << 27),  # many batches, some of one utterance
        (1, 300),  # each utterance alone, the longer ones in bands
        (1, 1),  # each row a band of its own
    ],
)
def test_batches_and_bands_change_nothing(
    rule: Rule, cells_at_once: int, cells_of_a_band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)

    def utterance() -> list[int]:
        return rng.choices(range(3), k=rng.randrange(rng.choice([3, 20, 50])))

    ref, hyp = ([utterance() for _ in range(60)] for _ in range(2))
    monkeypatch.setattr(edit_paths, "_CELLS_AT_ONCE", cells_at_once)
    monkeypatch.setattr(edit_paths, "_CELLS_OF_A_BAND", cells_of_a_band)
    assert paths(ref, hyp, rule) == [slow_path(r, h, rule) for r, h in zip(ref, hyp, strict=True)]


@pytest.mark.parametrize("rule", COSTS)
@pytest.mark.parametrize("length", [31, 32, 42, 43, 127, 128, 140, 300])
def test_gains_beyond_a_byte(rule: Rule, length: int) -> None:
    # All right is the largest gain: at 43 words of sclite's 6 and at 128 of 2 it passes 255.
    same = list(range(length))
    other = [*same[: length // 2], -1, *same[length // 2 + 3 :]]
    assert paths([same, same], [same, other], rule) == [
        [PAIR] * length,
        slow_path(same, other, rule),
    ]


def test_utterances_of_very_different_lengths() -> None:
    long = list(range(2000))
    ref = [long, [], [1], long, []]
    hyp = [[], long, long, [1999], []]
    steps = paths(ref, hyp, KALDI)
    assert steps[0] == [DELETION] * 2000
    assert steps[1] == [INSERTION] * 2000
    assert steps[2] == [INSERTION, PAIR] + [INSERTION] * 1998
    assert steps[3] == [DELETION] * 1999 + [PAIR]
    assert steps[4] == []


def test_no_utterances() -> None:
    assert paths([], [], KALDI) == []


def test_memory_of_a_long_utterance_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    fill = edit_paths._fill

    def watched(*args: object) -> tuple:
        choices, bottom = fill(*args)
        made.append(choices.nbytes)
        return choices, bottom

    monkeypatch.setattr(edit_paths, "_fill", watched)
    monkeypatch.setattr(edit_paths, "_CELLS_OF_A_BAND", 200_000)
    ref, hyp = list(range(1000)), list(range(500, 1500))
    steps = paths([ref], [hyp], SCLITE)[0]
    assert steps == [DELETION] * 500 + [PAIR] * 500 + [INSERTION] * 500
    assert max(made) < 250_000  # of a table of a million cells
