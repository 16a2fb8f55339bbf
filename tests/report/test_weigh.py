import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import asr_kd.cli.ensemble
from asr_kd.artefact import Artefact, hash_input, read_manifest
from asr_kd.cli.app import app
from asr_kd.config import config_dict
from asr_kd.decode.evaluate import evaluate
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.weights import TeacherWeights, WeightsFrom
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import DnnConfig
from asr_kd.models.description import model_hash
from asr_kd.report.weigh import weigh_teachers

LABELS = LabelSet("classes", ("a", "b", "c"))
FRAMES = {"x-1": 40, "x-2": 25, "y-1": 60}
SPEC = FeatureSpec(kind="external", name="random2", dim=2)
Rows = Mapping[str, np.ndarray]


def write_archive(path: Path, rows: Rows) -> None:
    with ArkWriter(path.with_suffix(".ark")) as writer:
        for utt, row in rows.items():
            writer.write(utt, row)
    write_table(path, writer.scp)


@pytest.fixture
def labels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {utt: rng.integers(0, 3, n).astype(np.int32) for utt, n in FRAMES.items()}


@pytest.fixture
def posts(labels: Rows) -> list[dict[str, np.ndarray]]:
    """Log-posteriors of three teachers: good, less good, and a confident bad one."""
    rng = np.random.default_rng(1)
    found = []
    for skill, noise in ((1.5, 1.0), (1.0, 1.0), (-0.5, 2.0)):
        logits = {
            utt: skill * np.eye(3)[row] + noise * rng.standard_normal((len(row), 3))
            for utt, row in labels.items()
        }
        found.append(
            {u: (z - np.log(np.exp(z).sum(1, keepdims=True))).astype(np.float32)
             for u, z in logits.items()}
        )  # fmt: skip
    return found


