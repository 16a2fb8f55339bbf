"""`score` and `compare` are for people who have two text files and nothing of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Where torch, or what needs it or a corpus, is asked for, the command ends in a traceback.
_SCRIPT = """
import sys
for name in ("torch", "torchaudio", "librosa", "kaldifst", "kaldi_decoder", "lightning_fabric"):
    sys.modules[name] = None
from asr_kd.cli.main import main
sys.argv[0] = "asr-kd"
main()
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A reference and two systems."""
    lines = [(f"u{i}", "the cat sat on the mat") for i in range(10)]
    for name, wrong in (("ref", ""), ("hyp_a", "cat"), ("hyp_b", "mat")):
        text = "".join(f"{utt} {words.replace(wrong or '-', 'hat')}\n" for utt, words in lines)
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        "score ref.txt hyp_a.txt --normaliser english --alignment sclite --out out",
        "compare --ref ref.txt a=hyp_a.txt b=hyp_b.txt --normaliser plain --out out",
    ],
)
def test_text_files_need_no_torch(texts: Path, arguments: str) -> None:
    done = run(texts, *arguments.split())
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b16\.6?7\b", done.stdout)  # one word of six
    assert (texts / "out" / "manifest.json").is_file()


def test_what_needs_torch_is_noticed(texts: Path) -> None:
    done = run(texts, "inspect-targets", "nothing")
    assert "ModuleNotFoundError" in done.stderr
