from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.score.text import read_pair, read_text, read_utt2spk, write_text


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_kaldi_text_round_trip(tmp_path: Path) -> None:
    text = {"b": ["zwei", "ÄÖ"], "a": [], "B": ["x"]}
    write_text(tmp_path / "text", text)
    assert (tmp_path / "text").read_text() == "B x\na\nb zwei ÄÖ\n"
    assert read_text(tmp_path / "text") == text


def test_every_missing_extra_and_duplicate_id_is_listed(tmp_path: Path) -> None:
    ref = _write(tmp_path / "ref", "u1 a\nu2 b\nu3 c\n")
    hyp = _write(tmp_path / "hyp", "u2 b\nu4 d\nu5 e\n")
    with pytest.raises(InputError) as refused:
        read_pair(ref, hyp)
    assert len(refused.value.faults) == 4
    for fault, utt_id in zip(refused.value.faults, ("u1", "u3", "u4", "u5"), strict=True):
        assert utt_id in fault
        assert str(hyp) in fault
    twice = _write(tmp_path / "twice", "u1 a\nu2 b\nu1 a\nu3 c\n")
    with pytest.raises(InputError, match=r"twice:3: u1") as refused:
        read_pair(twice, _write(tmp_path / "blank", "u1 a\n\nu2 b\nu3 c\n"))
    assert "blank:2" in str(refused.value)


def test_empty_hypothesis_is_no_missing_one(tmp_path: Path) -> None:
    ref, hyp = _write(tmp_path / "ref", "u1 a b\n"), _write(tmp_path / "hyp", "u1\n")
    assert read_pair(ref, hyp)[1] == {"u1": []}


def test_empty_reference_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no utterances"):
        read_pair(_write(tmp_path / "ref", ""), _write(tmp_path / "hyp", ""))


def test_speaker_of_every_utterance(tmp_path: Path) -> None:
    path = _write(tmp_path / "utt2spk", "u1 s1\nu2 s2\n")
    assert read_utt2spk(path, {"u2": 1}) == {"u2": "s2"}
    with pytest.raises(InputError, match="u3: no speaker"):
        read_utt2spk(path, {"u1": 1, "u3": 1})
