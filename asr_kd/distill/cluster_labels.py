"""The stage `cluster-labels`: which labels a generalist confuses, for specialists to take on."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.distill.cluster_report import report
from asr_kd.distill.clusters import Clusters, cluster_columns
from asr_kd.distill.confusion import Confusion
from asr_kd.ensemble.devices import torch_device
from asr_kd.ensemble.teachers import (
    Teacher,
    batches_by_length,
    max_batch_frames,
    open_teacher,
)
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.io.atomic import replacing, write_text
from asr_kd.labels.priors import read_ali_labels
from asr_kd.shards import run_shards, split

VERB = "cluster-labels"
_NUM_SHARDS = 16  # each leaves a V × V matrix until all are done
_logger = logging.getLogger("asr_kd.distill")


@dataclass(frozen=True)
class Source:
    """Whose posteriors of what; hashable and picklable.

    Attributes:
        generalist: as `open_teacher` takes it.
        data: feature directory.
        ali: its alignment, where errors are to be counted.
        temperature: of the posteriors. A trained network is so sure of most frames that at T = 1
            the covariance hardly tells what it could confuse; softened posteriors do.
        device: where a network runs.
        trust: whether programs that can run any code may be loaded.
    """

    generalist: str
    data: Path
    ali: Path | None = None
    temperature: float = 3.0
    device: str = "auto"
    trust: bool = False


def cluster_labels(
    source: Source, num_clusters: int, out: Path, seed: int = 0, nj: int = 1
) -> None:
    """Publishes `clusters.json`, `covariance.npy` (V,V) and the report `CLUSTERS.md`.

    Raises:
        InputError: for inputs that do not fit one another, before any work; then for a number of
            clusters that the covariance does not have, and clusters without frames, with names.
    """
    _open.cache_clear()
    teacher = _open(source)
    data = DataDir.read(source.data)
    faults = _faults(source, teacher, data)
    if not 0 < source.temperature < math.inf:
        faults.append(f"temperature {source.temperature:g}: expected a positive number")
    if not 2 <= num_clusters <= len(teacher.label_set):
        faults.append(
            f"{num_clusters} clusters: expected 2 to {len(teacher.label_set)}, the labels of "
            f"{teacher.name}"
        )
    if faults:
        raise InputError(faults)
    config = {
        "generalist": source.generalist,
        "clusters": num_clusters,
        "temperature": source.temperature,
        "seed": seed,
    }
    inputs: dict[str, Path | str] = {"generalist": teacher.digest, "data": source.data}
    own = source.generalist.removeprefix("ark:").partition("=")[2]
    inputs |= {"features": Path(own)} if own else {}
    inputs |= {"ali": source.ali} if source.ali is not None else {}
    artefact = Artefact(out, VERB, config, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    shards = split(data.utt_ids, math.ceil(len(data.utt_ids) / _NUM_SHARDS))
    sizes = [len(shard) for shard in shards]
    if run_shards(work, partial(_shard, source, work), shards, nj, VERB, sizes) is None:
        return
    confusion, expected, errors = _merged(work, len(shards), len(teacher.label_set))
    members = cluster_columns(confusion.covariance, num_clusters, seed)
    clusters = Clusters(teacher.label_set, members)
    frames = expected if errors is None else errors.sum(1)
    _require_frames(clusters, frames, source)
    clusters.save(work)
    with replacing(work / "covariance.npy") as file, file.open("wb") as stream:
        np.save(stream, confusion.covariance.numpy())
    text, info = report(clusters, frames, errors, source.generalist)
    write_text(work / "CLUSTERS.md", text)
    for number in range(len(shards)):
        _file(work, number).unlink()
    artefact.publish({"frames": confusion.frames, **info})
    _logger.info("%s: %d clusters of %d labels", out, num_clusters, len(teacher.label_set))


@lru_cache(maxsize=1)
def _open(source: Source) -> Teacher:
    device = torch_device(source.device)
    return open_teacher(source.generalist, source.data, device, source.trust)


def _faults(source: Source, teacher: Teacher, data: DataDir) -> list[str]:
    faults = [
        f"{teacher.name}: no posteriors of {u}" for u in data.utt_ids if u not in teacher.utt_ids
    ]
    if teacher.label_set.is_ctc:
        faults.append(
            f"{teacher.name}: labels of the kind {teacher.label_set.kind!r}: a specialist takes "
            f"frames from a generalist by what it confuses, and most frames of CTC are blanks of "
            f"which it is sure"
        )
    if source.ali is None:
        return faults
    try:
        teacher.label_set.require_same(read_ali_labels(source.ali), teacher.name, str(source.ali))
        if not set(Archive.read(source.ali / "ali.scp")) & set(data.utt_ids):
            faults.append(f"{source.ali}: aligns none of the {len(data.utt_ids)} of {source.data}")
    except InputError as error:
        faults += error.faults
    return faults


def _shard(source: Source, work: Path, number: int, utt_ids: list[str]) -> Mapping[str, Any]:
    """Confusion of some utterances, into a file of its own."""
    teacher = _open(source)
    size = len(teacher.label_set)
    ali = Archive.read(source.ali / "ali.scp") if source.ali is not None else {}
    confusion, errors = Confusion.empty(size), np.zeros((size, size), np.int64)
    expected = torch.zeros(size, dtype=torch.float64)  # frames of each label: never softened
    for batch in batches_by_length(utt_ids, teacher.num_frames, max_batch_frames(1, size)):
        log_posts = [log_post.cpu() for log_post in teacher.log_posts(batch)]
        for utt, log_post in zip(batch, log_posts, strict=True):
            if utt in ali:
                _count(errors, log_post, np.asarray(ali[utt], np.int64), f"{source.ali}: {utt}")
        log_post = torch.cat(log_posts).double()
        expected += log_post.softmax(1).sum(0)
        confusion.merge(Confusion.of((log_post / source.temperature).softmax(1)))
    with replacing(_file(work, number)) as file, file.open("wb") as stream:
        np.savez(
            stream, frames=confusion.frames, mean=confusion.mean, scatter=confusion.scatter,
            expected=expected, errors=errors,
        )  # fmt: skip
    return {"frames": confusion.frames}


def _count(
    errors: NDArray[np.int64], log_post: Tensor, pdf_ids: NDArray[np.int64], name: str
) -> None:
    """Adds an utterance's frames to the table, label × most probable label."""
    if len(pdf_ids) != len(log_post):
        raise InputError(f"{name}: {len(pdf_ids)} labels, posteriors of {len(log_post)} frames")
    if len(pdf_ids) and not 0 <= pdf_ids.min() <= pdf_ids.max() < len(errors):
        raise InputError(f"{name}: label {pdf_ids.max()} of {len(errors)}")
    np.add.at(errors, (pdf_ids, log_post.argmax(1).numpy()), 1)


def _merged(
    work: Path, num_shards: int, size: int
) -> tuple[Confusion, NDArray[np.float64], NDArray[np.int64] | None]:
    total, errors = Confusion.empty(size), np.zeros((size, size), np.int64)
    expected = np.zeros(size)
    for number in range(num_shards):
        with np.load(_file(work, number)) as part:
            mean, scatter = torch.from_numpy(part["mean"]), torch.from_numpy(part["scatter"])
            total.merge(Confusion(int(part["frames"]), mean, scatter))
            expected += part["expected"]
            errors += part["errors"]
    return total, expected, errors if errors.any() else None


def _require_frames(clusters: Clusters, frames: NDArray[Any], source: Source) -> None:
    """Refuses clusters of labels that never occur: there is nothing to train a specialist on."""
    faults = []
    for number, members in enumerate(clusters.members, start=1):
        if frames[list(members)].sum() < 1:
            where = source.ali or source.generalist
            names = ", ".join(clusters.names(number))
            faults.append(
                f"cluster {number} has no frame in {where}: {names}; ask for fewer clusters or "
                f"another --seed"
            )
    if faults:
        raise InputError(faults)


def _file(work: Path, number: int) -> Path:
    return work / f"confusion.{number}.npz"
