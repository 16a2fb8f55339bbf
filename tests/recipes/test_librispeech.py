"""The recipe of mini LibriSpeech from download to table, on the miniature; and plans."""

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parent / "tiny_librispeech"
TOOL = ROOT / "tools" / "make_librispeech_miniature.py"


def _run(recipe: str, *options: object) -> "subprocess.CompletedProcess[str]":
    proxies = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    env = {name: value for name, value in os.environ.items() if name not in proxies}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [ROOT / "recipes" / recipe / "run.sh", *map(str, options)]
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
    options = ("--work", tmp_path, "--configs", TINY, "--teachers", 2, "--mirror", mirror)
    done = _run("mini_librispeech", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    table = (tmp_path / "RESULTS.md").read_text()
    for role in ("gmm", "teacher", "ensemble", "hard-student", "student"):
        assert f"| {role}" in table
    decoded = tmp_path / "exp/decode_dev-clean-2/seed1/ensemble/manifest.json"
    info = json.loads(decoded.read_text())["info"]
    assert info["frame_accuracy"] > 0.3  # chance is a few percent
    assert info["wer"] < 0.9
    kinds = {
        json.loads((tmp_path / f"exp/seed1/teacher{n}/model.json").read_text())["model"]["kind"]
        for n in (1, 2)
    }
    assert kinds == {"tdnn", "blstm"}


@pytest.mark.parametrize("recipe", ["librispeech", "mini_librispeech", "yesno"])
def test_a_plan_makes_nothing(recipe: str, tmp_path: Path) -> None:
    done = _run(recipe, "--dry-run", "--work", tmp_path / "work", "--stop-stage", 6)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{recipe}, stage {n}" for n in range(1, 7)]
    assert list(tmp_path.iterdir()) == []
    gigabytes = {"librispeech": ": 7.7 GB to fetch", "mini_librispeech": ": 0.5 GB to fetch"}
    assert gigabytes.get(recipe, "data directories") in lines[0]


def test_hours_that_there_are_not(tmp_path: Path) -> None:
    done = _run("librispeech", "--dry-run", "--work", tmp_path / "work", "--hours", 200)
    assert done.returncode == 2
    assert "--hours 200: expected 100, 460 or 960" in done.stderr