@pytest.fixture
def dev(tmp_path: Path, labels: Rows, posts: list[Rows]) -> Path:
    """Folders `dev` and `ali`, and archives of the teachers."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "ali").mkdir()
    rng = np.random.default_rng(2)
    feats = {utt: rng.standard_normal((n, 2)).astype(np.float32) for utt, n in FRAMES.items()}
    feats["z-1"] = np.zeros((3, 2), np.float32)  # nobody aligned this one
    write_archive(tmp_path / "dev" / "feats.scp", feats)
    write_table(tmp_path / "dev" / "utt2spk", {utt: utt[0] for utt in feats})
    write_table(tmp_path / "dev" / "utt2num_frames", {u: str(len(x)) for u, x in feats.items()})
    (tmp_path / "dev" / "feature.json").write_text(json.dumps(config_dict(SPEC)))
    write_archive(tmp_path / "ali" / "ali.scp", labels)
    LABELS.save(tmp_path / "ali" / "labels.json")
    LABELS.save(tmp_path / "labels.json")
    for k, each in enumerate(posts):
        unaligned = np.log(np.full((3, 3), 1 / 3, np.float32))
        write_archive(tmp_path / f"t{k}.scp", {**each, "z-1": unaligned})
    return tmp_path


def specs_of(dev: Path) -> list[str]:
    return [f"ark:{dev}/t{k}.scp={dev}/labels.json" for k in range(3)]


def figures(mean: Any) -> tuple[float, float]:
    return mean.accuracy, mean.cross_entropy


def reference(posts: list[Rows], labels: Rows, weights: Any, mean: str) -> tuple[float, float]:
    """Accuracy and cross-entropy of an average, by its definition."""
    truth = np.concatenate(list(labels.values()))
    probs = [np.exp(np.concatenate(list(each.values())).astype(np.float64)) for each in posts]
    if mean == "arithmetic":
        average = sum(w * p for w, p in zip(weights, probs, strict=True))
    else:
        average = np.prod([p**w for w, p in zip(weights, probs, strict=True)], axis=0)
    average = average / average.sum(1, keepdims=True)
    picked = average[np.arange(len(truth)), truth]
    return float((average.argmax(1) == truth).mean()), float(-np.log(picked).mean())


def make_decoding(dev: Path, name: str, errors: int, model: str, data: Path) -> Path:
    inputs = {"data": hash_input(data), "model0": model}
    artefact = Artefact(dev / name, "decode", {"name": name}, inputs)
    work = artefact.begin()
    (work / "wer.json").write_text(json.dumps({"errors": errors, "words": 50}))
    artefact.publish()
    return artefact.path


def test_everything_against_its_definition(
    dev: Path, posts: list[Rows], labels: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    decoded = [make_decoding(dev, f"d{k}", n, "?", dev / "dev") for k, n in enumerate((9, 19, 19))]
    with caplog.at_level("INFO"):
        weigh_teachers(specs_of(dev), dev / "dev", dev / "ali", dev / "out", decoded)
    found = TeacherWeights.load(dev / "out")
    assert found.num_frames == 125
    assert list(found.rules) == ["equal", "fitted", "best", "wer"]
    for m, teacher in enumerate(found.teachers):
        own = reference(posts, labels, np.eye(3)[m], "arithmetic")
        assert figures(teacher.alone) == pytest.approx(own, rel=1e-5)
        others = [posts[k] for k in range(3) if k != m]
        for mean in ("arithmetic", "geometric"):
            expected = reference(others, labels, (0.5, 0.5), mean)
            assert figures(getattr(teacher.without, mean)) == pytest.approx(expected, rel=1e-5)
    for rule in found.rules.values():
        assert sum(rule.weights) == pytest.approx(1)
        for mean in ("arithmetic", "geometric"):
            expected = reference(posts, labels, rule.weights, mean)
            assert figures(getattr(rule.means, mean)) == pytest.approx(expected, rel=1e-5)
    assert found.rules["wer"].weights == pytest.approx((0.5, 0.25, 0.25))
    assert found.rules["best"].weights == (1.0, 0.0, 0.0)
    least = found.rules["fitted"].means.arithmetic.cross_entropy
    assert all(least <= rule.means.arithmetic.cross_entropy for rule in found.rules.values())
    assert found.gap <= 1e-4
    shown = (dev / "out" / "WEIGHTS.md").read_text()
    for teacher in found.teachers:
        assert f"{100 * teacher.alone.accuracy:.2f} | {teacher.alone.cross_entropy:.4f}" in shown
    whole, third = found.rules["equal"].means.arithmetic, found.teachers[2].without.arithmetic
    assert f"{100 * (whole.accuracy - third.accuracy):+.2f}" in shown
    assert f"{third.cross_entropy - whole.cross_entropy:+.4f}" in shown
    assert "| 18.0 |" in shown  # 9 errors in 50 words
    made = (dev / "out" / "manifest.json").stat().st_mtime_ns
    weigh_teachers(specs_of(dev), dev / "dev", dev / "ali", dev / "out", decoded)
    assert (dev / "out" / "manifest.json").stat().st_mtime_ns == made


def test_targets_and_evaluations_by_a_rule(dev: Path, caplog: pytest.LogCaptureFixture) -> None:
    specs = specs_of(dev)
    weigh_teachers(specs, dev / "dev", dev / "ali", dev / "out")
    rules = TeacherWeights.load(dev / "out").rules
    dump = Dump(tuple(specs), dev / "dev", weights=WeightsFrom(dev / "out", "fitted"))
    dump_targets(dump, dev / "fitted")
    header = TargetStore.open(dev / "fitted").header
    used = [w for w in rules["fitted"].weights if w > 0]
    assert header.weights == pytest.approx(used)
    with caplog.at_level("INFO"):
        dump_targets(replace(dump, weights=WeightsFrom(dev / "out", "best")), dev / "best")
    header = TargetStore.open(dev / "best").header
    assert [teacher.name for teacher in header.teachers] == [f"ark:{dev}/t0.scp"]
    assert header.weights == (1.0,)
    assert f"weights best: left out: ark:{dev}/t1.scp, ark:{dev}/t2.scp" in caplog.text
    # A rule stands for its weights: the store is the same.
    dump_targets(Dump((specs[0],), dev / "dev"), dev / "alone")
    one, other = (read_manifest(dev / name) for name in ("best", "alone"))
    assert one.fingerprint == other.fingerprint
    for rule in ("equal", "fitted", "best"):
        evaluate(
            specs, dev / "dev", dev / "ali", dev / f"of-{rule}",
            weights=WeightsFrom(dev / "out", rule),
        )  # fmt: skip
        found = json.loads((dev / f"of-{rule}" / "frames.json").read_text())
        expected = rules[rule].means.arithmetic
        assert found["accuracy"] == pytest.approx(expected.accuracy)
        assert found["cross_entropy"] == pytest.approx(expected.cross_entropy, rel=1e-5)


def test_other_teachers_than_were_weighed_are_refused(dev: Path, posts: list[Rows]) -> None:
    specs = specs_of(dev)
    weigh_teachers(specs, dev / "dev", dev / "ali", dev / "out")
    for given, rule, said in (
        ([specs[1], specs[0], specs[2]], "fitted", r"teacher 1 is .*t0\.scp .*, here .*t1\.scp"),
        (specs[:2], "equal", r"weighs 3 teachers .*, not the 2 given"),
        (specs, "wer", r"no rule 'wer': equal, fitted, best; wer needs --decoded"),
    ):
        dump = Dump(tuple(given), dev / "dev", weights=WeightsFrom(dev / "out", rule))
        with pytest.raises(InputError, match=said):
            dump_targets(dump, dev / "targets")
    dump = Dump(tuple(specs), dev / "dev", weights=WeightsFrom(dev / "ali", "fitted"))
    with pytest.raises(InputError, match="not the output of weigh-teachers"):
        dump_targets(dump, dev / "targets")
    (dev / "out" / "weights.json").write_text("{}")
    dump = replace(dump, weights=WeightsFrom(dev / "out", "fitted"))
    with pytest.raises(InputError, match=r"weights\.json: cannot be read"):
        dump_targets(dump, dev / "targets")
    assert not list(dev.glob("*targets*"))


def save_network(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = build_model(DnnConfig(num_layers=1, width=4), 2, 3).eval()
    folder.mkdir()
    Checkpoint(model, LABELS, SPEC, "global", np.zeros(3, np.float32)).save(folder)
    return folder


def test_decodings_have_to_be_those_of_the_teachers_on_this_data(dev: Path) -> None:
    models = [save_network(dev / f"m{k}", k) for k in range(2)]
    (dev / "model.yaml").write_text("source: m1\n")
    models[1] = dev / "model.yaml"
    hashes = [model_hash(str(model)) for model in models]
    data = dev / "dev"
    good = [make_decoding(dev, f"good{k}", k, hashes[k], data) for k in range(2)]
    specs = list(map(str, models))
    weigh_teachers(specs, data, dev / "ali", dev / "out", good)
    assert TeacherWeights.load(dev / "out").rules["wer"].weights == pytest.approx((2 / 3, 1 / 3))
    with pytest.raises(InputError) as refused:
        weigh_teachers(specs, data, dev / "ali", dev / "other", good[::-1])
    assert [f"good{1 - k}: decoded by another model than {specs[k]}" in fault
            for k, fault in enumerate(refused.value.faults)] == [True, True]  # fmt: skip
    elsewhere = make_decoding(dev, "elsewhere", 1, hashes[1], dev / "ali")
    with pytest.raises(InputError, match=f"elsewhere: decodes other data than {data}"):
        weigh_teachers(specs, data, dev / "ali", dev / "other", [good[0], elsewhere])
    with pytest.raises(InputError, match="1 decode directories for 2 teachers"):
        weigh_teachers(specs, data, dev / "ali", dev / "other", good[:1])
    (good[0] / "wer.json").unlink()
    with pytest.raises(InputError, match="good0: no word errors"):
        weigh_teachers(specs, data, dev / "ali", dev / "other", good)
    assert not (dev / "other").exists()


def test_faults_are_named_together(dev: Path) -> None:
    wrong = {utt: np.full(n, 5, np.int32) for utt, n in FRAMES.items()}
    write_archive(dev / "ali" / "ali.scp", wrong)
    with pytest.raises(InputError) as refused:
        weigh_teachers(specs_of(dev)[:1], dev / "dev", dev / "ali", dev / "out", [dev, dev])
    said = str(refused.value)
    assert "one teacher has nothing to be weighed against" in said
    assert "2 decode directories for 1 teachers" in said
    assert "x-1: label 5 of 3" in said
    assert not list(dev.glob("*out*"))


def test_a_label_that_nobody_thinks_possible(dev: Path, labels: Rows) -> None:
    rows = {utt: np.log(np.full((n, 3), 1 / 3, np.float32)) for utt, n in FRAMES.items()}
    sure = np.full(3, -np.inf, np.float32)
    sure[(labels["x-2"][7] + 1) % 3] = 0
    rows["x-2"][7] = sure
    for k in range(2):
        write_archive(dev / f"t{k}.scp", rows)
    with pytest.raises(InputError, match="x-2: no teacher gives the label of some frame"):
        weigh_teachers(specs_of(dev)[:2], dev / "dev", dev / "ali", dev / "out")


def test_command(dev: Path) -> None:
    assert asr_kd.cli.ensemble  # registers the verbs
    arguments = ["weigh-teachers", *specs_of(dev), "--data", str(dev / "dev")]
    done = CliRunner().invoke(
        app, [*arguments, "--ali", str(dev / "ali"), "--out", str(dev / "out")]
    )
    assert done.exit_code == 0, done.output
    command = (dev / "out" / "WEIGHTS.md").read_text()
    assert "asr-kd weigh-teachers" in command
    assert "--ali" in command
    dumped = CliRunner().invoke(
        app, ["dump-targets", *specs_of(dev), "--data", str(dev / "dev"), "--out",
              str(dev / "targets"), "--weights", f"{dev}/out:fitted"],
    )  # fmt: skip
    assert dumped.exit_code == 0, dumped.output
    assert TargetStore.open(dev / "targets").header.num_labels == 3


def test_a_teacher_that_thinks_a_label_impossible(dev: Path, posts: list[Rows]) -> None:
    rows = {utt: np.array(row) for utt, row in posts[0].items()}
    rows["x-1"][:, 1] = -np.inf
    rows["x-1"] -= np.log(np.exp(rows["x-1"]).sum(1, keepdims=True))
    write_archive(dev / "t0.scp", rows)
    weigh_teachers(specs_of(dev), dev / "dev", dev / "ali", dev / "out")
    found = TeacherWeights.load(dev / "out")
    assert found.teachers[0].alone.cross_entropy == np.inf
    assert found.rules["fitted"].means.arithmetic.cross_entropy < 2
    assert "| inf |" in (dev / "out" / "WEIGHTS.md").read_text()


def test_fitted_weights_for_another_mean_are_warned_of(
    dev: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weigh_teachers(specs_of(dev), dev / "dev", dev / "ali", dev / "out")
    args = (specs_of(dev), dev / "dev", dev / "ali")
    for rule, mean, warns in (
        ("fitted", "arithmetic", False),
        ("equal", "geometric", False),
        ("fitted", "geometric", True),
    ):
        caplog.clear()
        out = dev / f"{rule}-{mean}"
        evaluate(*args, out, mean, weights=WeightsFrom(dev / "out", rule))  # type: ignore[arg-type]
        assert ("fitted for the arithmetic mean" in caplog.text) == warns


def test_other_features_of_a_teacher_are_weighed_again(dev: Path) -> None:
    models = [save_network(dev / f"m{k}", k) for k in range(2)]
    own = dev / "own"
    shutil.copytree(dev / "dev", own)
    for table in own.glob("*.scp"):
        table.write_text(table.read_text().replace(f"{dev}/dev/", f"{own}/"))
    specs = [str(models[0]), f"{models[1]}={own}"]
    args = (specs, dev / "dev", dev / "ali", dev / "out")
    weigh_teachers(*args)
    before = TeacherWeights.load(dev / "out")
    rng = np.random.default_rng(5)
    feats = {u: rng.standard_normal((n, 2)).astype(np.float32) for u, n in FRAMES.items()}
    write_archive(own / "feats.scp", {**feats, "z-1": np.ones((3, 2), np.float32)})
    weigh_teachers(*args)
    after = TeacherWeights.load(dev / "out")
    assert after.teachers[0] != before.teachers[0]  # without it is the other one alone
    assert after.teachers[1].alone != before.teachers[1].alone


def test_all_decodings_are_looked_at(dev: Path) -> None:
    (dev / "empty").mkdir()
    other = make_decoding(dev, "other", 1, "?", dev / "ali")
    decoded = [dev / "empty", other, dev / "dev"]
    with pytest.raises(InputError) as refused:
        weigh_teachers(specs_of(dev), dev / "dev", dev / "ali", dev / "out", decoded)
    assert [folder.name in fault for folder, fault in
            zip(decoded, refused.value.faults, strict=True)] == [True] * 3  # fmt: skip


def test_a_program_is_weighed_where_it_is_trusted(dev: Path) -> None:
    model = dev / "program"
    model.mkdir()
    net = torch.nn.Linear(2, 3)
    torch.jit.save(torch.jit.script(net), str(model / "net.pt"))
    LABELS.save(model / "labels.json")
    features = {"kind": "external", "name": "random2", "dim": 2}
    (model / "model.yaml").write_text(
        json.dumps({"source": "net.pt", "labels": "labels.json", "features": features})
    )
    options = ["weigh-teachers", str(model), *specs_of(dev)[:1], "--data", str(dev / "dev"),
               "--ali", str(dev / "ali"), "--out", str(dev / "out")]  # fmt: skip
    refused = CliRunner().invoke(app, options)
    assert isinstance(refused.exception, InputError)
    assert "if you trust who made it, say --trust" in str(refused.exception)
    assert not (dev / "out").exists()
    done = CliRunner().invoke(app, [*options, "--trust"])
    assert done.exit_code == 0, done.exception
    assert TeacherWeights.load(dev / "out").num_frames == sum(FRAMES.values())
    assert "--trust" in (dev / "out" / "WEIGHTS.md").read_text()
