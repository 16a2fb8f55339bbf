"""Cross-fitting: a teacher labels only what it has not been trained on.

On its own training data a teacher is surer than it is right: it remembers labels. A mean over the
teachers that have not seen an utterance holds only what they know of it.

A model has seen what it was trained on, what the models had seen that it started from, and its
on-line teachers. What the teachers behind a store of soft targets had seen the store does not tell:
a teacher that was itself a student of a store counts as trained on its own data only.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.ensemble.teachers import Teacher
from asr_kd.errors import InputError
from asr_kd.io.table import write_table

Members = tuple[int, ...]  # teachers by number, from 0

MEMBERS = "members.txt"
_SHOWN = 5
_logger = logging.getLogger("asr_kd.ensemble")


def unseen_by(teachers: Sequence[Teacher], originals: Mapping[str, str]) -> dict[str, Members]:
    """For each utterance, the teachers that were not trained on it, nor on it at another speed.

    Args:
        teachers: they tell the utterances that they were trained on, without marks of speed.
        originals: utterance id → the same without the mark of its speed.

    Raises:
        InputError: naming the teachers that do not say what they were trained on, and counting the
            utterances that all were trained on.
    """
    faults = [
        f"{teacher.name}: does not say what it was trained on (trained_on.txt in a model's folder, "
        f"which `asr-kd train` writes); cross-fitting has to know"
        for teacher in teachers
        if teacher.trained_on is None
    ]
    if faults:
        raise InputError(faults)
    members = {
        utt: tuple(m for m, t in enumerate(teachers) if original not in (t.trained_on or ()))
        for utt, original in originals.items()
    }
    seen = [utt for utt, unseen in members.items() if not unseen]
    if seen:
        shown = ", ".join(seen[:_SHOWN]) + (" ..." if len(seen) > _SHOWN else "")
        raise InputError(
            f"{len(seen)} of {len(originals)} utterances were in the training of every teacher "
            f"({shown}); cross-fitting wants teachers of different folds, so that each utterance "
            f"is new to one at least"
        )
    return members


def log_members(members: Mapping[str, Members], num_teachers: int) -> None:
    """Says how many teachers label an utterance, and warns where nothing is left out."""
    counts = [len(each) for each in members.values()]
    if min(counts, default=0) == num_teachers:
        _logger.warning("cross-fitting leaves nothing out: no teacher was trained on this data")
        return
    _logger.info(
        "cross-fitted: %d utterances, each labelled by %d to %d of %d teachers",
        len(counts), min(counts, default=0), max(counts, default=0), num_teachers,
    )  # fmt: skip


def write_members(store: Path, members: Mapping[str, Members]) -> None:
    """Writes who labelled each utterance: its id and the numbers of its teachers, from 1."""
    table = {utt: " ".join(str(m + 1) for m in each) for utt, each in members.items()}
    write_table(store / MEMBERS, table)
