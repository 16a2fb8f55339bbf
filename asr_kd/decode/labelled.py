"""Posteriors of models beside the labels of an alignment."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.data.directory import DataDir
from asr_kd.ensemble.teachers import (
    Teacher,
    batches_by_length,
    max_batch_frames,
    same_num_frames,
)
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import read_ali_labels
from asr_kd.log import progress

Labels = Mapping[str, NDArray[np.int32]]  # utterance id → pdf-ids (T,)


class Scored(NamedTuple):
    """An utterance.

    Attributes:
        utt_id: its id.
        log_posts: M log-posteriors (T,V), on the models' device.
        pdf_ids: labels (T,), int64, on the same device.
    """

    utt_id: str
    log_posts: Sequence[Tensor]
    pdf_ids: Tensor


def read_labels(data: DataDir, ali_dir: Path, teachers: Sequence[Teacher]) -> Labels:
    """The aligned utterances of a feature directory; others are left out.

    Raises:
        InputError: for another label set than the teachers', no aligned utterance at all, and each
            utterance that a teacher lacks, or whose labels do not fit, as far as a teacher tells
            its frames.
    """
    label_set = read_ali_labels(ali_dir)
    teachers[0].label_set.require_same(label_set, teachers[0].name, str(ali_dir))
    archive = read_alignment(ali_dir, label_set)
    found = {utt: np.asarray(archive[utt], np.int32) for utt in data.utt_ids if utt in archive}
    if not found:
        raise InputError(f"{ali_dir}: aligns none of the {len(data.utt_ids)} of {data.path}")
    faults = []
    for utt, pdf_ids in found.items():
        faults += [f"{t.name}: no posteriors of {utt}" for t in teachers if utt not in t.utt_ids]
        wrong = pdf_ids[(pdf_ids < 0) | (pdf_ids >= len(label_set))]
        if len(wrong):
            faults.append(f"{ali_dir}: {utt}: label {wrong[0]} of {len(label_set)}")
        # Bundles and archives of matrices tell their frames only when they are scored, and these
        # need not be as many as the features'.
        known = {t.name: t.num_frames[utt] for t in teachers if utt in t.num_frames}
        faults += [
            f"{ali_dir}: {utt}: {len(pdf_ids)} labels, {name} has {count} frames"
            for name, count in known.items()
            if count != len(pdf_ids)
        ]
    if faults:
        raise InputError(faults)
    return found


def read_alignment(ali_dir: Path, label_set: LabelSet) -> Archive:
    """The labels of frames in a folder.

    Args:
        ali_dir: with ali.scp.
        label_set: its labels.

    Raises:
        InputError: if there are none; a folder of tokens is told apart.
    """
    ali = Path(ali_dir) / "ali.scp"
    if label_set.is_ctc and not ali.is_file():
        raise InputError(f"{ali_dir}: tokens, no labels of frames; align them: asr-kd align-ctc")
    return Archive.read(ali)


def score_labelled(teachers: Sequence[Teacher], labels: Labels, verb: str) -> Iterator[Scored]:
    """Runs the teachers on every utterance, the shortest first; `verb` is shown as it goes.

    Raises:
        InputError: naming the utterance for which teachers and labels disagree on the frames.
    """
    with progress(len(labels), verb, "utterance") as advance:
        max_frames = max_batch_frames(len(teachers), len(teachers[0].label_set))
        num_frames = {utt: len(pdf_ids) for utt, pdf_ids in labels.items()}
        for batch in batches_by_length(labels, num_frames, max_frames):
            each = [teacher.log_posts(batch) for teacher in teachers]
            for utt, log_posts in zip(batch, zip(*each, strict=True), strict=True):
                found = same_num_frames(utt, [t.name for t in teachers], log_posts)
                pdf_ids = torch.from_numpy(labels[utt].astype(np.int64))
                if found != len(pdf_ids):
                    raise InputError(f"{utt}: {len(pdf_ids)} labels, {found} frames")
                yield Scored(utt, log_posts, pdf_ids.to(log_posts[0].device))
            advance(len(batch))
