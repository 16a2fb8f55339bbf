"""The stage `make-feats`: a data directory in, a feature directory out.

A feature directory is a data directory of its own with feats.scp, cmvn.scp (statistics of each
speaker), utt2num_frames and feature.json.
"""

import logging
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import Artefact, hash_input
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.cmvn import cmvn_stats
from asr_kd.features.extract import extract
from asr_kd.features.reader import matrix_fault
from asr_kd.features.sources import (
    absolute,
    audio_faults,
    source_files,
    sources_hash,
    wrong_rate,
)
from asr_kd.features.spec import FEATURE_JSON, FeatureSpec, read_spec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.audio import read_audio, resample
from asr_kd.shards import run_shards, split

SHARD_SIZE = 200
"""Utterances of a shard. Fixed, so that the archives do not depend on the number of processes."""

_logger = logging.getLogger("asr_kd.features")


class FeatsConfig(FeatureSpec):
    """Configuration of the verb `make-feats`.

    Attributes:
        resample: whether sound of another rate is converted to `sample_rate` rather than refused.
    """

    resample: bool = False

    @property
    def spec(self) -> FeatureSpec:
        """What the features are, however their sound came to its rate."""
        return FeatureSpec.model_validate(self.model_dump(exclude={"resample"}))


@dataclass(frozen=True)
class _Job:
    """What a worker process needs to know."""

    data: DataDir
    config: FeatsConfig
    work: Path
    final: Path
    allow_pipes: bool


def make_feats(
    data_dir: Path,
    out: Path,
    config: FeatsConfig | None = None,
    nj: int = 1,
    allow_pipes: bool = False,
) -> None:
    """Makes a feature directory.

    Features that came ready made (kind external, or `config` None and a feature.json there) stay
    where they are: they are read, checked and counted, and feats.scp names them. Utterances
    shorter than one frame are left out, counted and named in the log.

    Args:
        data_dir: a Kaldi data directory.
        out: the feature directory.
        config: what to compute; None takes the directory's own feature.json, or log-mel.
        nj: local processes.
        allow_pipes: whether commands in wav.scp are run.

    Raises:
        InputError: every fault of the tables and every recording that cannot be used, before any
            work; an utterance whose features cannot be had, are of another dimension or hold NaN;
            more than half of the utterances too short.
    """
    data_dir = Path(data_dir)
    ready_made = config is None and (data_dir / FEATURE_JSON).is_file()
    if ready_made:
        config = FeatsConfig.model_validate(config_dict(read_spec(data_dir)))
    config = config or FeatsConfig()
    ready_made = ready_made or config.kind == "external"
    needed = ("utt2spk", "feats" if ready_made else "wav")
    data = absolute(DataDir.read(data_dir, needed, allow_pipes))
    inputs: dict[str, Path | str] = {
        "data": hash_input(data_dir),
        "sources": sources_hash(source_files(data, ready_made)),
    }
    artefact = Artefact(out, "make-feats", config_dict(config), inputs)
    if artefact.is_done():
        return
    if not ready_made:
        faults = list(audio_faults(data, config.sample_rate, config.resample))
        if faults:
            raise InputError(faults)
    job = _Job(data, config, artefact.begin(), artefact.path, allow_pipes)
    shards = split(data.utt_ids, SHARD_SIZE)
    work = partial(_check_shard if ready_made else _compute_shard, job)
    done = run_shards(job.work, work, shards, nj, "make-feats", [len(s) for s in shards])
    if done is not None:
        artefact.publish(_finish(job, done))


def _compute_shard(job: _Job, k: int, utt_ids: Sequence[str]) -> dict[str, Any]:
    """Writes feats.k.ark and returns its part of the tables."""
    shard = _Shard()
    faults: list[str] = []
    name = f"feats.{k}.ark"
    with ArkWriter(job.work / name, published=job.final / name) as ark:
        for utt_id in utt_ids:
            try:
                feats = _compute(job, utt_id)
            except InputError as error:
                faults += [f"{utt_id}: {fault}" for fault in error.faults]
                continue
            if len(feats) == 0:
                shard.skipped.append(utt_id)
                continue
            ark.write(utt_id, feats)
            shard.add(utt_id, job.data.utt2spk[utt_id], feats)
        if faults:
            raise InputError(faults)
    return shard.facts(ark.scp)


