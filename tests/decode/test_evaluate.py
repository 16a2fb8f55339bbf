import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_kd.config import config_dict
from asr_kd.decode.evaluate import evaluate
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.score.calibration import Calibration

LABELS = LabelSet("classes", ("a", "b", "c"))
ALI = {"x-1": [0, 1, 2, 0], "x-2": [1, 1], "y-1": [2]}
# The most probable label of each frame: 4 of 7 are right.
GUESSED = {"x-1": [0, 1, 0, 1], "x-2": [1, 1], "y-1": [0]}


def write_archive(path: Path, rows: dict[str, np.ndarray]) -> None:
    with ArkWriter(path.with_suffix(".ark")) as writer:
        for utt, row in rows.items():
            writer.write(utt, row)
    write_table(path, writer.scp)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    data, ali = tmp_path / "test", tmp_path / "ali"
    data.mkdir()
    ali.mkdir()
    feats = {utt: np.zeros((len(row), 2), np.float32) for utt, row in ALI.items()}
    feats["z-1"] = np.zeros((3, 2), np.float32)  # nobody aligned this one
    write_archive(data / "feats.scp", feats)
    write_table(data / "utt2spk", {utt: utt[0] for utt in feats})
    (data / "feature.json").write_text(json.dumps(config_dict(FeatureSpec(kind="external"))))
    write_archive(ali / "ali.scp", {u: np.array(r, np.int32) for u, r in ALI.items()})
    LABELS.save(ali / "labels.json")
    LABELS.save(tmp_path / "labels.json")
    posts = {utt: [[0.8 if k == g else 0.1 for k in range(3)] for g in row]
             for utt, row in GUESSED.items()}  # fmt: skip
    write_archive(tmp_path / "posts.scp", {u: np.log(np.float32(p)) for u, p in posts.items()})
    return tmp_path


def test_planted_posteriors_are_counted(planted: Path) -> None:
    spec = f"ark:{planted}/posts.scp={planted}/labels.json"
    evaluate([spec], planted / "test", planted / "ali", planted / "out")
    found: dict[str, Any] = json.loads((planted / "out" / "frames.json").read_text())
    assert (found["set"], found["num_frames"], found["errors"]) == ("test", 7, 3)
    assert found["accuracy"] == pytest.approx(4 / 7)
    assert found["cross_entropy"] == pytest.approx(-(4 * np.log(0.8) + 3 * np.log(0.1)) / 7)
    # All are said with 0.8, 4 of 7 are right.
    assert found["calibration_error"] == pytest.approx(0.8 - 4 / 7, abs=1e-6)
    assert Calibration.from_dict(found["calibration"]).frames.sum() == 7
    assert (found["multiply_adds_per_frame"], found["bytes"]) == (None, None)  # nobody knows
    assert found["by_label"] == {"a": [2, 1], "b": [3, 0], "c": [2, 2]}
    assert found["by_speaker"]["x"][:2] == [6, 2]
    assert found["by_speaker"]["y"] == [1, 1, pytest.approx(-np.log(0.1))]
    assert found["skipped"] == 1


def test_faults_are_named_together(planted: Path) -> None:
    write_archive(
        planted / "ali" / "ali.scp",
        {"x-1": np.array([0, 1, 5, 0], np.int32), "z-1": np.zeros(3, np.int32)},
    )
    spec = f"ark:{planted}/posts.scp={planted}/labels.json"
    with pytest.raises(InputError) as error:
        evaluate([spec], planted / "test", planted / "ali", planted / "out")
    text = str(error.value)
    assert "x-1: label 5 of 3" in text
    assert "no posteriors of z-1" in text
    assert not (planted / "out").exists()


def test_another_archive_is_evaluated_again(planted: Path) -> None:
    args = (planted / "test", planted / "ali", planted / "out")
    spec = f"ark:{planted}/posts.scp={planted}/labels.json"
    evaluate([spec], *args)
    made = (planted / "out" / "frames.json").stat().st_mtime_ns
    evaluate([spec], *args)
    assert (planted / "out" / "frames.json").stat().st_mtime_ns == made
    right = {u: np.log(np.eye(3, dtype=np.float32)[row] + 1e-9) for u, row in ALI.items()}
    write_archive(planted / "posts.scp", right)
    evaluate([spec], *args)
    assert json.loads((planted / "out" / "frames.json").read_text())["errors"] == 0


def test_of_many_processes_one_works(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    spec = f"ark:{planted}/posts.scp={planted}/labels.json"
    evaluate([spec], planted / "test", planted / "ali", planted / "out")
    assert not list(planted.glob("*out*"))
