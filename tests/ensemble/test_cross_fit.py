"""Teachers that are sure of a label of their own, so that a mean says who formed it."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import asr_kd.cli.ensemble
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.ensemble import dump as dump_module
from asr_kd.ensemble.codec import Keep
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import open_teachers
from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.trained_on import write_trained_on

NUM_LABELS = 11
UTTS = [f"spk{k % 3}-utt{k}" for k in range(9)]
FOLDS = [UTTS[0:3], UTTS[3:6], UTTS[6:9]]


@pytest.fixture
def make_teacher(make_network: Callable[..., Path]) -> Callable[..., str]:
    """`make_teacher(name, label, seen)`: gives `label` half of the mass, on whatever frame."""

    def make(name: str, label: int, seen: Collection[str] | None) -> str:
        folder = make_network(name, "dnn", 4)
        checkpoint = Checkpoint.load(folder)
        bias = torch.zeros(NUM_LABELS)
        bias[label] = np.log(10)
        with torch.no_grad():
            checkpoint.model.output.weight.zero_()
            checkpoint.model.output.bias.copy_(bias)
        fields = ("model", "label_set", "spec", "cmvn", "log_prior")
        Checkpoint(*(getattr(checkpoint, field) for field in fields)).save(folder)
        if seen is not None:
            write_trained_on(folder, seen)
        return str(folder)

    return make


@pytest.fixture
def dump(make_features: Callable[..., Path], make_teacher: Callable[..., str]) -> Dump:
    """Three teachers; each has seen two folds of three."""
    specs = [
        make_teacher(f"t{k}", k, {utt for fold in FOLDS[:k] + FOLDS[k + 1 :] for utt in fold})
        for k in range(3)
    ]
    data = make_features("data", 4)
    return Dump(tuple(specs), data, keep=Keep(None), device="cpu", cross_fit=True)


def labelled_by(targets: torch.Tensor) -> dict[int, float]:
    """Planted label → its mass, the same on all frames, without the background."""
    assert float((targets - targets[:1]).abs().max()) < 1e-3
    own = targets[0, :3]
    background = float(targets[0, 3])
    return {k: float(own[k]) for k in range(3) if own[k] > 2 * background}


def test_each_utterance_is_labelled_by_the_teacher_that_has_not_seen_it(
    dump: Dump, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dump_module, "_SHARD_SIZE", 4)  # folds and shards do not coincide
    with caplog.at_level("INFO"):
        dump_targets(dump, tmp_path / "out")
    assert "9 utterances, each labelled by 1 to 1 of 3 teachers" in caplog.text
    store = TargetStore.open(tmp_path / "out", verify=True)
    assert store.header.cross_fit
    assert sorted(store) == sorted(UTTS)
    for k, fold in enumerate(FOLDS):
        for utt in fold:
            found = labelled_by(store[utt].dense(NUM_LABELS))
            assert found == pytest.approx({k: 0.5}, abs=1e-3)
    members = read_table(tmp_path / "out" / "members.txt")
    assert members == {utt: str(k + 1) for k, fold in enumerate(FOLDS) for utt in fold}
    info = read_manifest(tmp_path / "out").info
    assert info["teacher_agreement"] == 1.0  # there is nobody to disagree with
    assert info["kl_teachers_to_mean"] == pytest.approx(0, abs=1e-6)


def test_copies_at_other_speeds_are_not_new_to_those_who_saw_the_original(
    dump: Dump, tmp_path: Path, make_features: Callable[..., Path]
) -> None:
    data = make_features("copies", 4, {f"sp0.9-{utt}": 6 for utt in UTTS})
    (data / "utt2speed").write_text("".join(f"sp0.9-{utt} 0.9\n" for utt in sorted(UTTS)))
    dump_targets(replace(dump, data=data), tmp_path / "out")
    members = read_table(tmp_path / "out" / "members.txt")
    assert members == {f"sp0.9-{u}": str(k + 1) for k, fold in enumerate(FOLDS) for u in fold}


def test_weights_are_those_of_the_teachers_that_label(
    dump: Dump, make_teacher: Callable[..., str], tmp_path: Path
) -> None:
    """Each teacher has seen one fold, the first also an utterance of another."""
    specs = tuple(
        make_teacher(f"one{k}", k, [*FOLDS[k], *([UTTS[4]] if k == 0 else [])]) for k in range(3)
    )
    dump = replace(dump, teachers=specs, weights=(1.0, 2.0, 5.0), temperatures=(1.0, 2.0))
    dump_targets(dump, tmp_path / "out")
    expected = {
        UTTS[0]: (1, 2), UTTS[3]: (0, 2), UTTS[4]: (2,), UTTS[5]: (0, 2), UTTS[8]: (0, 1)
    }  # fmt: skip
    for temperature in (1.0, 2.0):
        folder = tmp_path / "out" / f"T{temperature:g}"
        store = TargetStore.open(folder, verify=True)
        assert store.header.weights == (0.125, 0.25, 0.625)
        members = read_table(folder / "members.txt")
        for utt, own in expected.items():
            assert members[utt] == " ".join(str(k + 1) for k in own)
            weights = np.array([(1.0, 2.0, 5.0)[k] for k in own])
            tempered = np.ones((len(own), NUM_LABELS))
            tempered[range(len(own)), own] = 10.0 ** (1 / temperature)
            tempered /= tempered.sum(1, keepdims=True)
            mean = (weights / weights.sum()) @ tempered
            np.testing.assert_allclose(store[utt].dense(NUM_LABELS)[0], mean, atol=1e-3)
    info = read_manifest(tmp_path / "out" / "T1").info
    assert info["teacher_agreement"] == 0.0  # of the utterances that several label
    assert info["kl_teachers_to_mean"] > 0.1


def test_without_cross_fitting_all_label(dump: Dump, tmp_path: Path) -> None:
    dump_targets(replace(dump, cross_fit=False), tmp_path / "plain")
    store = TargetStore.open(tmp_path / "plain")
    assert not store.header.cross_fit
    assert not (tmp_path / "plain" / "members.txt").exists()
    for utt in UTTS:
        assert set(labelled_by(store[utt].dense(NUM_LABELS))) == {0, 1, 2}
    dump_targets(dump, tmp_path / "crossed")
    one, other = (read_manifest(tmp_path / x) for x in ("plain", "crossed"))
    assert one.fingerprint != other.fingerprint


def test_what_no_teacher_has_not_seen_is_refused(
    dump: Dump, make_teacher: Callable[..., str], tmp_path: Path
) -> None:
    greedy = make_teacher("greedy", 0, FOLDS[0] + FOLDS[1])
    other = make_teacher("other", 1, FOLDS[0] + FOLDS[1][:1])
    with pytest.raises(InputError) as refused:
        dump_targets(replace(dump, teachers=(greedy, other)), tmp_path / "out")
    (fault,) = refused.value.faults
    assert "4 of 9 utterances were in the training of every teacher" in fault
    assert all(utt in fault for utt in [*FOLDS[0], UTTS[3]])
    assert UTTS[4] not in fault
    assert not list(tmp_path.glob("*out*"))


def test_teachers_that_do_not_say_what_they_have_seen(
    dump: Dump, make_teacher: Callable[..., str], make_archive: Callable[..., str],
    make_posts: Callable[..., Any], utt_frames: dict[str, int], tmp_path: Path,
) -> None:  # fmt: skip
    archive = make_archive("posts", {utt: make_posts(n, 0) for utt, n in utt_frames.items()})
    silent = make_teacher("silent", 0, None)
    specs = (*dump.teachers, silent, archive)
    with pytest.raises(InputError) as refused:
        dump_targets(replace(dump, teachers=specs, temperatures=(-1.0,)), tmp_path / "out")
    temperature, first, second = refused.value.faults
    assert "not positive" in temperature
    assert f"{silent}: does not say what it was trained on" in first
    assert "posts.scp: does not say" in second
    assert not list(tmp_path.glob("*out*"))


def test_data_that_nobody_has_seen_is_averaged_over_all(
    dump: Dump, make_teacher: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = tuple(make_teacher(f"far{k}", k, ["elsewhere-utt1"]) for k in range(2))
    dump_targets(replace(dump, teachers=specs), tmp_path / "out")
    assert "cross-fitting leaves nothing out" in caplog.text
    found = labelled_by(TargetStore.open(tmp_path / "out")[UTTS[0]].dense(NUM_LABELS))
    assert set(found) == {0, 1}


def test_a_teacher_needs_no_features_of_what_it_has_seen(
    dump: Dump, make_features: Callable[..., Path], utt_frames: dict[str, int], tmp_path: Path
) -> None:
    own = make_features("own", 4, {utt: utt_frames[utt] for utt in FOLDS[0]})
    specs = (f"{dump.teachers[0]}={own}", *dump.teachers[1:])
    dump_targets(replace(dump, teachers=specs), tmp_path / "out")
    assert set(labelled_by(TargetStore.open(tmp_path / "out")[UTTS[0]].dense(NUM_LABELS))) == {0}
    with pytest.raises(InputError, match=f"no posteriors of {UTTS[3]}"):
        dump_targets(replace(dump, teachers=specs, cross_fit=False), tmp_path / "plain")


def test_command(dump: Dump, tmp_path: Path) -> None:
    assert asr_kd.cli.ensemble  # registers the verbs
    out = tmp_path / "out"
    arguments = ["dump-targets", *dump.teachers, "--data", str(dump.data), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--cross-fit"])
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(app, ["inspect-targets", str(out)])
    assert "arithmetic of 3, cross-fitted" in shown.output


def test_stores_of_before_are_read(dump: Dump, tmp_path: Path) -> None:
    dump_targets(replace(dump, cross_fit=False), tmp_path / "out")
    header = tmp_path / "out" / "targets.json"
    text = header.read_text()
    assert ' "cross_fit": false,\n' in text
    header.write_text(text.replace(' "cross_fit": false,\n', ""))
    assert not TargetStore.open(tmp_path / "out").header.cross_fit


def test_teachers_know_what_they_were_trained_on(dump: Dump) -> None:
    teachers = open_teachers(dump.teachers, dump.data)
    assert [t.trained_on for t in teachers] == [
        frozenset(FOLDS[1] + FOLDS[2]), frozenset(FOLDS[0] + FOLDS[2]),
        frozenset(FOLDS[0] + FOLDS[1]),
    ]  # fmt: skip