def _compute(job: _Job, utt_id: str) -> NDArray[np.float32]:
    path, start, end = job.data.audio(utt_id)
    samples, rate = read_audio(path, start, end, job.allow_pipes)
    wanted = job.config.sample_rate
    if rate != wanted and not job.config.resample:  # the header said otherwise, or this is a pipe
        raise InputError(wrong_rate(path, rate, wanted))
    speed = job.data.speed.get(utt_id, 1.0)
    if (rate, speed) != (wanted, 1.0):
        samples = resample(samples, rate, wanted, speed)
    # The noise of an utterance must not depend on its shard, nor on those before it.
    feats = extract(samples, job.config.spec, seed=zlib.crc32(utt_id.encode()))
    if len(feats) and (fault := matrix_fault(feats)):
        raise InputError(f"{path}: {fault}; the audio holds such samples")
    return feats


def _check_shard(job: _Job, k: int, utt_ids: Sequence[str]) -> dict[str, Any]:
    """Reads ready-made features and returns their part of the tables."""
    archive = Archive(job.data.feats, job.data.path / "feats.scp")
    shard = _Shard()
    faults: list[str] = []
    dim = job.config.dim
    for utt_id in utt_ids:
        try:
            feats = np.asarray(archive[utt_id], dtype=np.float32)
        except InputError as error:
            faults += error.faults
            continue
        fault = matrix_fault(feats)
        dim = dim or feats.shape[-1]
        if fault is None and feats.shape[1] != dim:
            fault = f"{feats.shape[1]} coefficients, expected {dim}"
        if fault:
            faults.append(f"{job.data.feats[utt_id]}: {utt_id}: {fault}")
        else:
            shard.add(utt_id, job.data.utt2spk[utt_id], feats)
    if faults:
        raise InputError([*faults, f"`asr-kd validate {job.data.path}` lists all such faults"])
    return shard.facts({utt_id: job.data.feats[utt_id] for utt_id in shard.num_frames})


class _Shard:
    """What is gathered while going through the utterances of a shard."""

    def __init__(self) -> None:
        self.num_frames: dict[str, int] = {}
        self.stats: dict[str, NDArray[np.float64]] = {}
        self.skipped: list[str] = []

    def add(self, utt_id: str, speaker: str, feats: NDArray[np.float32]) -> None:
        self.num_frames[utt_id] = len(feats)
        self.stats[speaker] = self.stats.get(speaker, 0) + cmvn_stats(feats)

    def facts(self, scp: Mapping[str, str]) -> dict[str, Any]:
        stats = {speaker: matrix.tolist() for speaker, matrix in self.stats.items()}
        return {"feats": dict(scp), "num_frames": self.num_frames, "stats": stats,
                "skipped": self.skipped}  # fmt: skip


def _finish(job: _Job, shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes the tables of the feature directory; returns facts for the manifest."""
    feats: dict[str, str] = {}
    num_frames: dict[str, int] = {}
    stats: dict[str, Any] = defaultdict(float)
    skipped: list[str] = []
    dims = {len(m[0]) - 1 for shard in shards for m in shard["stats"].values()}
    if len(dims) > 1:
        raise InputError(f"{job.data.path}/feats.scp: matrices of {sorted(dims)} coefficients")
    for shard in shards:
        feats |= shard["feats"]
        num_frames |= shard["num_frames"]
        skipped += shard["skipped"]
        for speaker, matrix in shard["stats"].items():
            stats[speaker] = stats[speaker] + np.array(matrix)
    _report_skipped(job.data, skipped)
    with ArkWriter(job.work / "cmvn.ark", published=job.final / "cmvn.ark") as ark:
        for speaker in sorted(stats, key=str.encode):
            ark.write(speaker, stats[speaker].astype(np.float32))
    kept = job.data.subset(utt for utt in job.data.utt_ids if utt in feats)
    replace(kept, feats=feats, num_frames=num_frames, cmvn=ark.scp).write(job.work)
    spec = job.config.spec
    if spec.kind == "external":
        spec = spec.model_copy(update={"dim": dims.pop()})
    write_spec(spec, job.work)
    total = sum(num_frames.values())
    _logger.info("%s: %d utterances, %d frames (%.2f h)", job.final, len(feats), total,
                 total * spec.frame_shift_ms / 3.6e6)  # fmt: skip
    return {"utterances": len(feats), "frames": total, "skipped": skipped}


def _report_skipped(data: DataDir, skipped: Sequence[str]) -> None:
    if not skipped:
        return
    share = f"{len(skipped)} of {len(data.utt2spk)} utterances"
    message = f"{data.path}: {share} are shorter than one frame"
    if 2 * len(skipped) > len(data.utt2spk):
        raise InputError([f"{message}; are segments and recordings those of one corpus?", *skipped])
    _logger.warning("%s and were left out: %s", message, " ".join(skipped))
