"""The stage `correct-bias`: output biases of some labels, chosen on held-out frames."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr_kd.artefact import Artefact
from asr_kd.distill.bias import BiasSearch
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.specialists import Specialists
from asr_kd.models.trained_on import read_trained_on, write_trained_on
from asr_kd.shards import rank_and_world
from asr_kd.train.dataset import AlignedData, plain_batch
from asr_kd.train.labels import FrameRate
from asr_kd.train.sampler import plan_batches
from asr_kd.train.selection import matching

VERB = "correct-bias"
REPORT = "CORRECTION"
_BATCH_FRAMES = 10_000
_GROUPS = (("all", None), ("chosen", True), ("others", False))
_logger = logging.getLogger("asr_kd.train")


@dataclass(frozen=True)
class Correction:
    """Which biases are corrected.

    Attributes:
        labels: glob patterns of label names.
        each: an offset for each label; otherwise one for all of them.
    """

    labels: tuple[str, ...]
    each: bool = False


def correct_bias(
    model: Path,
    correction: Correction,
    dev: Path,
    dev_ali: Path,
    out: Path,
    device: torch.device | str = "cpu",
) -> None:
    """Publishes the model with offsets added to some output biases, `CORRECTION.md` and `.json`.

    The offset is the one of most right dev frames; of several such, that of the least
    cross-entropy. Everything else of the model stays, its label prior included.

    Raises:
        InputError: for a generalist with specialists, patterns that match nothing, a choice of all
            labels, labels without a dev frame to choose by, and a dev set that does not fit the
            model.
    """
    config = {"labels": list(correction.labels), "each": correction.each}
    inputs: dict[str, Path | str] = {"model": model, "dev": dev, "dev_ali": dev_ali}
    artefact = Artefact(out, VERB, config, inputs)
    if artefact.is_done() or rank_and_world()[0] != 0:
        return
    checkpoint = Checkpoint.load(model, device)
    if isinstance(checkpoint.model, Specialists):
        raise InputError(
            f"{model}: a generalist with specialists has no biases of its own; correct those of "
            f"the generalist and combine again"
        )
    chosen = chosen_labels(correction.labels, checkpoint.label_set)
    rate = FrameRate(checkpoint.model.subsampling)
    data = AlignedData(dev, dev_ali, checkpoint.cmvn, rate=rate)
    if not data.has_alignment:
        raise InputError(f"{dev_ali}: labels no frame that an offset could be chosen by")
    data.require_fits(checkpoint, str(model))
    search = _search(checkpoint, data, chosen, device)
    _require_frames(search, chosen, correction, data)
    offsets = search.each() if correction.each else search.shared()
    every = torch.zeros(len(checkpoint.label_set), dtype=offsets.dtype)
    every[chosen] = offsets
    checkpoint.model.shift_logits(every)
    work = artefact.begin()
    replace(checkpoint).save(work)  # a new object: the loaded one remembers its former digest
    if (seen := read_trained_on(model)) is not None:
        write_trained_on(work, seen.union(data.originals))
    names = [checkpoint.label_set.names[k] for k in chosen]
    report = _report(search, offsets, names, correction)
    write_text(work / f"{REPORT}.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(work / f"{REPORT}.md", _page(report, model, dev))
    before, after = (report[side]["all"]["errors"] for side in ("before", "after"))
    _logger.info(
        "%s: %s: %d errors on dev before, %d after", out, _said(report), before, after,
    )  # fmt: skip
    artefact.publish({
        "dev_frame_accuracy": 1 - after / report["after"]["all"]["frames"],
        "num_params": checkpoint.model.num_params,
    })  # fmt: skip


def chosen_labels(patterns: Sequence[str], label_set: LabelSet) -> list[int]:
    """The indices of the labels that match any of the patterns.

    Raises:
        InputError: for every pattern that matches none, and if all labels match.
    """
    found = np.zeros(len(label_set), bool)
    faults = [] if patterns else ["no label is given whose bias is to be corrected"]
    for pattern in patterns:
        matched = matching(label_set, pattern)
        if not matched.any():
            faults.append(
                f"--labels: {pattern!r} matches none of the {len(label_set)} labels of the model "
                f"({', '.join(label_set.names[:10])}{' ...' if len(label_set) > 10 else ''})"
            )
        found |= matched
    if found.all():
        faults.append(
            f"--labels: {' '.join(patterns)} is all {len(label_set)} labels; an offset means "
            f"something against other labels only"
        )
    if faults:
        raise InputError(faults)
    return [int(k) for k in np.flatnonzero(found)]


@torch.no_grad()
def _search(
    checkpoint: Checkpoint, data: AlignedData, chosen: list[int], device: torch.device | str
) -> BiasSearch:
    search = BiasSearch(chosen, len(checkpoint.label_set))
    for indices in plan_batches(data.num_frames, _BATCH_FRAMES):
        batch = plain_batch(data, indices).to(torch.device(device))
        logits, _ = checkpoint.model(batch.feats, batch.lengths)
        search.add(logits[batch.counted], batch.pdf_ids)
    return search


def _require_frames(
    search: BiasSearch, chosen: list[int], correction: Correction, data: AlignedData
) -> None:
    """Without a frame of a label, nothing is lost by an offset of minus infinity."""
    counts = search.num_frames()[:-1].tolist()
    names = data.label_set.names
    empty = [names[k] for k, n in zip(chosen, counts, strict=True) if n == 0]
    if (correction.each and empty) or len(empty) == len(chosen):
        raise InputError(
            f"{data.ali_dir}: no dev frame to choose an offset by of the labels {', '.join(empty)}"
        )


def _report(
    search: BiasSearch, offsets: Tensor, names: list[str], correction: Correction
) -> dict[str, Any]:
    *own, rest = search.num_frames().tolist()
    frames = {"all": sum(own) + rest, "chosen": sum(own), "others": rest}
    report: dict[str, Any] = {
        "each": correction.each,
        "offsets": dict(zip(names, offsets.tolist(), strict=True)),
    }
    for side, shift in (("before", torch.zeros_like(offsets)), ("after", offsets)):
        report[side] = {}
        for group, among in _GROUPS:
            score = search.score(shift, among)
            report[side][group] = {
                "frames": frames[group],
                "errors": frames[group] - score.correct,
                "cross_entropy": score.cross_entropy / frames[group] if frames[group] else None,
            }
    return report


def _said(report: dict[str, Any]) -> str:
    offsets = report["offsets"]
    if report["each"]:
        return ", ".join(f"{name} {offset:+.2f}" for name, offset in offsets.items())
    return f"{', '.join(offsets)} {next(iter(offsets.values())):+.2f}"


def _page(report: dict[str, Any], model: Path, dev: Path) -> str:
    lines = [
        f"# Corrected biases of {model}",
        "",
        f"Offsets, chosen on {dev}: {_said(report)}.",
        "",
        "| dev frames | number | errors before | after | cross-entropy before | after |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    titles = {"all": "all", "chosen": "of these labels", "others": "of other labels"}
    for group, title in titles.items():
        before, after = report["before"][group], report["after"][group]
        cells = [title, f"{before['frames']:,}", f"{before['errors']:,}", f"{after['errors']:,}"]
        cells += [
            "—" if one["cross_entropy"] is None else f"{one['cross_entropy']:.4f}"
            for one in (before, after)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
