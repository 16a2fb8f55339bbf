"""Hints in a training: their loss, their one pass over the teachers, their faults, their resume."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from asr_kd.artefact import read_manifest
from asr_kd.ensemble.codec import Keep
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.errors import InputError
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import BlstmConfig, DnnConfig, FrontendConfig, TdnnConfig, TdnnLayerConfig
from asr_kd.train import loop
from asr_kd.train.build import build
from asr_kd.train.config import DistillConfig, HintConfig
from asr_kd.train.dataset import AlignedData, Batch, plain_batch
from asr_kd.train.hints import WithHints, weight_factor
from asr_kd.train.objective import HardLabels, OnlineTeachers, StoredTargets
from asr_kd.train.stage import train
from asr_kd.train.teachers import Teachers

LAYERS = tuple(TdnnLayerConfig(offsets=(-1, 0, 1), width=w) for w in (7, 16))
TEACHERS = {
    "tdnn": TdnnConfig(layers=LAYERS, frontend=FrontendConfig(delta_order=1)),
    "blstm": BlstmConfig(width=4),
    "strided": TdnnConfig(layers=LAYERS, stride=3),
}


def read(corpus: Any) -> AlignedData:
    return AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")


def save(corpus: Any, name: str, model: Any) -> Path:
    data = read(corpus)
    folder = corpus.root / name
    folder.mkdir()
    prior = np.zeros(6, np.float32)
    Checkpoint(model, data.label_set, data.spec, "global", prior).save(folder)
    return folder


def save_teacher(corpus: Any, name: str) -> Path:
    torch.manual_seed(len(name))
    model = build_model(TEACHERS[name], 4, 6)  # type: ignore[arg-type]
    model.frontend.fit(torch.tensor(read(corpus).feats(i)) for i in range(5))
    return save(corpus, name, model)


def hinted(corpus: Any, hints: Sequence[HintConfig], model: Any, names: Sequence[str]) -> WithHints:
    data = read(corpus)
    teachers = Teachers([save_teacher(corpus, n) for n in names], DistillConfig(), data)
    torch.manual_seed(0)
    network = build_model(model, 4, 6)
    return WithHints(HardLabels(), hints, network, teachers, data)


def hint_part(objective: WithHints, batch: Batch) -> Tensor:
    output = objective.student(batch.feats, batch.lengths)
    total, count = objective(output, batch)
    hard, hard_count = HardLabels()(output, batch)
    assert int(count) == int(hard_count) == int(batch.counted.sum())
    return total - hard


def partly_counted(data: AlignedData) -> Batch:
    batch = plain_batch(data, [3, 0, 7, 5])
    kept = torch.rand(batch.counted.shape, generator=torch.Generator().manual_seed(0)) < 0.6
    return replace(
        batch,
        counted=batch.counted & kept,
        pdf_ids=batch.pdf_ids[kept[batch.counted]],
        source=[x[kept[b, : len(x)].numpy()] for b, x in enumerate(batch.source)],
    )


@pytest.mark.parametrize("model", TEACHERS.values(), ids=TEACHERS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(corpus: Any, model: Any) -> None:
    data = read(corpus)
    torch.manual_seed(3)
    network = build_model(model, 4, 6)
    teachers = Teachers([save(corpus, "t", network)], DistillConfig(), data)
    hints = [HintConfig(student=name, teacher=name) for name in ("layers.0", "layers.1", "output")]
    objective = WithHints(HardLabels(), hints, network.eval(), teachers, data)
    assert not list(objective.student.projections.parameters())
    batch = plain_batch(data, range(4))
    assert float(hint_part(objective, batch).detach()) == pytest.approx(0, abs=1e-3)
    network.get_submodule("output").bias.data += 1.0  # type: ignore[operator, union-attr]
    assert float(hint_part(objective, batch).detach()) > 1


HINTS = (
    HintConfig(student="layers.0", teacher="layers.1", weight=0.7),
    HintConfig(student="layers.1", teacher="layers.0", of=2, weight=0.2),
    HintConfig(student="layers.1", teacher="back.1", of=2),
    HintConfig(student="layers.1", teacher="layers.1", of=3),
)
STUDENTS = {
    "tdnn": TdnnConfig(layers=LAYERS, dropout=0.0),
    "half": TdnnConfig(layers=LAYERS, stride=2, dropout=0.0),
    "dnn": DnnConfig(num_layers=1, width=7, frontend=FrontendConfig(left=1)),
}


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_loss_frame_by_frame(corpus: Any, kind: str) -> None:
    """Of counted frames only, against one utterance and one frame after the other."""
    objective = hinted(corpus, HINTS, STUDENTS[kind], list(TEACHERS))
    data = read(corpus)
    batch = partly_counted(data)
    found = hint_part(objective, batch)

    student = objective.student
    own = {"tdnn": 1, "half": 2, "dnn": 1}[kind]
    expected = torch.zeros(())
    for k, hint in enumerate(HINTS):
        stride = 3 if hint.of == 3 else 1
        teacher = objective.teachers.models[hint.of - 1]
        shared = int(np.gcd(own, stride))
        for b, n in enumerate(batch.lengths.tolist()):
            feats, length = batch.feats[b : b + 1, :n], batch.lengths[b : b + 1]
            ours = student(feats, length).hidden[k][0]
            seen: list[Tensor] = []
            handle = teacher.get_submodule(hint.teacher).register_forward_hook(
                lambda _m, _i, output, seen=seen: seen.append(output)
            )
            teacher(feats, length)
            handle.remove()
            theirs = (seen[0][0] if isinstance(seen[0], tuple) else seen[0])[0].detach()
            if hint.teacher == "back.1":
                theirs = theirs.flip(0)
            for t in range(n):
                if bool(batch.counted[b, t]):
                    error = (ours[t // shared] - theirs[t // stride]).square().mean()
                    expected = expected + hint.weight * error / objective._variances[k]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)

    found.backward()
    assert all(p.grad is None for model in objective.teachers.models for p in model.parameters())
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        learns = "output" not in name
        assert bool((parameter.grad != 0).any()) == learns, name


def test_the_scale_is_that_of_the_teachers_layer(corpus: Any) -> None:
    objective = hinted(corpus, HINTS[:1], STUDENTS["tdnn"], ["tdnn"])
    batch = plain_batch(read(corpus), range(24))
    theirs = objective._theirs(HINTS[0], batch, 1)
    assert objective._variances[0] == pytest.approx(float(theirs.var(0).mean()), rel=0.1)


def test_padding_does_not_matter(corpus: Any) -> None:
    objective = hinted(corpus, HINTS, STUDENTS["half"], list(TEACHERS))
    batch = plain_batch(read(corpus), [3, 0, 7])
    rubbish = batch.feats.clone()
    rubbish[~batch.counted] = float("nan")
    assert bool((~batch.counted).any())
    expected = hint_part(objective, batch)
    torch.testing.assert_close(hint_part(objective, replace(batch, feats=rubbish)), expected)


def test_the_weight_falls_as_scheduled(corpus: Any) -> None:
    linear, cosine, constant = (
        HintConfig(student="layers.0", teacher="layers.0", schedule=s)  # type: ignore[arg-type]
        for s in ("linear", "cosine", "constant")
    )
    assert [weight_factor(linear, f) for f in (0, 0.25, 1)] == [1, 0.75, 0]
    assert [weight_factor(cosine, f) for f in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [weight_factor(constant, f) for f in (0, 0.5, 1)] == [1, 1, 1]
    objective = hinted(corpus, [linear], STUDENTS["tdnn"], ["tdnn"])
    batch = plain_batch(read(corpus), range(3))
    whole = float(hint_part(objective, batch).detach())
    objective.advance(0.75)
    assert float(hint_part(objective, batch).detach()) == pytest.approx(whole / 4, rel=1e-3)


def test_soft_targets_and_hints_share_one_pass(corpus: Any) -> None:
    data = read(corpus)
    folders = [save_teacher(corpus, name) for name in ("tdnn", "blstm")]
    calls: list[str] = []
    for soft_weight, num_hints, expected in ((1.0, 2, ["tdnn", "blstm"]), (0.0, 1, ["tdnn"])):
        config = DistillConfig(soft_weight=soft_weight)
        teachers = Teachers(folders, config, data)
        network = build_model(STUDENTS["tdnn"], 4, 6)  # type: ignore[arg-type]
        hints = [*HINTS[:num_hints], HINTS[0]]
        objective = WithHints(OnlineTeachers(teachers, config), hints, network, teachers, data)
        for model in teachers.models:
            model.register_forward_hook(lambda m, _i, _o: calls.append(m.config.kind))
        for indices in ([0, 1], [2, 3], [2, 3]):
            calls.clear()
            batch = plain_batch(data, indices)
            total, _ = objective(objective.student(batch.feats, batch.lengths), batch)
            assert calls == expected
            assert total.isfinite()


def refused(corpus: Any, hints: Any, teachers: Sequence[Path], **more: Any) -> list[str]:
    inputs = replace(corpus.inputs, teachers=tuple(teachers))
    config = corpus.config(distill=DistillConfig(hints=hints, **more))
    with pytest.raises(InputError) as caught:
        train(inputs, config, corpus.root / "exp")
    assert not (corpus.root / "exp").exists()
    return caught.value.faults


def test_faults_are_all_named_before_training(corpus: Any) -> None:
    folders = [save_teacher(corpus, name) for name in ("tdnn", "blstm")]
    hints = (
        HintConfig(student="layers.7", teacher="layers.0"),
        HintConfig(student="layers.0", teacher="ahead.5", of=2),
        HintConfig(student="layers.0.affine", teacher="layers.0", of=4),
        HintConfig(student="", teacher="layers", of=1),
        HintConfig(student="layers.1", teacher="layers.1"),
    )
    faults = refused(corpus, hints, folders, weights=(1.0,))
    text = "\n".join(faults)
    tappable = (
        "frontend, layers.0.norm, layers.0.dropout, layers.0, layers.1.norm, layers.1.dropout, "
        "layers.1, output"
    )
    assert f"distill.hints[0].student: the student has no layer 'layers.7'; layers that do: " \
        f"{tappable}" in text  # fmt: skip
    assert f"distill.hints[1].teacher: {folders[1]} has no layer 'ahead.5'" in text
    assert "ahead.0, back.0, layers.0" in text
    assert "distill.hints[2].student: 'layers.0.affine' of the student puts out no (B,T,D)" in text
    assert "distill.hints[2].of is 4, of 2 teachers" in text
    assert "distill.hints[3].student: the student has no layer ''" in text
    assert f"distill.hints[3].teacher: 'layers' of {folders[0]} puts out no (B,T,D)" in text
    assert "distill.weights: 1 weights for 2 teachers" in text
    assert "hints[4]" not in text


def test_hints_want_all_teachers_themselves(corpus: Any) -> None:
    (fault,) = refused(corpus, HINTS[:1], [])
    assert "distill.hints need the teachers themselves: give --teacher" in fault
    faults = refused(corpus, HINTS[:1], [save_teacher(corpus, "tdnn")], teachers_per_batch=1)
    assert "teachers_per_batch leaves teachers out" in faults[0]
    (fault,) = refused(corpus, (), [corpus.root / "tdnn"], soft_weight=0.0, hard_weight=0.0)
    assert "nothing is left to learn" in fault


def test_a_layer_that_is_the_same_everywhere_gives_no_hint(corpus: Any) -> None:
    model = build_model(TEACHERS["tdnn"], 4, 6)  # type: ignore[arg-type]
    torch.nn.init.zeros_(model.output.weight)
    hints = (HintConfig(student="layers.0", teacher="output"),)
    (fault,) = refused(corpus, hints, [save(corpus, "dead", model)])
    assert f"output of {corpus.root / 'dead'} puts out the same on all frames" in fault


def kill_at(monkeypatch: pytest.MonkeyPatch, last_step: int) -> Any:
    step = loop.Trainer._step

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        if self.progress.step == last_step:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    return step


def test_a_killed_training_with_hints_ends_with_the_same_bits(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tuple(save_teacher(corpus, name) for name in ("tdnn", "blstm"))
    inputs = replace(corpus.inputs, teachers=folders)
    hints = (replace_schedule(HINTS[0], "cosine"), HINTS[1])
    config = corpus.config(
        distill=DistillConfig(hints=hints), ema_decay=0.9, save_every=2, muon_learning_rate=0.01
    )
    train(inputs, config, corpus.root / "whole")
    step = kill_at(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, config, corpus.root / "cut")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(inputs, config, corpus.root / "cut")
    for name in ("model.safetensors", "last/model.safetensors"):
        one, other = (load_file(corpus.root / run / name) for run in ("whole", "cut"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert not any("projection" in key for key in one)
    logs = [(corpus.root / run / "log.jsonl").read_text() for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def replace_schedule(hint: HintConfig, schedule: str) -> HintConfig:
    return hint.model_copy(update={"schedule": schedule})


def test_hints_alone_teach_the_layers_and_keep_the_last_epoch(corpus: Any) -> None:
    teacher = save_teacher(corpus, "tdnn")
    hints = (HintConfig(student="layers.1", teacher="layers.1"),)
    wide = tuple(TdnnLayerConfig(offsets=(-1, 0, 1), width=32) for _ in LAYERS)
    config = corpus.config(
        model=TdnnConfig(layers=wide, dropout=0.0, frontend=FrontendConfig(delta_order=1)),
        epochs=15,
        learning_rate=0.03,
        distill=DistillConfig(hints=hints, soft_weight=0.0, hard_weight=0.0),
    )
    student = corpus.root / "student"
    train(replace(corpus.inputs, teachers=(teacher,)), config, student)
    lines = [json.loads(x) for x in (student / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] > 1.0
    assert np.mean(losses[-3:]) < 0.6  # 1 is what the layer's mean costs
    best, last = (load_file(student / name / "model.safetensors") for name in (".", "last"))
    assert all(torch.equal(best[key], last[key]) for key in best)
    # The second stage: those layers, and labels.
    both = corpus.root / "both"
    train(replace(corpus.inputs, init=student), corpus.config(model=config.model, epochs=1), both)
    assert (both / "init.md").read_text().startswith(f"| student | {student} | shape |")


def test_a_store_gives_the_targets_and_a_teacher_the_hints(corpus: Any) -> None:
    teacher, other = save_teacher(corpus, "tdnn"), save_teacher(corpus, "blstm")
    store = corpus.root / "targets"
    dump_targets(Dump((str(teacher), str(other)), corpus.inputs.data, keep=Keep(None)), store)
    data = read(corpus)
    inputs = replace(corpus.inputs, targets=store, teachers=(teacher,))
    # The weights are those of the store's teachers.
    distill = DistillConfig(hints=HINTS[:1], weights=(1.0, 1.0))
    config = corpus.config(epochs=1, distill=distill)
    student, objective, *_ = build(inputs, config, data, data)
    batch = partly_counted(data)
    output = student(batch.feats, batch.lengths)
    soft, _ = StoredTargets(store, distill, data)(output, batch)
    theirs = objective.teachers(0, batch).hidden["layers.1"]  # type: ignore[attr-defined]
    error = (output.hidden[0] - theirs)[batch.counted].square().mean(1).sum()
    expected = soft + 0.7 * error / objective._variances[0]  # type: ignore[attr-defined]
    torch.testing.assert_close(objective(output, batch)[0], expected)
    train(inputs, config, corpus.root / "exp")
    assert {"targets", "teacher1"} <= read_manifest(corpus.root / "exp").inputs.keys()
