"""Several folders as one, and the training on transcripts beside pseudo-labels that it is for."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import asr_kd.cli.data  # noqa: F401  (registers with the application)
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.distill.dump_nbest import NbestDump, dump_nbest
from asr_kd.distill.pseudo_label import PseudoLabelConfig, pseudo_label
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.character_units import character_units
from asr_kd.labels.unit_stages import encode_text
from asr_kd.labels.units import Units
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.models.trained_on import read_trained_on
from asr_kd.score.normalise import NONE
from asr_kd.train.config import TrainConfig
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.stage import train

UNITS = character_units(["▁", "A", "B"], NONE)
SPEC = FeatureSpec(kind="external", name="centres", dim=4)


def write_feats(folder: Path, paths: Mapping[str, np.ndarray], text: bool = True) -> Path:
    """A feature directory: each frame is its label's centre and noise; what is said, if wanted."""
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    with ArkWriter(folder / "feats.ark") as ark:
        for utt, path in paths.items():
            noise = 0.2 * rng.standard_normal((len(path), 4))
            ark.write(utt, (np.eye(4)[path] + noise).astype(np.float32))
    write_spec(SPEC, folder)
    said = {utt: spelled(path) for utt, path in paths.items()}
    speakers = {utt: utt.split("-")[0] for utt in paths}
    lengths = {utt: len(path) for utt, path in paths.items()}
    DataDir(folder, speakers, text=said if text else {}, feats=ark.scp, num_frames=lengths).write(
        folder
    )
    return folder


def spelled(path: np.ndarray) -> str:
    return "".join(" AB"[label - 1] for label in path[np.diff(path, prepend=0) != 0] if label)


