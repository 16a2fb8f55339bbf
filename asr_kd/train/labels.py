"""What a folder says of utterances: the label of every frame, the tokens of the whole, or both."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.labels.ctc import frames_needed
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior

ALIGNMENT, TOKENS = "ali.scp", "tokens.scp"
_SHOWN = 20
_logger = logging.getLogger("asr_kd.train")

Ids = NDArray[np.int32]


class FrameRate(NamedTuple):
    """How many frames a model makes of those of the features.

    Attributes:
        subsampling: s; T frames of features are ⌈T/s⌉ of the model's.
        fastest: the largest factor of speed that a training draws; at least 1.
    """

    subsampling: int = 1
    fastest: float = 1.0

    def outputs(self, num_frames: int) -> int:
        """⌈T/s⌉ of T."""
        return -(-num_frames // self.subsampling)

    def fewest(self, num_frames: int) -> int:
        """Frames of the model's for T frames of features at the fastest speed."""
        return self.outputs(max(1, round(num_frames / self.fastest)))


class Labels(NamedTuple):
    """Utterance id → what is known of it; the same utterances in all of them.

    Attributes:
        num_frames: T, of the features.
        pdf_ids: a label for each frame of the model (T',); None where the folder has no alignment.
        tokens: (L,), L ≥ 0; None where it has none.
        left_out: utterance id → why it is not there: too few frames for its tokens.
    """

    num_frames: dict[str, int]
    pdf_ids: dict[str, Ids] | None
    tokens: dict[str, Ids] | None
    left_out: dict[str, str]


def read_labels(
    folder: Path,
    label_set: LabelSet,
    data: DataDir,
    count_frames: Callable[[str], int],
    rate: FrameRate,
) -> Labels:
    """The labels of a data directory's utterances.

    Utterances that the folder does not label are skipped, those with more tokens than frames are
    left out, both counted and named in the log.

    Args:
        folder: with ali.scp, tokens.scp or both.
        label_set: the folder's.
        data: the utterances.
        count_frames: utterance id → frames of its features.
        rate: of the model.

    Raises:
        InputError: every alignment of another length than the model's output, every label outside
            of the label set, and where no utterance is left.
    """
    names = [name for name in (ALIGNMENT, TOKENS) if (folder / name).is_file()]
    tables = {name: Archive.read(folder / name) for name in names or [ALIGNMENT]}
    if TOKENS in tables and not label_set.is_ctc:
        raise InputError(
            f"{folder}: has {TOKENS}, but labels of the kind {label_set.kind!r}, without a blank; "
            f"make it with `asr-kd encode-text`"
        )
    known = [utt for utt in data.utt_ids if all(utt in table for table in tables.values())]
    what = "aligns" if ALIGNMENT in tables else "has tokens for"
    if not known:
        raise InputError(f"{folder}: {what} none of the {len(data.utt_ids)} of {data.path}")
    if len(known) < len(data.utt_ids):
        skipped = [utt for utt in data.utt_ids if utt not in set(known)]
        _logger.warning(
            "%s: %d of %d utterances skipped, which %s does not %s: %s",
            data.path, len(skipped), len(data.utt_ids), folder,
            "align" if ALIGNMENT in tables else "have", ", ".join(skipped[:5]),
        )  # fmt: skip
    num_frames = {utt: count_frames(utt) for utt in known}
    read = {
        name: {utt: np.asarray(table[utt], dtype=np.int32) for utt in known}
        for name, table in tables.items()
    }
    faults = [f for name in read for f in _outside(folder, name, read[name], label_set)]
    if ALIGNMENT in read:
        faults += _other_lengths(folder, data.path, read[ALIGNMENT], num_frames, rate)
    if faults:
        raise InputError(faults)
    left_out = _too_long(read[TOKENS], num_frames, rate) if TOKENS in read else {}
    if left_out:
        _report(left_out, data.path, len(known), rate)
    for utt in left_out:
        del num_frames[utt]
        for table in read.values():
            del table[utt]
    return Labels(num_frames, read.get(ALIGNMENT), read.get(TOKENS), left_out)


def folder_log_prior(folder: Path, label_set: LabelSet) -> NDArray[np.float32]:
    """Natural-log label prior (V,): of an alignment its counts, of tokens alone uniform.

    Nothing is counted where no frame is labelled; see `mean_posterior` for what a trained model is
    given.
    """
    if (folder / TOKENS).is_file() and not (folder / ALIGNMENT).is_file():
        return np.full(len(label_set), -np.log(len(label_set)), np.float32)
    return log_prior(folder)


def _outside(
    folder: Path, name: str, labels: Mapping[str, Ids], label_set: LabelSet
) -> Iterator[str]:
    least = 0 if name == ALIGNMENT else 1  # no token is the blank
    for utt, ids in labels.items():
        if len(ids) and (ids.min() < least or ids.max() >= len(label_set)):
            yield (
                f"{folder}: {utt}: label {ids.min()} to {ids.max()} outside of the label set of "
                f"{len(label_set)}{' and its blank, 0' if least else ''}"
            )


def _other_lengths(
    folder: Path,
    data: Path,
    pdf_ids: Mapping[str, Ids],
    num_frames: Mapping[str, int],
    rate: FrameRate,
) -> Iterator[str]:
    for utt, ids in pdf_ids.items():
        expected = rate.outputs(num_frames[utt])
        if len(ids) == expected > 0:
            continue
        if rate.subsampling > 1:
            yield (
                f"{folder}: {utt}: {len(ids)} labels for {expected} frames, which model.subsampling"
                f"={rate.subsampling} makes of the {num_frames[utt]} in {data}; align by a model "
                f"of that subsampling (align-ctc), or give tokens (encode-text)"
            )
        else:
            yield (
                f"{folder}: {utt}: {len(ids)} labels for {expected} frames in {data}; align these "
                f"features again"
            )


def _too_long(
    tokens: Mapping[str, Ids], num_frames: Mapping[str, int], rate: FrameRate
) -> dict[str, str]:
    reasons = {}
    for utt, ids in tokens.items():
        needed, there = frames_needed(ids), rate.fewest(num_frames[utt])
        if needed > there:
            reasons[utt] = f"{len(ids)} tokens need {needed} frames, there are {there}"
    return reasons


def _report(left_out: Mapping[str, str], data: Path, known: int, rate: FrameRate) -> None:
    why = f"more tokens than frames after subsampling by {rate.subsampling}"
    why += f" at speed {rate.fastest:g}" if rate.fastest > 1 else ""
    named = [f"{utt}: {reason}" for utt, reason in left_out.items()]
    summary = f"{data}: {len(named)} of {known} utterances left out, {why}"
    if len(named) == known:
        raise InputError([summary, *named])
    more = f"; and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    _logger.warning("%s: %s%s", summary, "; ".join(named[:_SHOWN]), more)
