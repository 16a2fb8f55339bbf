"""Recipes of the built-in corpus, whole: the same scripts, on some minutes of speech."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parent / "tiny"


def run_recipe(recipe: str, work: Path, *options: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "recipes" / recipe, "--work", work, "--configs", TINY, "--teachers", "2", *options],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipe of the built-in corpus makes."""
    pytest.importorskip("espeakng_loader", reason="needs the extra [synth]")
    folder = tmp_path_factory.mktemp("synth")
    run_recipe("synth/run.sh", folder)
    return folder


@pytest.mark.slow
def test_from_speech_to_a_table(work: Path) -> None:
    results = json.loads((work / "compare" / "results.json").read_text())
    table = (work / "RESULTS.md").read_text()
    for role in ("baseline", "teacher", "ensemble", "hard-student", "student"):
        assert role in table
    # Chance is a few percent here: what comes out has been learnt, and has found its way to words.
    frames = json.loads((work / "exp/decode_test/seed1/ensemble/manifest.json").read_text())
    assert frames["info"]["frame_accuracy"] > 0.3
    assert frames["info"]["wer"] < 0.9
    assert results
    # A second call finds everything done and makes nothing anew.
    made = {file: file.stat().st_mtime_ns for file in work.rglob("manifest.json")}
    run_recipe("synth/run.sh", work, "--stage", "4")
    assert {file: file.stat().st_mtime_ns for file in work.rglob("manifest.json")} == made


@pytest.mark.slow
def test_a_second_recipe_goes_on_from_the_teachers(work: Path) -> None:
    run_recipe("an4/run_temperature.sh", work, "--temperatures", "1,20")
    results = json.loads((work / "compare_temperature" / "results.json").read_text())
    accuracies = {row["role"]: row["sets"]["test"]["accuracy"]["value"] for row in results["rows"]}
    assert list(accuracies) == [
        "teacher", "ensemble", "narrow-T1", "narrow-T20", "narrow-hard",
        "wide-T1", "wide-T20", "wide-hard",
    ]  # fmt: skip
    decoded = json.loads((work / "exp/decode_test/seed1/ensemble/manifest.json").read_text())
    assert accuracies["ensemble"] == pytest.approx(decoded["info"]["frame_accuracy"], abs=0.002)
    assert accuracies["narrow-T1"] < accuracies["wide-T1"] < accuracies["teacher"]
    assert (work / "RESULTS_temperature.svg").read_text().count("narrow")


@pytest.mark.slow
def test_deep_networks_teach_shallow_ones(work: Path) -> None:
    run_recipe("synth/run_cnn.sh", work)
    results = json.loads((work / "compare_cnn" / "results.json").read_text())
    rows = {row["role"]: row for row in results["rows"]}
    assert list(rows) == [
        "vgg19", "vgg11-hard", "vgg11-soft", "resnet34", "resnet18-hard", "resnet18-soft",
    ]  # fmt: skip
    # A guess that knows nothing costs the logarithm of the number of states.
    states = json.loads((work / "lang" / "labels.json").read_text())["names"]
    for role, row in rows.items():
        assert row["sets"]["test"]["cross_entropy"]["value"] < 0.9 * math.log(len(states)), role