def paths(speaker: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Words of A and B, each letter three frames and blanks behind it; the mark ends words."""
    rng = np.random.default_rng(seed)
    found = {}
    for k in range(count):
        labels = [x for _ in range(rng.integers(1, 4)) for x in (*rng.integers(2, 4, 2), 1)]
        found[f"{speaker}-{k:02d}"] = np.repeat([x for label in labels for x in (label, 0)], 3)
    return found


def archive(root: Path, said: Mapping[str, np.ndarray], doubtful: str) -> str:
    """A teacher that knows the path, but for one utterance."""
    with ArkWriter(root / "teacher.ark") as writer:
        for utt, path in said.items():
            sure = 0.4 if utt == doubtful else 0.997
            posts = np.full((len(path), 4), (1 - sure) / 3)
            posts[np.arange(len(path)), path] = sure
            writer.write(utt, np.log(posts).astype(np.float32))
    write_table(root / "teacher.scp", writer.scp)
    UNITS.label_set.save(root / "teacher.json")
    return f"ark:{root / 'teacher.scp'}={root / 'teacher.json'}"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["combine-data", *map(str, arguments)])


@pytest.fixture
def units(tmp_path: Path) -> Path:
    (tmp_path / "units").mkdir()
    UNITS.write(tmp_path / "units")
    return tmp_path / "units"


def test_training_on_transcripts_and_pseudo_labels(tmp_path: Path, units: Path) -> None:
    heard, unheard = paths("a", 8, seed=1), paths("b", 12, seed=2)
    first = write_feats(tmp_path / "transcribed", heard)
    second = write_feats(tmp_path / "untranscribed", unheard, text=False)
    dev = write_feats(tmp_path / "dev", paths("c", 6, seed=3))
    for data in (first, dev):
        encode_text(data, units, tmp_path / f"{data.name}-tokens")
    teacher = archive(tmp_path, unheard, doubtful="b-05")
    dump_nbest(NbestDump((teacher,), second, units, 4, device="cpu"), tmp_path / "lists")
    pseudo_label(
        tmp_path / "lists", tmp_path / "pseudo-tokens", PseudoLabelConfig(min_posterior=0.5)
    )
    both, tokens = tmp_path / "both", tmp_path / "tokens"
    result = run(first, second, "--out", both)
    assert result.exit_code == 0, result.output
    result = run(tmp_path / "transcribed-tokens", tmp_path / "pseudo-tokens", "--out", tokens)
    assert result.exit_code == 0, result.output

    assert not faults(both, ["utt2spk", "feats"], allow_pipes=False)
    assert not (both / "text").exists()
    found, truth = Archive.read(tokens / "tokens.scp"), {**heard, **unheard}
    assert set(found) == truth.keys() - {"b-05"}
    for utt, path in truth.items():
        if utt != "b-05":
            assert UNITS.decode(found[utt].tolist()) == spelled(path).strip()
    assert Units.read(tokens).label_set == UNITS.label_set
    reader = FeatureReader(DataDir.read(both), "global")
    for folder in (first, second):
        own = FeatureReader(DataDir.read(folder), "global")
        assert all(np.array_equal(reader[utt], own[utt]) for utt in own)

    layer = TdnnLayerConfig(offsets=(-1, 0, 1), width=24)
    config = TrainConfig(
        model=TdnnConfig(layers=(layer,), dropout=0.0), epochs=40, accelerator="cpu",
        learning_rate=0.01, warmup_steps=5, max_frames=400,
    )  # fmt: skip
    for data, ali, seen in (
        (both, tokens, set(found)),
        (second, tmp_path / "pseudo-tokens", set(found) & unheard.keys()),
    ):
        out = tmp_path / f"student-{data.name}"
        train(TrainInputs(data, ali, dev, tmp_path / "dev-tokens"), config, out)
        assert read_manifest(out).info["dev_token_error_rate"] < 0.2  # of blanks alone it is 1
        assert read_trained_on(out) == seen


def test_what_does_not_belong_together(tmp_path: Path, units: Path) -> None:
    first = write_feats(tmp_path / "first", paths("a", 3, seed=1))
    same = write_feats(tmp_path / "same", paths("a", 2, seed=1))
    result = run(first, same, "--out", tmp_path / "out")
    assert "a-00: is in" in str(result.exception)
    assert "a-01: is in" in str(result.exception)
    assert "name two or more" in str(run(first, "--out", tmp_path / "out").exception)

    other = write_feats(tmp_path / "other", paths("b", 2, seed=1))
    values = json.loads((other / "feature.json").read_text())
    (other / "feature.json").write_text(json.dumps({**values, "name": "edges"}))
    assert "features differ" in str(run(first, other, "--out", tmp_path / "out").exception)
    (other / "utt2num_frames").unlink()
    write_spec(SPEC, other)
    result = run(first, other, "--out", tmp_path / "out")
    assert "other: no utt2num_frames, which others have" in str(result.exception)

    for data in (first, same):
        encode_text(data, units, tmp_path / f"{data.name}-tokens")
    folders = [tmp_path / f"{data.name}-tokens" for data in (first, same)]
    assert "a-00: is in" in str(run(*folders, "--out", tmp_path / "out").exception)
    shutil.rmtree(folders[1])
    (tmp_path / "more").mkdir()
    character_units(["▁", "B", "A"], NONE).write(tmp_path / "more")
    encode_text(same, tmp_path / "more", folders[1])
    renamed = {utt.replace("a", "b"): at for utt, at in
               read_table(folders[1] / "tokens.scp").items()}  # fmt: skip
    write_table(folders[1] / "tokens.scp", renamed)
    assert "label sets differ" in str(run(*folders, "--out", tmp_path / "out").exception)
    assert not (tmp_path / "out").exists()


def test_statistics_of_a_speaker_are_not_chosen(tmp_path: Path) -> None:
    parts = [write_feats(tmp_path / f"part{k}", {f"a-{k}": np.repeat([2, 0], 4)}) for k in (0, 1)]
    for part in parts:
        (part / "cmvn.scp").write_text(f"a {part / 'cmvn.ark'}:2\n")
    result = run(*parts, "--out", tmp_path / "out")
    assert f"cmvn.scp: a: {parts[1]}/cmvn.ark:2, in another folder" in str(result.exception)


def test_a_speed_that_is_not_said_is_1(tmp_path: Path) -> None:
    parts = [write_feats(tmp_path / f"part{k}", {f"a-{k}": np.repeat([2, 0], 4)}) for k in (0, 1)]
    (parts[1] / "utt2speed").write_text("a-1 0.9\n")
    assert run(*parts, "--out", tmp_path / "out").exit_code == 0
    assert DataDir.read(tmp_path / "out").speed == {"a-0": 1.0, "a-1": 0.9}
    assert DataDir.read(tmp_path / "out").text == {"a-0": "A", "a-1": "A"}
