"""The stage `align-ctc`: the best path of CTC through each token sequence."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torchaudio.functional import forced_align

from asr_kd.align.folder import report_failures
from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.average import Mean, mean_weights
from asr_kd.ensemble.devices import torch_device
from asr_kd.ensemble.scorer import Scorer, scorer_digest
from asr_kd.ensemble.weights import WeightsFrom, weighed_specs
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.labels.ctc import BLANK, frames_needed
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import read_ali_labels, write_priors
from asr_kd.labels.units import SETTINGS, Units
from asr_kd.shards import run_shards, split

_NEVER = np.float32(-1e6)  # below what any path of possible labels has
_logger = logging.getLogger("asr_kd.align")


class AlignCtcConfig(Config):
    """Configuration of the verb `align-ctc`.

    Attributes:
        mean: how several models' posteriors are averaged, arithmetic or geometric.
        shard_size: utterances aligned between two marks of progress.
    """

    mean: Mean = "arithmetic"
    shard_size: PositiveInt = 100


@dataclass(frozen=True)
class _Setup:
    data: Path
    tokens: Path
    models: tuple[str, ...]
    config: AlignCtcConfig
    weights: tuple[float, ...] | None
    device: str
    trust: bool


@dataclass(frozen=True)
class _System:
    label_set: LabelSet
    tokens: Archive
    scorer: Scorer
    utt_ids: tuple[str, ...]


def best_path(log_post: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.int32] | None:
    """The most probable of all paths that collapse to the tokens.

    Where two ways into a state are exactly alike, torchaudio's search may miss it (pytorch/audio
    issue 4221, open in 2.11).

    Args:
        log_post: log-posteriors (T,V).
        tokens: (L,), none of them the blank; T is at least `frames_needed`.

    Returns:
        A label for each frame (T,); None where every path has the probability 0.
    """
    if len(tokens):
        # The search wants finite scores.
        scores = torch.from_numpy(np.maximum(log_post, _NEVER))[None]
        targets = torch.from_numpy(tokens.astype(np.int32))[None]
        found, _ = forced_align(scores, targets, blank=BLANK)
        path: NDArray[np.int32] = found[0].to(torch.int32).numpy()
    else:
        path = np.full(len(log_post), BLANK, np.int32)
    return None if np.isneginf(log_post[range(len(path)), path]).any() else path


def align_ctc(
    data: Path,
    tokens: Path,
    models: Sequence[str],
    out: Path,
    config: AlignCtcConfig,
    *,
    weights: WeightsFrom | Sequence[float] | None = None,
    device: str = "auto",
    nj: int = 1,
    trust: bool = False,
) -> None:
    """Aligns token sequences and publishes an alignment folder that keeps the tokens.

    ali.scp (a label for each frame of the models', blanks among them), tokens.scp of the same
    utterances, labels.json and the units' files, priors.json (frames of each label), failed.txt.
    To `train` it is an alignment beside the tokens, see `CtcConfig`.

    Args:
        data: feature directory.
        tokens: output of `encode-text`.
        models: of CTC, one or more to average, as `Scorer.open` takes them.
        out: alignment folder.
        config: the mean.
        weights: of the models; they may come from `weigh-teachers`.
        device: where networks run: cpu, cuda, or auto.
        nj: local processes.
        trust: whether programs that can run any code may be loaded.

    Raises:
        InputError: for faults of the inputs, all together, before any work; or if nothing can be
            aligned. Utterances with more tokens than frames, or whose tokens the models rule out,
            are skipped, counted and named.
    """
    models, shares = weighed_specs(models, data, weights, config.mean, trust)
    settings = config_dict(config)
    if shares is not None:
        settings["weights"] = mean_weights(shares, len(models))
    inputs: dict[str, Path | str] = {"data": data, "tokens": tokens}
    inputs |= {f"model{i}": scorer_digest(model, data) for i, model in enumerate(models)}
    artefact = Artefact(out, "align-ctc", settings, inputs)
    if artefact.is_done():
        return
    setup = _Setup(data, tokens, tuple(models), config, shares, device, trust)
    _open.cache_clear()  # the files may be others than in this process's last call
    system = _open(setup)  # finds every fault of the inputs before work begins
    work = artefact.begin()
    shards = split(system.utt_ids, config.shard_size)
    func = partial(_align_shard, setup, work, artefact.path)
    facts = run_shards(work, func, shards, nj, "align", [len(s) for s in shards])
    if facts is not None:
        _publish(artefact, tokens, system.label_set, facts)


@lru_cache(maxsize=1)
def _open(setup: _Setup) -> _System:
    faults: list[str] = []
    data = DataDir.read(setup.data, require=("feats",))
    label_set = read_ali_labels(setup.tokens)
    tokens = Archive.read(setup.tokens / "tokens.scp")
    utt_ids = tuple(utt for utt in data.utt_ids if utt in tokens)
    if not utt_ids:
        faults.append(f"{setup.tokens}: has tokens for none of the utterances of {setup.data}")
    elif len(utt_ids) < len(data.utt_ids):
        _logger.warning("%s: %d of %d utterances have no tokens in %s and are left out",
                        setup.data, len(data.utt_ids) - len(utt_ids), len(data.utt_ids),
                        setup.tokens)  # fmt: skip
    if not label_set.is_ctc:
        faults.append(f"{setup.tokens}: labels of the kind {label_set.kind!r}, without a blank")
    for utt in utt_ids:
        ids = tokens[utt]
        if len(ids) and not 0 < ids.min() <= ids.max() < len(label_set):
            faults.append(
                f"{setup.tokens}: {utt}: label {ids.min()} to {ids.max()} outside of the label set "
                f"of {len(label_set)} and its blank, 0"
            )
    try:
        scorer = Scorer.open(
            setup.models, setup.data, mean=setup.config.mean, weights=setup.weights,
            device=torch_device(setup.device), trust=setup.trust,
        )  # fmt: skip
        label_set.require_same(scorer.label_set, str(setup.tokens), " ".join(setup.models))
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return _System(label_set, tokens, scorer, utt_ids)


def _align_shard(
    setup: _Setup, work: Path, published: Path, k: int, utt_ids: Sequence[str]
) -> dict[str, Any]:
    system = _open(setup)
    failed: dict[str, str] = {}
    counts = np.zeros(len(system.label_set), np.int64)
    names = [f"{kind}.{k}.ark" for kind in ("ali", "tokens")]
    alis, spoken = (ArkWriter(work / name, published=published / name) for name in names)
    with alis, spoken:
        for utt in utt_ids:
            tokens = np.asarray(system.tokens[utt], np.int32)
            log_post = system.scorer.log_post(utt)
            if frames_needed(tokens) > len(log_post):
                failed[utt] = (
                    f"{len(tokens)} tokens need {frames_needed(tokens)} frames, there are "
                    f"{len(log_post)}"
                )
                continue
            path = best_path(log_post, tokens)
            if path is None:
                failed[utt] = "no path through its tokens has a probability above 0"
                continue
            counts += np.bincount(path, minlength=len(counts))
            alis.write(utt, path)
            spoken.write(utt, tokens)
    return {"ali": alis.scp, "tokens": spoken.scp, "failed": failed, "counts": counts.tolist()}


def _publish(
    artefact: Artefact, tokens: Path, label_set: LabelSet, facts: Sequence[Mapping[str, Any]]
) -> None:
    work = artefact.work
    failed = {utt: why for fact in facts for utt, why in fact["failed"].items()}
    aligned = sum(len(fact["ali"]) for fact in facts)
    report_failures(failed, aligned + len(failed))
    if not aligned:
        raise InputError([f"{utt}: {why}" for utt, why in failed.items()])
    for kind in ("ali", "tokens"):
        table = {utt: place for fact in facts for utt, place in fact[kind].items()}
        write_table(work / f"{kind}.scp", table)
    label_set.save(work / "labels.json")
    if (tokens / SETTINGS).is_file():  # tokens of another tool's have no units of ours
        Units.read(tokens).write(work)
    counts = np.sum([fact["counts"] for fact in facts], axis=0)
    write_priors(work, counts.tolist(), label_set)
    write_text(work / "failed.txt", "".join(f"{utt} {failed[utt]}\n" for utt in sorted(failed)))
    frames = int(counts.sum())
    _logger.info("aligned %d utterances, %d frames, %.1f%% of them blank; %d failed",
                 aligned, frames, 100 * counts[BLANK] / frames, len(failed))  # fmt: skip
    artefact.publish({
        "label_set": label_set.digest, "aligned": aligned, "failed": len(failed), "frames": frames,
        "blank_share": float(counts[BLANK] / frames),
    })  # fmt: skip
