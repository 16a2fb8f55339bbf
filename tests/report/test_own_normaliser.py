"""Decode folders of models that spell normalised text are compared as they were decoded."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import asr_kd.cli.compare
import asr_kd.cli.score
from asr_kd.cli.app import app
from asr_kd.report.systems import read_systems
from asr_kd.score.normalise import normaliser, write_normaliser

assert asr_kd.cli.compare  # imported, its verbs are registered
assert asr_kd.cli.score


@pytest.fixture
def folders(decode_dir: Callable[..., Path]) -> dict[str, Path]:
    ref = {"s-1": "A B", "t-1": "C D"}
    hyp = {"s-1": "a b", "t-1": "c e"}
    speakers = {utt: utt[0] for utt in ref}
    scales = {"acoustic_scale": 1.0, "prior_scale": 0.0, "insertion_penalty": 0.0}
    return {name: decode_dir(name, ref, hyp, speakers, scales=scales) for name in ("one", "two")}


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    said = done.output + ("" if done.exception is None else str(done.exception))
    return done.exit_code, said


def wer(folders: dict[str, Path], out: Path, *options: str) -> float:
    code, said = run("compare", *(f"{n}={p}" for n, p in folders.items()), "--out", out, *options)
    assert code == 0, said
    rows = json.loads((out / "results.json").read_text())["sets"][0]["rows"]
    values = {row["wer"]["value"] for row in rows}
    assert len(values) == 1
    return float(values.pop())


def test_the_folders_say_how_words_are_compared(folders: dict[str, Path], tmp_path: Path) -> None:
    assert wer(folders, tmp_path / "none") == 1.0
    for folder in folders.values():
        write_normaliser(folder, normaliser("plain"))
    assert wer(folders, tmp_path / "own") == 0.25
    assert wer(folders, tmp_path / "wanted", "--normaliser", "none") == 1.0
    assert read_systems([f"one={folders['one']}"]).decodings[0].counts[:, 1:].sum() == 1
    code, said = run("score", folders["one"], "--out", tmp_path / "score")
    assert code == 0, said
    assert json.loads((tmp_path / "score" / "wer.json").read_text())["wer"] == 0.25


def test_folders_that_differ_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    write_normaliser(folders["two"], normaliser("plain"))
    systems = [f"{name}={path}" for name, path in folders.items()]
    code, said = run("compare", *systems, "--out", tmp_path / "out")
    assert code != 0
    for told in (*map(str, folders.values()), "plain (version", "none (version", "--normaliser"):
        assert told in said
    assert not (tmp_path / "out").exists()
