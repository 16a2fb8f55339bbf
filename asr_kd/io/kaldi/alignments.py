"""Kaldi's alignments: a transition-id for each frame, and the phones they pass through."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.transitions import TransitionModel

_ELEMENT = np.dtype([("width", "u1"), ("value", "<i4")])


def read_int_vector(reader: KaldiReader) -> NDArray[np.int32]:
    """An object of an archive such as ali.1.gz: int32 (T,).

    Raises:
        InputError: with file and byte, where it is damaged.
    """
    if not reader.binary:
        words = reader.line().split()
        # numpy would take 1e3 and 1_000 as numbers, too.
        if wrong := [word for word in words if not word.removeprefix(b"-").isdigit()]:
            reader.fail(f"expected transition-ids, found {wrong[0][:20]!r}")
        numbers = [int(word) for word in words if len(word) < 12]
        if len(numbers) < len(words) or not all(-(2**31) <= n < 2**31 for n in numbers):
            reader.fail("an integer of more than 32 bits")
        return np.array(numbers, np.int32)
    length = reader.count(_ELEMENT.itemsize)
    end = reader.position + length * _ELEMENT.itemsize
    elements = np.frombuffer(reader.data[reader.position : end], _ELEMENT)
    if not (elements["width"] == 4).all():
        reader.fail("a vector whose elements are no 32-bit integers")
    reader.position = end
    return elements["value"].astype(np.int32)


class Phones(NamedTuple):
    """The phones of an alignment.

    Attributes:
        phones: (P,) int32.
        num_frames: (P,) int64, of each.
    """

    phones: NDArray[np.int32]
    num_frames: NDArray[np.int64]


def range_fault(model: TransitionModel, tids: NDArray[np.int32]) -> str | None:
    """What is wrong where a number is no transition-id of the model."""
    wrong = np.flatnonzero((tids < 1) | (tids > model.num_transition_ids))
    if not len(wrong):
        return None
    return (
        f"transition-id {tids[wrong[0]]} in frame {wrong[0]}; the model has 1 to "
        f"{model.num_transition_ids}"
    )


def split_phones(model: TransitionModel, tids: NDArray[np.int32]) -> Phones | None:
    """Cuts an alignment into phones.

    Kaldi writes the self-loops of a state behind the transition that leaves it (reordered, the
    default) or before.

    Args:
        model: what the transition-ids belong to.
        tids: (T,) transition-ids in range, T > 0.

    Returns:
        None if they are no path through the model's HMMs from the beginning to the end of a phone.
    """
    loop, last, state = model.is_loop[tids], model.is_last[tids], model.state_of[tids]
    steps = np.flatnonzero(~loop)
    if not len(steps):
        return None
    # The step of each frame, out of its state: before the self-loops or behind them.
    if _loops_are_last(loop, state):
        own = np.searchsorted(steps, np.arange(len(tids)), "right") - 1
    else:
        own = np.searchsorted(steps, np.arange(len(tids)), "left")
    if own[0] < 0 or own[-1] == len(steps):
        return None
    own_step = steps[own]
    if not np.array_equal(state[own_step], state):
        return None
    ends = last[own_step] & np.append(own_step[1:] != own_step[:-1], True)
    if not ends[-1]:
        return None
    if model.topology.all_emit and not _connected(model, tids[steps]):
        return None
    bounds = np.flatnonzero(ends)
    num_frames = np.diff(bounds, prepend=-1)
    phones = model.phone_of[tids]
    if not np.array_equal(np.repeat(phones[bounds], num_frames), phones):
        return None
    return Phones(phones[bounds].astype(np.int32), num_frames)


def _loops_are_last(loop: NDArray[np.bool_], state: NDArray[np.int64]) -> bool:
    """Whether self-loops stand behind the step out of their state.

    A self-loop beside a change of state tells. Without one, the alignment stays in one state; then
    its ends tell, or nobody can.
    """
    changes = state[1:] != state[:-1]
    if (loop[:-1] & changes).any():
        return True
    if (loop[1:] & changes).any():
        return False
    return bool(loop[-1] and not loop[0])


def _connected(model: TransitionModel, steps: NDArray[np.int32]) -> bool:
    """Whether each step begins in the state to which the one before leads."""
    begins = model.states[model.state_of[steps], 1]
    leads = np.where(model.is_last[steps], 0, model.target_of[steps])
    return bool(begins[0] == 0 and np.array_equal(begins[1:], leads[:-1]))
