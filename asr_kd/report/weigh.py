"""The stage `weigh-teachers`: what each teacher is worth on dev, and weights for their average."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.artefact import Artefact, hash_input, read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.decode.labelled import Labels, read_labels, score_labelled
from asr_kd.ensemble.average import Mean, average
from asr_kd.ensemble.scorer import scorer_digest
from asr_kd.ensemble.teachers import Teacher, is_archive, open_teachers, own_features
from asr_kd.ensemble.weights import (
    Figures,
    Fit,
    Means,
    Rule,
    TeacherWeights,
    WeighedTeacher,
    fit_weights,
    weights_of_errors,
)
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.report.page import command_text, page
from asr_kd.report.table import NONE, markdown, percent
from asr_kd.shards import rank_and_world

VERB = "weigh-teachers"
PAGE = "WEIGHTS.md"
_logger = logging.getLogger("asr_kd.report")


class WordErrors(NamedTuple):
    """Of one decoded teacher."""

    errors: int
    words: int


def weigh_teachers(
    specs: Sequence[str],
    data_dir: Path,
    ali_dir: Path,
    out: Path,
    decoded: Sequence[Path] = (),
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> None:
    """Publishes `weights.json`, for `dump-targets --weights OUT:RULE`, and `WEIGHTS.md`.

    The posteriors are formed twice, rather than kept: for the weights, then for their averages.

    Args:
        specs: two teachers or more, as `open_teachers` takes them.
        data_dir: dev feature directory; utterances without an alignment are left out.
        ali_dir: its labels.
        out: folder to publish.
        decoded: for each teacher in the same order its decode directory of this data; or none.
        device: where networks run.
        trust: whether programs that can run any code may be loaded.

    Raises:
        InputError: all faults of the inputs, before any work; then, for a frame whose label has no
            probability from any teacher, the utterance.
    """
    inputs: dict[str, Path | str] = {"data": data_dir, "ali": ali_dir}
    teachers = open_teachers(specs, data_dir, device, trust)
    inputs |= {f"teacher{m}": teacher.digest for m, teacher in enumerate(teachers, start=1)}
    inputs |= own_features(specs)
    inputs |= {f"decoded{m}": folder for m, folder in enumerate(decoded, start=1)}
    artefact = Artefact(out, VERB, {"teachers": list(specs)}, inputs)
    if artefact.is_done() or rank_and_world()[0] != 0:
        return
    data = DataDir.read(data_dir, require=("utt2spk", "feats"))
    faults = [] if len(teachers) > 1 else ["one teacher has nothing to be weighed against"]
    word_errors: list[WordErrors] = []
    labels: Labels = {}
    try:
        word_errors = _word_errors(specs, data_dir, decoded)
    except InputError as error:
        faults += error.faults
    try:
        labels = read_labels(data, ali_dir, teachers)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    work = artefact.begin()
    alone, fit = _fit(teachers, labels)
    rules = {"equal": np.full(len(teachers), 1 / len(teachers)), "fitted": fit.weights}
    best = max(range(len(teachers)), key=lambda m: (alone[m].accuracy, -alone[m].cross_entropy))
    rules["best"] = np.eye(len(teachers))[best]
    if word_errors:
        rules["wer"] = weights_of_errors([each.errors for each in word_errors])
    others = list(1 - np.eye(len(teachers)))
    means = _means(teachers, labels, [*rules.values(), *others])
    found = TeacherWeights(
        teachers=tuple(
            WeighedTeacher(
                name=teacher.name, digest=teacher.digest, alone=alone[m],
                without=means[len(rules) + m],
                word_errors=word_errors[m].errors if word_errors else None,
                words=word_errors[m].words if word_errors else None,
            )
            for m, teacher in enumerate(teachers)
        ),
        rules={
            name: Rule(weights=tuple(weights.tolist()), means=mean)
            for (name, weights), mean in zip(rules.items(), means, strict=False)
        },
        num_frames=sum(map(len, labels.values())), gap=fit.gap, iterations=fit.iterations,
    )  # fmt: skip
    found.save(work)
    options = [("--data", str(data_dir)), ("--ali", str(ali_dir)), ("--out", str(out))]
    options += [("--decoded", str(folder)) for folder in decoded]
    options += [("--trust", "")] * trust
    write_text(work / PAGE, weights_page(found, command_text(VERB, specs, options)))
    artefact.publish()
    for name, rule in found.rules.items():
        shown = ", ".join(f"{weight:.3f}" for weight in rule.weights)
        mean = rule.means.arithmetic
        _logger.info("%s: %s: dev frame accuracy %.2f%%, cross-entropy %.4f",
                     name, shown, 100 * mean.accuracy, mean.cross_entropy)  # fmt: skip


def _word_errors(specs: Sequence[str], data_dir: Path, decoded: Sequence[Path]) -> list[WordErrors]:
    """Of each teacher's own decoding of the same data."""
    if decoded and len(decoded) != len(specs):
        raise InputError(f"{len(decoded)} decode directories for {len(specs)} teachers")
    faults, found = [], []
    data = hash_input(data_dir)
    for spec, folder in zip(specs, decoded, strict=False):
        try:
            manifest = read_manifest(folder, "decode")
        except InputError as error:
            faults += error.faults
            continue
        model = None if is_archive(spec) else scorer_digest(spec, data_dir).partition("=")[0]
        of = [value for name, value in manifest.inputs.items() if name.startswith("model")]
        if model is not None and [each.partition("=")[0] for each in of] != [model]:
            faults.append(f"{folder}: decoded by another model than {spec}, or by several")
        if manifest.inputs.get("data") != data:
            faults.append(f"{folder}: decodes other data than {data_dir}")
        try:
            score = json.loads((folder / "wer.json").read_text(encoding="utf-8"))
            found.append(WordErrors(int(score["errors"]), int(score["words"])))
        except (OSError, ValueError, KeyError) as error:
            faults.append(f"{folder}: no word errors of it: {error}")
    if faults:
        raise InputError(faults)
    return found


