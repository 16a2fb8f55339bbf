"""The recipe of mini LibriSpeech from download to table, on the miniature; and plans."""

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_kd.decode.transcribe import Student, transcribe
from asr_kd.ensemble.store import TargetStore

ROOT = Path(__file__).resolve().parents[2]
SIZES = ROOT / "configs" / "mini_librispeech" / "miniature.txt"
TOOL = ROOT / "tools" / "make_librispeech_miniature.py"


def _run(recipe: str, *options: object) -> "subprocess.CompletedProcess[str]":
    proxies = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    env = {name: value for name, value in os.environ.items() if name not in proxies}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command: list[str | Path] = [ROOT / "recipes" / recipe / "run.sh", *map(str, options)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a copy of OpenSLR's resources/, the corpora in miniature."""
    pytest.importorskip("espeakng_loader", reason="needs the extra [synth]")
    folder = tmp_path_factory.mktemp("miniature")
    sizes = ["--train", "200", "8", "--dev", "8", "2", "--test", "8", "2"]
    subprocess.run([sys.executable, TOOL, folder, *sizes], check=True, capture_output=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/resources"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_from_download_to_a_table(mirror: str, tmp_path: Path) -> None:
    options = ("--work", tmp_path, "--set", f"@{SIZES}", "--teachers", 2, "--mirror", mirror)
    done = _run("mini_librispeech", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "RESULTS.md").read_text()
    for role in ("gmm", "teacher", "ensemble", "hard-student", "student", "student-int8"):
        assert table.count(f"| {role}") >= 2  # decoded, and rescored
    exp = tmp_path / "exp"
    decoded = exp / "decode_dev-clean-2/seed1/ensemble/manifest.json"
    info = json.loads(decoded.read_text())["info"]
    assert info["frame_accuracy"] > 0.2  # chance is a percent
    assert info["wer"] < 0.9
    kinds = {
        json.loads((exp / f"seed1/teacher{n}/model.json").read_text())["model"]["kind"]
        for n in (1, 2)
    }
    assert kinds == {"tdnn", "blstm"}
    # Every speed has features, labels of tied states, and targets of its own.
    utts = {line.split()[0] for line in (exp / "tied/ali.scp").read_text().splitlines()}
    originals = {utt for utt in utts if not utt.startswith("sp")}
    assert utts == {mark + utt for utt in originals for mark in ("", "sp0.9-", "sp1.1-")}
    labels = json.loads((exp / "seed1/student/model.json").read_text())["label_set"]
    assert labels["kind"].startswith("tied-states")
    assert set(TargetStore.open(exp / "seed1/targets")) == utts
    # The student alone turns sound into text.
    sound = next((tmp_path / "corpus/LibriSpeech/dev-clean-2").rglob("*.flac"))
    student = Student(exp / "export/seed1/student")
    assert next(transcribe([sound], student)).words


STAGES = {"librispeech": 9, "mini_librispeech": 9, "yesno": 7}


@pytest.mark.parametrize("recipe", STAGES)
def test_a_plan_makes_nothing(recipe: str, tmp_path: Path) -> None:
    done = _run(recipe, "--dry-run", "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    first, *lines = [*[""] * (recipe == "yesno"), *done.stdout.splitlines()]
    numbers = range(1, STAGES[recipe] + 1)
    assert [line.split(":")[0] for line in lines] == [f"{recipe}, stage {n}" for n in numbers]
    assert list(tmp_path.iterdir()) == []
    if recipe == "yesno":
        return
    assert "hours of speech at 3 speeds" in first
    assert {"librispeech": ": 9.1 GB to fetch", "mini_librispeech": ": 0.5 GB"}[recipe] in lines[0]
    for line in lines[1:8]:
        assert re.search(r": [\d.,]+ (hours|minutes) on \d+ cores?", line)
    for line in lines[4:6]:
        assert re.search(r"or [\d.,]+ GPU-hours; [\d.,]+ GB$", line)


def test_a_setting_that_there_is_not(tmp_path: Path) -> None:
    for setting, said in (
        ("teach:epochs=3", "no .*/teach.yaml"), ("teacher", "expected NAME:KEY=VALUE"),
    ):  # fmt: skip
        done = _run("mini_librispeech", "--dry-run", "--work", tmp_path, "--set", setting)
        assert done.returncode == 2
        assert re.search(f"--set {setting}: {said}", done.stderr)


def test_hours_that_there_are_not(tmp_path: Path) -> None:
    done = _run("librispeech", "--dry-run", "--work", tmp_path / "work", "--hours", 200)
    assert done.returncode == 2
    assert "--hours 200: expected 100, 460 or 960" in done.stderr
