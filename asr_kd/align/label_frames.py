"""The stage `label-frames`: transcripts that name the label of every frame."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import write_priors
from asr_kd.shards import rank_and_world

VERB = "label-frames"
KIND = "classes"
"""Of the label set: a label is a class, not a part of a word."""
_logger = logging.getLogger("asr_kd.align")


def label_frames(data_dir: Path, labels: Sequence[str], out: Path) -> None:
    """Publishes an alignment folder in which each frame has the word at its place in `text`.

    It holds what an alignment by a model holds, except for what only HMMs have.

    Args:
        data_dir: feature directory with transcripts.
        labels: all labels in order; label i is column i of every score matrix.
        out: alignment folder: ali.scp, labels.json, priors.json (frames of each label).

    Raises:
        InputError: for labels that are given twice; or with every utterance of another number of
            words than frames and every word that is no label, together, before any work.
    """
    label_set = LabelSet(KIND, tuple(labels))
    data = DataDir.read(data_dir, require=("feats", "text"))
    artefact = Artefact(out, VERB, {"labels": list(labels)}, {"data": data_dir})
    if artefact.is_done():
        return
    pdf_ids = _pdf_ids(data, label_set)
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    counts = np.zeros(len(label_set), np.int64)
    with ArkWriter(work / "ali.ark", published=artefact.path / "ali.ark") as ark:
        for utt_id, labels_of_frames in pdf_ids.items():
            ark.write(utt_id, labels_of_frames)
            counts += np.bincount(labels_of_frames, minlength=len(label_set))
    write_table(work / "ali.scp", ark.scp)
    label_set.save(work / "labels.json")
    write_priors(work, counts.tolist(), label_set)
    _logger.info("%s: labelled %d utterances, %d frames", out, len(pdf_ids), counts.sum())
    unseen = [name for name, count in zip(label_set.names, counts, strict=True) if count == 0]
    if unseen:
        _logger.warning("%s: no frame is labelled %s", out, ", ".join(unseen))
    artefact.publish({
        "label_set": label_set.digest, "aligned": len(pdf_ids), "frames": int(counts.sum()),
    })  # fmt: skip


def _pdf_ids(data: DataDir, label_set: LabelSet) -> dict[str, NDArray[np.int32]]:
    """Utterance id → label of each frame, int32 (T,)."""
    column = {name: index for index, name in enumerate(label_set.names)}
    reader = FeatureReader(data, "global")
    text = data.path / "text"
    pdf_ids: dict[str, NDArray[np.int32]] = {}
    faults: list[str] = []
    for utt_id in data.utt_ids:
        words = data.text[utt_id].split()
        num_frames = data.num_frames.get(utt_id)
        if num_frames is None:
            num_frames = len(reader[utt_id])
        if len(words) != num_frames:
            faults.append(f"{text}: {utt_id}: {len(words)} words for {num_frames} frames; "
                          f"expected one for each frame")  # fmt: skip
        unknown = sorted({word for word in words if word not in column})
        if unknown:
            faults.append(f"{text}: {utt_id}: {', '.join(unknown)}: no label; "
                          f"the labels are {' '.join(label_set.names)}")  # fmt: skip
        pdf_ids[utt_id] = np.array([column.get(word, -1) for word in words], np.int32)
    if faults:
        raise InputError(faults)
    return pdf_ids
