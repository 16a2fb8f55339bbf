"""The stage `dump-targets`: teachers in, one store of their average for each temperature out."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from typing import Any

import torch

from asr_kd import __version__
from asr_kd.artefact import MANIFEST, Artefact, Manifest, hash_json
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.archives import ArchiveTeacher
from asr_kd.ensemble.average import Mean, average, mean_weights
from asr_kd.ensemble.codec import Keep, make_codec
from asr_kd.ensemble.cross_fit import Members, log_members, unseen_by, write_members
from asr_kd.ensemble.described import DescribedTeacher
from asr_kd.ensemble.devices import torch_device
from asr_kd.ensemble.statistics import Statistics
from asr_kd.ensemble.store import Header, ShardWriter, TeacherId, write_header
from asr_kd.ensemble.teachers import (
    Teacher,
    batches_by_length,
    max_batch_frames,
    open_teachers,
    own_features,
    same_num_frames,
)
from asr_kd.ensemble.weights import WeightsFrom, weighed
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.shards import run_shards, split

VERB = "dump-targets"
_logger = logging.getLogger("asr_kd.ensemble")
_SHARD_SIZE = 200  # utterances
_FEW = 1.1  # tokens of an average for one of its teachers', or the other way round


@dataclass(frozen=True)
class Dump:
    """What is dumped; hashable and picklable.

    Attributes:
        teachers: names as `open_teacher` takes them.
        data: feature directory; its utterances are dumped, and teachers that name no features of
            their own read it.
        temperatures: one store each.
        mean: arithmetic or geometric.
        weights: of the teachers, or the rule that gives them; None for equal ones.
        keep: what is kept of each frame.
        device: where networks run: cpu, cuda, or auto.
        cross_fit: each utterance is averaged over the teachers that were not trained on it.
        trust: whether programs that can run any code may be loaded.
    """

    teachers: tuple[str, ...]
    data: Path
    temperatures: tuple[float, ...] = (1.0,)
    mean: Mean = "arithmetic"
    weights: tuple[float, ...] | WeightsFrom | None = None
    keep: Keep = field(default_factory=Keep)
    device: str = "auto"
    cross_fit: bool = False
    trust: bool = False


def dump_targets(dump: Dump, out: Path, nj: int = 1) -> None:
    """Averages the teachers and publishes the stores.

    With one temperature `out` is the store; with several, `out/T1`, `out/T2.5` ... are.

    Raises:
        InputError: all faults of teachers, data and options together, before any work; then,
            naming the utterance, for posteriors that are unusable or of different lengths.
    """
    _open.cache_clear()  # a teacher may have been trained again since this process last opened it
    teachers = _open(dump.teachers, dump.data, dump.device, dump.trust)
    specs, teachers, own_weights = weighed(dump.teachers, teachers, dump.weights, dump.mean)
    dump = replace(dump, teachers=specs, weights=own_weights)
    weights = tuple(mean_weights(own_weights, len(teachers)))
    data = DataDir.read(dump.data)
    faults = _option_faults(dump)
    try:
        members = _members(dump, teachers, data.utt_ids, data)
        faults += _utterance_faults(teachers, data, members)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    config: dict[str, Any] = {
        "temperatures": list(dump.temperatures),
        "mean": dump.mean,
        "weights": list(weights),
        "keep": str(dump.keep),
        "teachers": list(dump.teachers),
    }
    if dump.cross_fit:
        config["cross_fit"] = hash_json(members)
    digests = {f"teacher{k}": t.digest for k, t in enumerate(teachers, start=1)}
    inputs = {"data": dump.data, **digests, **own_features(dump.teachers)}
    artefact = Artefact(out, VERB, config, inputs)
    if artefact.is_done():
        return
    if dump.cross_fit:
        log_members(members, len(teachers))
    work = artefact.begin()
    shards = split(data.utt_ids, _SHARD_SIZE)
    sizes = [len(shard) for shard in shards]
    facts = run_shards(work, partial(_dump_shard, dump, work), shards, nj, VERB, sizes)
    if facts is None:
        return
    infos = {}
    shift = next((t.frame_shift_ms for t in teachers if t.frame_shift_ms), None)
    for temperature, folder in zip(dump.temperatures, _folders(dump, work), strict=True):
        own_facts = [fact[_name(temperature)] for fact in facts]
        header = Header(
            temperature=temperature,
            mean=dump.mean,
            weights=weights,
            teachers=tuple(teacher_id(teacher) for teacher in teachers),
            label_set=teachers[0].label_set.digest,
            num_labels=len(teachers[0].label_set),
            keep=str(dump.keep),
            frame_shift_ms=shift,
            cross_fit=dump.cross_fit,
        )
        if dump.cross_fit:
            write_members(folder, members)
        write_header(folder, header, own_facts)
        statistics = Statistics.merged(Statistics(**fact["statistics"]) for fact in own_facts)
        num_bytes = sum(fact["shard"]["num_bytes"] for fact in own_facts)
        info = {"utterances": len(data.utt_ids), **statistics.summary(num_bytes)}
        infos[_name(temperature)] = info
        _logger.info(
            "T = %g: %.1f bytes/frame; KL(dense ‖ kept) %.4f nat, p99 %.4f; entropy %.3f nat; "
            "teachers agree on %.1f%% of the frames",
            temperature, info["bytes_per_frame"], info["kl_mean"], info["kl_p99"],
            info["entropy"], 100 * info["teacher_agreement"],
        )  # fmt: skip
        if "tokens_kept" in info:
            _log_paths(info, len(teachers))
        if folder != work:
            _write_manifest(folder, artefact, temperature, info)
    artefact.publish(infos if len(infos) > 1 else next(iter(infos.values())))


def _log_paths(info: Mapping[str, Any], num_teachers: int) -> None:
    """Of CTC: whether the average still says what the teachers say."""
    _logger.info(
        "blank is the most probable label of %.1f%% of the frames (of the mean teacher: %.1f%%); "
        "the average says something else at %.1f%% of the teachers' spikes, blank at %.1f%%",
        100 * info["blank_share"], 100 * info["teacher_blank_share"],
        100 * info["spike_disagreement"], 100 * info["spikes_lost"],
    )  # fmt: skip
    if not 1 / _FEW <= info["tokens_kept"] <= _FEW and num_teachers > 1:
        _logger.warning(
            "the average says %.2f tokens for each that a teacher says: their spikes are at "
            "different frames. Make them agree (train --init or --guide, or align-ctc), or average "
            "whole sequences (n-best lists)", info["tokens_kept"],
        )  # fmt: skip


@lru_cache(maxsize=1)
def _open(specs: tuple[str, ...], data: Path, device: str, trust: bool) -> list[Teacher]:
    return open_teachers(specs, data, torch_device(device), trust)


def teacher_id(teacher: Teacher) -> TeacherId:
    """What a header says of a teacher."""
    how = None
    if isinstance(teacher, ArchiveTeacher):
        how = teacher.unnormalised
    elif isinstance(teacher, DescribedTeacher):
        how = teacher.settings.unnormalised
    return TeacherId(name=teacher.name, digest=teacher.digest, unnormalised=how)


def _option_faults(dump: Dump) -> list[str]:
    faults = [] if dump.temperatures else ["no temperature given"]
    faults += [f"temperature {t:g}: not positive" for t in dump.temperatures if not 0 < t < inf]
    if len(set(dump.temperatures)) < len(dump.temperatures):
        faults.append(f"temperatures {dump.temperatures}: each only once")
    return faults


def _members(
    dump: Dump, teachers: Sequence[Teacher], utt_ids: Sequence[str], data: DataDir | None = None
) -> dict[str, Members]:
    """The teachers that label each utterance."""
    if not dump.cross_fit:
        return dict.fromkeys(utt_ids, tuple(range(len(teachers))))
    data = data or DataDir.read(dump.data, require=())
    return unseen_by(teachers, {utt: data.original(utt, utt) for utt in utt_ids})


def _utterance_faults(
    teachers: Sequence[Teacher], data: DataDir, members: Mapping[str, Members]
) -> list[str]:
    """Utterances that a teacher lacks, and numbers of frames that are known to differ."""
    faults = []
    for utt in data.utt_ids:
        own = [teachers[m] for m in members[utt]]
        faults += [f"{t.name}: no posteriors of {utt}" for t in own if utt not in t.utt_ids]
        known = [(t.name, t.num_frames[utt]) for t in own if utt in t.num_frames]
        if len({count for _, count in known}) > 1:
            counts = ", ".join(f"{name} has {count}" for name, count in known)
            faults.append(f"{utt}: numbers of frames differ: {counts}")
    return faults


def _dump_shard(dump: Dump, work: Path, number: int, utt_ids: list[str]) -> Mapping[str, Any]:
    teachers = _open(dump.teachers, dump.data, dump.device, dump.trust)
    assert not isinstance(dump.weights, WeightsFrom)  # looked up before the work
    codec = make_codec(dump.keep, len(teachers[0].label_set))
    stores = [(t, ShardWriter(codec), Statistics()) for t in dump.temperatures]
    groups: dict[Members, list[str]] = {}
    for utt, members in _members(dump, teachers, utt_ids).items():
        groups.setdefault(members, []).append(utt)
    for members, batch in _batches(groups, teachers):
        own = [teachers[m] for m in members]
        weights = None if dump.weights is None else [dump.weights[m] for m in members]
        each = [teacher.log_posts(batch) for teacher in own]
        for utt, log_posts in zip(batch, zip(*each, strict=True), strict=True):
            frames = same_num_frames(utt, [t.name for t in own], log_posts)
            for temperature, writer, statistics in stores:
                log_probs = average(log_posts, weights, dump.mean, temperature)
                if not bool(torch.isfinite(log_probs.logsumexp(1)).all()):
                    names = ", ".join(t.name for t in own)
                    raise InputError(f"{utt}: the mean of {names} is not a distribution")
                arrays = codec.encode(log_probs)
                writer.add(utt, frames, arrays)
                statistics.add(log_posts, temperature, log_probs, codec.decode(arrays))
                if teachers[0].label_set.is_ctc:
                    statistics.add_paths(log_posts, log_probs)
    facts = {}
    for (temperature, writer, statistics), folder in zip(stores, _folders(dump, work), strict=True):
        written = writer.write(folder / f"targets.{number}.bin")
        facts[_name(temperature)] = {**written, "statistics": asdict(statistics)}
    return facts


def _batches(
    groups: Mapping[Members, Sequence[str]], teachers: Sequence[Teacher]
) -> Iterator[tuple[Members, list[str]]]:
    """Utterances of the same teachers and of like length, as many as fit into memory."""
    num_frames = {utt: n for teacher in teachers for utt, n in teacher.num_frames.items()}
    for members, utt_ids in groups.items():
        max_frames = max_batch_frames(len(members), len(teachers[0].label_set))
        for batch in batches_by_length(utt_ids, num_frames, max_frames):
            yield members, batch


def _name(temperature: float) -> str:
    return f"T{temperature:g}"


def _folders(dump: Dump, work: Path) -> list[Path]:
    if len(dump.temperatures) == 1:
        return [work]
    return [work / _name(temperature) for temperature in dump.temperatures]


def _write_manifest(
    folder: Path, artefact: Artefact, temperature: float, info: Mapping[str, Any]
) -> None:
    """Makes one of several stores an artefact of its own, an input that training can name."""
    fingerprint = hash_json([artefact.fingerprint, temperature])
    config = {**artefact.config, "temperatures": [temperature]}
    manifest = Manifest(VERB, fingerprint, config, artefact.inputs, dict(info), __version__)
    write_text(folder / MANIFEST, json.dumps(asdict(manifest), indent=2))
