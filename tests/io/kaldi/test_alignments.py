from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.io.kaldi.alignments import range_fault, split_phones
from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model

# The states of each phone, for every one of its pdfs in turn.
VARIANTS = {1: [[0, 1]], 2: [[2], [3]], 3: [[4]]}


@pytest.fixture(scope="module")
def model(kaldi: Any) -> TransitionModel:
    return read_transition_model(KaldiReader(kaldi.mark + kaldi.transitions(), "final.mdl"))


def ids(values: list[int]) -> np.ndarray:
    return np.array(values, np.int32)


PHONE = st.sampled_from(
    [(phone, states) for phone, variants in VARIANTS.items() for states in variants]
)


@given(
    phones=st.lists(st.tuples(PHONE, st.lists(st.integers(0, 3), min_size=2)), min_size=1),
    loops_last=st.booleans(),
)
def test_a_path_is_cut_into_the_phones_that_made_it(
    model: TransitionModel, phones: list[tuple[tuple[int, list[int]], list[int]]], loops_last: bool
) -> None:
    tids: list[int] = []
    lengths = []
    # Where a one-state phone stands twice nothing tells its loops' place; silence behind it does.
    phones = [*phones, ((1, [0, 1]), [1, 1])]
    for (_, states), loops in phones:
        before = len(tids)
        for state, count in zip(states, loops, strict=False):
            stay, leave = [2 * state + 1] * count, [2 * state + 2]
            tids += leave + stay if loops_last else stay + leave
        lengths.append(len(tids) - before)
    found = split_phones(model, ids(tids))
    assert found is not None
    assert found.phones.tolist() == [phone for (phone, _), _ in phones]
    assert found.num_frames.tolist() == lengths


@pytest.mark.parametrize(
    "tids",
    [
        [4],  # begins in the middle of a phone
        [2],  # ends there
        [2, 6],  # goes on with another phone
        [2, 4, 3, 1],  # comes back to a state it has left
        [1, 2, 4, 3],  # loops before and behind
        [1, 2, 3, 4, 6, 5, 10],  # the same, from phone to phone
        [1, 1],  # never leaves
        [6, 5, 7],  # another state's loop
        [4, 2],  # the wrong way round
    ],
)
def test_what_is_no_path(model: TransitionModel, tids: list[int]) -> None:
    assert split_phones(model, ids(tids)) is None


def test_numbers_that_are_no_transition_ids(model: TransitionModel) -> None:
    assert range_fault(model, ids([1, 10])) is None
    for wrong in (0, -1, 11):
        fault = range_fault(model, ids([1, wrong, 99]))
        assert fault == f"transition-id {wrong} in frame 1; the model has 1 to 10"