class _Count:
    """Frames that the most probable label gets right, and the summed cross-entropy."""

    def __init__(self) -> None:
        self.frames, self.correct, self.cross_entropy = 0, 0, 0.0

    def add(self, log_post: Tensor, pdf_ids: Tensor) -> Tensor:
        """Log-posteriors (T,V), labels (T,) -> the labels' log-posteriors (T,)."""
        picked = log_post.gather(1, pdf_ids[:, None])[:, 0].double()
        self.frames += len(pdf_ids)
        self.correct += int((log_post.argmax(1) == pdf_ids).sum())
        self.cross_entropy -= float(picked.sum())
        return picked

    def figures(self) -> Figures:
        return Figures(
            accuracy=self.correct / self.frames, cross_entropy=self.cross_entropy / self.frames
        )


def _fit(teachers: Sequence[Teacher], labels: Labels) -> tuple[list[Figures], Fit]:
    """Each teacher's own figures, and the weights that fit best."""
    counts = [_Count() for _ in teachers]
    rows: list[NDArray[np.float64]] = []
    for utt, log_posts, pdf_ids in score_labelled(teachers, labels, f"{VERB} (1/2)"):
        picked = torch.stack(
            [count.add(x, pdf_ids) for count, x in zip(counts, log_posts, strict=True)], dim=1
        )
        rows.append(picked.cpu().numpy())
        if not np.isfinite(rows[-1].max(axis=1)).all():
            raise InputError(f"{utt}: no teacher gives the label of some frame any probability")
    return [count.figures() for count in counts], fit_weights(np.concatenate(rows))


def _means(
    teachers: Sequence[Teacher], labels: Labels, weights: Iterable[NDArray[np.float64]]
) -> list[Means]:
    """Figures of the averages by each set of weights; a weight of 0 leaves a teacher out."""
    chosen = [[(m, w) for m, w in enumerate(row.tolist()) if w > 0] for row in weights]
    counts: list[dict[Mean, _Count]] = [{m: _Count() for m in get_args(Mean)} for _ in chosen]
    for _, log_posts, pdf_ids in score_labelled(teachers, labels, f"{VERB} (2/2)"):
        for members, count in zip(chosen, counts, strict=True):
            own = [log_posts[m] for m, _ in members]
            for mean, one in count.items():
                one.add(average(own, [weight for _, weight in members], mean), pdf_ids)
    return [
        Means(arithmetic=count["arithmetic"].figures(), geometric=count["geometric"].figures())
        for count in counts
    ]


def weights_page(found: TeacherWeights, command: str) -> str:
    """The text of `WEIGHTS.md`: teachers, averages, and what each teacher adds to the average."""
    names = [f"{m} {Path(t.name).name}" for m, t in enumerate(found.teachers, start=1)]
    columns = ("arithmetic acc%", "CE", "geometric acc%", "CE")
    teachers = markdown(
        ("teacher", "frame acc%", "CE", "WER %", *found.rules),
        [
            (
                name, *_figures(t.alone),
                NONE if not t.words else percent((t.word_errors or 0) / t.words),
                *(f"{rule.weights[m]:.3f}" for rule in found.rules.values()),
            )
            for m, (name, t) in enumerate(zip(names, found.teachers, strict=True))
        ],
    )  # fmt: skip
    averages = markdown(
        ("average", *columns),
        [(name, *_mean_figures(rule.means)) for name, rule in found.rules.items()],
    )
    whole = found.rules["equal"].means
    added = markdown(
        ("without", *columns, "acc% it adds", "CE it takes away"),
        [
            (name, *_mean_figures(t.without), *_added(whole, t.without))
            for name, t in zip(names, found.teachers, strict=True)
        ],
    )
    lines = [
        f"On {found.num_frames:,} frames at T = 1; CE is the cross-entropy with the labels in nats "
        f"a frame.",
        "Rules: equal; fitted: the arithmetic mean of the least CE; best: the teacher of the "
        "highest frame accuracy alone; wer: inversely to its word errors + 1.",
        f"Fitted weights: at most {max(found.gap, 0):.1e} nats a frame above the least CE, "
        f"{found.iterations} steps.",
        "What a teacher adds: the equal arithmetic mean of all less that of all the others.",
    ]
    return page("Weights of teachers", [teachers, averages, added], lines, command)


def _figures(one: Figures) -> tuple[str, str]:
    return percent(one.accuracy, digits=2), f"{one.cross_entropy:.4f}"


def _mean_figures(means: Means) -> tuple[str, ...]:
    return (*_figures(means.arithmetic), *_figures(means.geometric))


def _added(whole: Means, without: Means) -> tuple[str, str]:
    all_, others = whole.arithmetic, without.arithmetic
    return (
        f"{100 * (all_.accuracy - others.accuracy):+.2f}",
        f"{others.cross_entropy - all_.cross_entropy:+.4f}",
    )
