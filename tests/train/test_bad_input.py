"""Every fault is found before any work, is named, and leaves what was there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_kd.config import load_config
from asr_kd.errors import AsrKdError, InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import write_priors
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import BlstmConfig, TdnnConfig
from asr_kd.train import loop
from asr_kd.train.config import (
    AugmentConfig,
    DistillConfig,
    EssenceConfig,
    FramesConfig,
    HintConfig,
    MixConfig,
    ShiftConfig,
    TrainConfig,
)
from asr_kd.train.stage import processes, train
from asr_kd.train.state import load_state


def refused(corpus: Any, config: TrainConfig | None = None, **inputs: Any) -> list[str]:
    out = corpus.root / "exp"
    with pytest.raises(InputError) as caught:
        train(replace(corpus.inputs, **inputs), config or corpus.config(), out)
    assert not out.exists()
    return caught.value.faults


def rewrite(scp: Path, changes: Mapping[str, np.ndarray]) -> None:
    archive = Archive.read(scp)
    with ArkWriter(scp.parent / "changed.ark") as writer:
        for utt in archive:
            writer.write(utt, changes.get(utt, archive[utt]))
    write_table(scp, writer.scp)


def relabel(ali: Path) -> None:
    others = LabelSet("hmm-states", tuple("abcdef"))
    others.save(ali / "labels.json")
    write_priors(ali, [1] * 6, others)


def test_all_alignments_of_another_length(corpus: Any) -> None:
    scp = corpus.inputs.ali / "ali.scp"
    utts = sorted(read_table(scp))
    length = len(Archive.read(scp)[utts[0]])
    rewrite(scp, {utts[0]: np.zeros(length - 1, np.int32), utts[3]: np.zeros(0, np.int32)})
    first, second = refused(corpus)
    assert f"{utts[0]}: {length - 1} labels for {length} frames" in first
    assert f"{utts[3]}: 0 labels" in second


def test_label_beyond_the_label_set(corpus: Any) -> None:
    archive = Archive.read(corpus.inputs.ali / "ali.scp")
    utt = sorted(archive)[2]
    labels = np.array(archive[utt])
    labels[4] = 6
    rewrite(corpus.inputs.ali / "ali.scp", {utt: labels})
    (fault,) = refused(corpus)
    assert utt in fault
    assert "label set of 6" in fault


def test_utterances_without_alignment_are_counted(
    corpus: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scp = corpus.inputs.ali / "ali.scp"
    table = read_table(scp)
    missing = sorted(table)[:2]
    write_table(scp, {utt: x for utt, x in table.items() if utt not in missing})
    train(corpus.inputs, corpus.config(epochs=1), corpus.root / "exp")
    assert "2 of 24 utterances skipped" in caplog.text
    assert missing[0] in caplog.text


def test_nothing_aligned(corpus: Any) -> None:
    scp = corpus.inputs.ali / "ali.scp"
    write_table(scp, {f"other-{utt}": x for utt, x in read_table(scp).items()})
    (fault,) = refused(corpus)
    assert "aligns none of the 24" in fault


def test_dev_alignment_of_another_label_set(corpus: Any) -> None:
    relabel(corpus.inputs.dev_ali)
    fault = refused(corpus)[0]
    assert "label sets differ" in fault
    assert str(corpus.inputs.dev_ali) in fault


def test_every_nan_feature_is_named(corpus: Any) -> None:
    scp = corpus.inputs.data / "feats.scp"
    archive = Archive.read(scp)
    utts = sorted(archive)[4:6]
    broken = {utt: np.array(archive[utt]) for utt in utts}
    for matrix in broken.values():
        matrix[3, 1] = np.nan
    rewrite(scp, broken)
    faults = refused(corpus)
    assert [utt in fault for utt, fault in zip(utts, faults, strict=True)] == [True, True]


def test_a_loss_that_is_not_finite_names_the_batch(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Trainer._step

    def poisoned(self: loop.Trainer, indices: list[int], num_batches: int) -> tuple[float, float]:
        if self.progress.step == 5:
            self.network.output.weight.data[0, 0] = np.nan  # type: ignore[union-attr, index]
        return step(self, indices, num_batches)

    monkeypatch.setattr(loop.Trainer, "_step", poisoned)
    with pytest.raises(AsrKdError, match=r"loss became nan in epoch 2, step 6, on .*spk\d-utt\d\d"):
        train(corpus.inputs, corpus.config(), corpus.root / "exp")
    assert not (corpus.root / "exp").exists()


def test_a_gradient_that_is_not_finite_never_reaches_the_state(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop.Trainer._step

    def poisoned(self: loop.Trainer, indices: list[int], num_batches: int) -> tuple[float, float]:
        if self.progress.step == 5:
            self.network.output.weight.register_hook(lambda grad: grad * np.nan)  # type: ignore[union-attr]
        return step(self, indices, num_batches)

    monkeypatch.setattr(loop.Trainer, "_step", poisoned)
    with pytest.raises(AsrKdError, match=r"gradient became nan in epoch 2, step 6, on .*spk"):
        train(corpus.inputs, corpus.config(save_every=1), corpus.root / "exp")
    found = load_state(corpus.root / ".exp.building")
    assert found is not None
    assert found[0].step == 5
    assert all(bool(tensor.isfinite().all()) for tensor in found[1].values())


def test_unknown_keys_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config(TrainConfig, None, ["learning_rat=1", "augment.sped.prob=1", "epochs=0"])
    text = str(caught.value)
    assert "did you mean 'learning_rate'?" in text
    assert "did you mean 'speed'?" in text
    assert len(caught.value.faults) == 3


def test_init_of_another_architecture_or_label_set(corpus: Any) -> None:
    teacher = corpus.root / "teacher"
    train(corpus.inputs, corpus.config(epochs=1), teacher)
    faults = refused(corpus, corpus.config(model=TdnnConfig()), init=teacher)
    assert any("layers.0.affine.weight is (16, 12), here (160, 20)" in f for f in faults)
    for ali in (corpus.inputs.ali, corpus.inputs.dev_ali):
        relabel(ali)
    assert "label sets differ" in refused(corpus, init=teacher)[0]


def test_init_starts_from_the_weights(corpus: Any) -> None:
    teacher, student = corpus.root / "teacher", corpus.root / "student"
    train(corpus.inputs, corpus.config(epochs=4, learning_rate=0.01), teacher)
    inputs = replace(corpus.inputs, init=teacher)
    train(inputs, corpus.config(epochs=1, learning_rate=1e-9), student)
    one, other = Checkpoint.load(teacher).model, Checkpoint.load(student).model
    for name, tensor in one.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], tensor, atol=1e-5)


def test_srun_without_tasks_per_machine_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with (
        pytest.raises(AsrKdError, match="--ntasks-per-node"),
        processes(TrainConfig()),
    ):
        pass


def test_faults_of_data_labels_and_teachers_are_named_together(corpus: Any) -> None:
    relabel(corpus.inputs.dev_ali)
    config = corpus.config(
        augment=AugmentConfig(shift=ShiftConfig(prob=1.0)), frames=FramesConfig(only=("z*",))
    )
    teacher = corpus.root / "nothing"
    teacher.mkdir()
    faults = refused(corpus, config, teachers=(teacher,), targets=teacher)
    for said in (
        "not from both", "label sets differ", "no images of 28 × 28 pixels", "'z*' matches none",
        f"{teacher}: not a model directory", f"{teacher}: not a soft-target store",
    ):  # fmt: skip
        assert sum(said in fault for fault in faults) == 1, said


def test_both_alignments_are_looked_at(corpus: Any) -> None:
    inputs = corpus.inputs
    names = []
    for ali in (inputs.ali, inputs.dev_ali):
        utt = sorted(read_table(ali / "ali.scp"))[1]
        rewrite(ali / "ali.scp", {utt: np.zeros(1, np.int32)})
        names.append(f"{ali}: {utt}: 1 labels")
    assert [name in fault for name, fault in zip(names, refused(corpus), strict=True)] == [True] * 2


def test_images_of_another_size(corpus: Any) -> None:
    shift = ShiftConfig(prob=0.1, height=2, width=3)
    (fault,) = refused(corpus, corpus.config(augment=AugmentConfig(shift=shift)))
    assert "no images of 2 × 3 pixels" in fault
    assert "4 dimensions" in fault


def test_options_that_would_do_nothing_or_undo_one_another(corpus: Any) -> None:
    teacher = corpus.root / "teacher"
    train(corpus.inputs, corpus.config(epochs=1), teacher)
    mixed = AugmentConfig(mix=MixConfig(prob=0.5))
    for values, said in (
        ({"frames": FramesConfig(exclude=("s0",)), "augment": mixed}, "augment.mix brings back"),
        ({"model": BlstmConfig(width=4), "max_weight_norm": 1.0}, "max_weight_norm is for linear"),
        (
            {"distill": DistillConfig(soft_weight=0.0, loss="logits")},
            "distill.loss and distill.essence do nothing",
        ),
        (
            {"distill": DistillConfig(soft_weight=0.0, essence=EssenceConfig(mass=0.9))},
            "distill.loss and distill.essence do nothing",
        ),
        (
            {"distill": DistillConfig(hints=(HintConfig(student="frontend", teacher="layers.0"),))},
            "nothing is trained in 'frontend' or before it",
        ),
    ):
        (fault,) = refused(corpus, corpus.config(**values), teachers=(teacher,))
        assert said in fault
