"""The verbs of parts and corrections pass on what they are told."""

from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from asr_kd.align.subset import Part
from asr_kd.cli.app import app
from asr_kd.cli.correct import correct_bias_verb
from asr_kd.cli.ctc import align_ctc_verb
from asr_kd.cli.data import subset_verb
from asr_kd.cli.decode import decode_verb, evaluate_verb
from asr_kd.cli.train import train_verb
from asr_kd.data.subset import Fold
from asr_kd.train.correct_bias import Correction

# Imported, they are registered.
assert all([subset_verb, correct_bias_verb, train_verb, align_ctc_verb, decode_verb, evaluate_verb])


def call(arguments: str) -> Result:
    return CliRunner().invoke(app, arguments.split())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the stages were called with."""
    calls: list[Any] = []
    for stage in ("align.subset.make_subset", "train.correct_bias.correct_bias",
                  "train.stage.train"):  # fmt: skip
        monkeypatch.setattr(f"asr_kd.{stage}", lambda *args: calls.append(args))
    return calls


@pytest.mark.parametrize(
    ("options", "part", "ali"),
    [
        ("--share 0.03 --seed 4 --ali ali --cover", Part(share=0.03, seed=4, cover=True), "ali"),
        ("--in-fold 2/5", Part(in_fold=Fold(2, 5)), None),
        ("--out-of-fold 2/5 --by utterance", Part(out_of_fold=Fold(2, 5), by="utterance"), None),
    ],
)
def test_subset(told: list[Any], options: str, part: Part, ali: str | None) -> None:
    assert call(f"subset data --out part {options}").exit_code == 0
    assert told == [(Path("data"), part, Path("part"), ali and Path(ali))]


def test_a_cover_needs_labels(told: list[Any]) -> None:
    assert call("subset data --out part --share 0.1 --cover").exit_code == 2
    assert not told


def test_correct_bias(told: list[Any]) -> None:
    done = call("correct-bias model --data dev --ali dev_ali --labels IY_* --labels 3 --each "
                "--out corrected --device cpu")  # fmt: skip
    assert done.exit_code == 0
    correction = Correction(("IY_*", "3"), each=True)
    names = (Path(name) for name in ("dev", "dev_ali", "corrected"))
    assert told[0][:2] == (Path("model"), correction)
    assert told[0][2:5] == tuple(names)


@pytest.mark.parametrize(
    ("verb", "argument", "said"),
    [
        ("train", "ali", "or lists (--nbest) and ctc.weight=0"),
        ("evaluate", "models", "|bundle:NAME=UNITS"),
        ("decode", "arguments", "|ark:FILE=labels.json"),
        ("align-ctc", "arguments", "|ark:FILE=labels.json"),
    ],
)
def test_help_names_all_that_is_taken(verb: str, argument: str, said: str) -> None:
    params = typer.main.get_command(app).commands[verb].params  # type: ignore[attr-defined]
    (found,) = (param for param in params if param.name == argument)
    assert said in f"{found.metavar} {found.help}"


@pytest.mark.parametrize(("given", "ali"), [("ali", Path("ali")), ("-", None)])
def test_training_without_an_alignment(told: list[Any], given: str, ali: Path | None) -> None:
    assert call(f"train data {given} --dev dev --dev-ali dev_ali --out out").exit_code == 0
    assert told[0][0].ali == ali
    assert told[0][0].dev_ali == Path("dev_ali")
