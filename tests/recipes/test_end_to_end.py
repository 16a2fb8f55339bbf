"""The recipe of the built-in corpus, whole: the same scripts, on some minutes of speech."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parent / "tiny"


def run_recipe(work: Path, *options: str) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra [synth]")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [
            ROOT / "recipes/synth/run.sh",
            "--work",
            work,
            "--configs",
            TINY,
            "--teachers",
            "2",
            *options,
        ],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_from_speech_to_a_table(tmp_path: Path) -> None:
    run_recipe(tmp_path)
    results = json.loads((tmp_path / "compare" / "results.json").read_text())
    table = (tmp_path / "RESULTS.md").read_text()
    for role in ("baseline", "teacher", "ensemble", "hard-student", "student"):
        assert role in table
    # Chance is a few percent here: what comes out has been learnt, and has found its way to words.
    frames = json.loads((tmp_path / "exp/decode_test/seed1/ensemble/manifest.json").read_text())
    assert frames["info"]["frame_accuracy"] > 0.3
    assert frames["info"]["wer"] < 0.9
    assert results
    # A second call finds everything done and makes nothing anew.
    made = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("manifest.json")}
    run_recipe(tmp_path, "--stage", "4")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("manifest.json")} == made
