"""The miniature corpus, from the synthesiser through a server to data directories."""

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_kd.data.corpora.librispeech import LibriSpeechConfig, prepare
from asr_kd.data.directory import DataDir
from asr_kd.data.download import download
from asr_kd.data.validate import faults
from asr_kd.io.table import read_table
from asr_kd.labels.lexicon import Lexicon

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_librispeech_miniature.py"


def make(out: Path) -> Path:
    sizes = ["--train", "8", "3", "--dev", "4", "2", "--test", "4", "2"]
    done = subprocess.run(
        [sys.executable, TOOL, out, *sizes], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader", reason="needs the extra [synth]")
    return make(tmp_path_factory.mktemp("miniature"))


@pytest.fixture
def mirror(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(miniature))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/resources"
    server.shutdown()
    thread.join()
    server.server_close()


def readers(data: DataDir) -> set[str]:
    return {speaker.split("-")[0] for speaker in data.utt2spk.values()}


def test_librispeech(mirror: str, tmp_path: Path) -> None:
    parts = [
        "dev-clean", "dev-other", "test-clean", "test-other", "train-clean-100",
        "train-clean-360", "train-other-500", "lexicon", "3-gram.pruned.3e-7", "4-gram",
    ]  # fmt: skip
    download("librispeech", tmp_path / "corpus", parts, [mirror], 3, sums_of_mirror=True)
    train = ("train-clean-100", "train-clean-360", "train-other-500")
    prepare(tmp_path / "corpus", tmp_path / "data", LibriSpeechConfig(train=train))
    sets = {}
    for name, size in (("train", 8), ("dev", 4), ("test-clean", 2), ("test-other", 2)):
        assert faults(tmp_path / "data" / name, ("utt2spk", "spk2utt", "wav", "text")) == []
        sets[name] = DataDir.read(tmp_path / "data" / name, ("text",))
        assert len(sets[name].utt2spk) == size
        # Two chapters of each reader; Kaldi's own way to write speakers and genders.
        assert len(sets[name].spk2utt) == 2 * len(readers(sets[name]))
        genders = read_table(tmp_path / "data" / name / "spk2gender")
        assert list(genders) == list(sets[name].spk2utt)
        assert set(genders.values()) <= {"m", "f"}
    assert sum(len(readers(data)) for data in sets.values()) == 7
    lexicon = Lexicon.read(tmp_path / "data/dict")
    spoken = {word for text in sets["train"].text.values() for word in text.split()}
    assert spoken <= set(lexicon.words)
    assert "EY" in lexicon.nonsilence_phones
    assert (tmp_path / "corpus/lm/4-gram/4-gram.arpa.gz").exists()


def test_mini_librispeech(mirror: str, tmp_path: Path) -> None:
    download("mini_librispeech", tmp_path, ["all"], [mirror], 2, sums_of_mirror=True)
    config = LibriSpeechConfig(
        train=("train-clean-5",), dev=(), dev_speakers=1, test=("dev-clean-2",)
    )
    prepare(tmp_path, tmp_path / "data", config)
    sizes = {name: len(DataDir.read(tmp_path / "data" / name).utt2spk)
             for name in ("train", "dev", "dev-clean-2")}  # fmt: skip
    assert sizes["train"] + sizes["dev"] == 8
    assert sizes["dev"] > 1
    assert sizes["dev-clean-2"] == 8


def test_the_same_bytes_again(miniature: Path, tmp_path: Path) -> None:
    def sums(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }

    made = sums(miniature)
    assert len(made) == 8 + 3 + 6 + 1
    assert sums(make(tmp_path)) == made
