"""What `compare` says more where the roles of distillation are given."""

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from asr_kd.report import outputs
from asr_kd.report.compare import Settings, compare

SCHEMA = Path(outputs.__file__).parent / "schema" / "compare-1.schema.json"
TEXTS = {
    "ref": "u-1 a b c\nu-2 d e\n",
    "teacher": "u-1 a x c\nu-2 x e\n",
    "ensemble": "u-1 a x c\nu-2 d e\n",
    "student": "u-1 a x c\nu-2 d x\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_inherited_errors_are_told_everywhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [f"{role}={folder / role}" for role in ("teacher", "ensemble", "student")]
    compare(specs, folder / "out", "T", [], Settings(refs=(str(folder / "ref"),)))
    results = json.loads((folder / "out" / "results.json").read_text())
    jsonschema.validate(results, json.loads(SCHEMA.read_text()))
    (found,) = results["sets"]
    assert found["distillation"]["rows"] == []
    inheritance = found["distillation"]["inheritance"]
    assert inheritance["effect"]["fixed"] == 1
    (student,) = inheritance["rows"]
    assert (student["inherited"], student["lost"], student["own"]) == (1, 0, 1)
    lines = list(csv.DictReader((folder / "out" / "inherited.csv").open()))
    assert [(one["utt_id"], one["word"], one["heard"], one["fate"]) for one in lines] == [
        ("u-1", "b", "x", "inherited"), ("u-2", "d", "d", "kept"), ("u-2", "e", "x", "own"),
    ]  # fmt: skip
    told = "it fixed 1 and broke 0."
    for page in ("RESULTS.md", "report.html"):
        text = (folder / "out" / page).read_text()
        assert told in text
        assert "same word" in text
    assert "same" in capsys.readouterr().out


def test_other_names_have_no_such_view(folder: Path) -> None:
    specs = [f"{role}={folder / role}" for role in ("mine", "yours")]
    for name, role in (("mine", "teacher"), ("yours", "student")):
        (folder / name).write_text(TEXTS[role])
    compare(specs, folder / "out", "T", [], Settings(refs=(str(folder / "ref"),)))
    results = json.loads((folder / "out" / "results.json").read_text())
    jsonschema.validate(results, json.loads(SCHEMA.read_text()))
    assert results["sets"][0]["distillation"] is None
    assert not (folder / "out" / "inherited.csv").exists()
