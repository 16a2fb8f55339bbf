from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.score.text import read_text, read_utt2spk, write_text


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_kaldi_text_round_trip(tmp_path: Path) -> None:
    text = {"b": ["zwei", "ÄÖ"], "a": [], "B": ["x", "10\u00a0000", "\u00a0"]}
    write_text(tmp_path / "text", text)
    assert (tmp_path / "text").read_text() == "B x 10\u00a0000 \u00a0\na\nb zwei ÄÖ\n"
    assert read_text(tmp_path / "text") == text


def test_speaker_of_every_utterance(tmp_path: Path) -> None:
    path = _write(tmp_path / "utt2spk", "\ufeffu1 s1\r\nu2\ts2\n")
    assert read_utt2spk(path, {"u2": 1, "u1": 1}) == {"u2": "s2", "u1": "s1"}
    with pytest.raises(InputError, match="u3: no speaker"):
        read_utt2spk(path, {"u1": 1, "u3": 1})


def test_faults_of_utt2spk(tmp_path: Path) -> None:
    path = _write(tmp_path / "utt2spk", "u1 s1 s2\nu2\nu3 s3\n")
    with pytest.raises(InputError) as refused:
        read_utt2spk(path, {"u4": 1, "u0": 1})
    assert refused.value.faults == [
        f"{path}: u1: expected one speaker, not 's1 s2'",
        f"{path}: u2: expected one speaker, not ''",
        f"{path}: u0: no speaker",
        f"{path}: u4: no speaker",
    ]
