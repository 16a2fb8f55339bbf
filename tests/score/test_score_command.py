import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import asr_kd.cli.score  # noqa: F401  (registers the verbs)
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.errors import InputError
from asr_kd.score.result import per_speaker_text, score

runner = CliRunner()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "ref").write_text("u1 a b c\nu2 d\nu3 e f\n")
    (tmp_path / "hyp").write_text("u1 a x c\nu2\nu3 e f g\n")
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s1\nu3 s2\n")
    return tmp_path


def test_score_prints_and_writes(files: Path) -> None:
    out = files / "out"
    command = ["score", str(files / "ref"), str(files / "hyp")]
    shown = runner.invoke(app, [*command, "--utt2spk", str(files / "utt2spk"), "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "50.00" in shown.output
    assert "1/1/1" in shown.output
    result = json.loads((out / "wer.json").read_text())
    assert result["wer"] == 0.5
    assert (result["substitutions"], result["deletions"], result["insertions"]) == (1, 1, 1)
    assert (result["words"], result["utterances"], result["speakers"]) == (6, 3, 2)
    assert result["interval"] == [0.5, 0.5]  # both speakers have a word error rate of one half
    assert "speakers" in result["interval_by"]
    assert result["scorer"].startswith("jiwer")
    lines = [line.split() for line in (out / "per_spk").read_text().splitlines()]
    assert lines[1:] == [
        ["s1", "4", "2", "1", "1", "0", "50.00"],
        ["s2", "2", "1", "0", "0", "1", "50.00"],
        ["SUM", "6", "3", "1", "1", "1", "50.00"],
    ]
    assert read_manifest(out, "score")


def test_score_without_speakers_draws_utterances(files: Path) -> None:
    result = runner.invoke(app, ["score", str(files / "ref"), str(files / "hyp")])
    assert result.exit_code == 0
    assert "utterances" in result.output


def test_missing_hypothesis_leaves_no_output(files: Path) -> None:
    (files / "hyp").write_text("u1 a b c\n")
    out = files / "out"
    result = runner.invoke(
        app, ["score", str(files / "ref"), str(files / "hyp"), "--out", str(out)]
    )
    assert isinstance(result.exception, InputError)
    assert len(result.exception.faults) == 2
    assert not out.exists()


def test_a_reference_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="no words"):
        score({"u": []}, {"u": ["a"]})


def test_speaker_without_words_has_no_rate() -> None:
    result = score({"u1": ["a"], "u2": []}, {"u1": ["a"], "u2": ["b"]}, {"u1": "s1", "u2": "s2"})
    assert per_speaker_text(result).splitlines()[2].split() == ["s2", "0", "1", "0", "0", "1", "-"]


def test_one_speaker_falls_back_to_utterances() -> None:
    text = {f"u{i}": ["a"] for i in range(5)}
    assert score(text, text, dict.fromkeys(text, "s")).blocks == "utterances"
