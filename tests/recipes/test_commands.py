"""Every command of every recipe, without the work: options, configurations, and who made inputs.

The recipes run with an `asr-kd` that only notes its arguments and makes empty outputs.
"""

import importlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from asr_kd.cli import main
from asr_kd.cli.app import app, is_override
from asr_kd.config import load_config
from asr_kd.train.config import TrainConfig

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
CORPORA = sorted(path.parent.name for path in RECIPES.glob("*/run.sh"))
_STUB = r"""#!/bin/sh
printf '%s\037' "$@" >> "$COMMANDS"; echo >> "$COMMANDS"
if [ -n "${FAILS:-}" ]; then case "$*" in $FAILS) echo "no $1 today" >&2; exit 1 ;; esac; fi
while [ $# -gt 1 ]; do
  if [ "$1" = --out ]; then
    mkdir -p "$2/last"
    for file in manifest.json RESULTS.md WEIGHTS.md CORRECTION.md part.txt CLUSTERS.md; do
      echo "# file" > "$2/$file"
    done
  fi
  shift
done
"""


def _run(
    script: Path, tmp_path: Path, *options: str, fails: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Runs a recipe in the folders of tmp_path; commands like `fails`, a glob, fail."""
    programs = tmp_path / "bin"
    if not programs.is_dir():
        programs.mkdir()
        for name, text in (("asr-kd", _STUB), ("python", "#!/bin/sh\n")):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (tmp_path / "corpus").mkdir()
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [script, "--work", tmp_path / "work", "--nj", "1", "--seeds", "2", *options],
        env={**os.environ, "PATH": path, "COMMANDS": str(tmp_path / "commands"), "FAILS": fails},
        capture_output=True,
        text=True,
        check=False,
    )


def _commands(tmp_path: Path) -> list[list[str]]:
    """What was run, in its order."""
    lines = (tmp_path / "commands").read_text().splitlines()
    return [line.split("\x1f")[:-1] for line in lines]


@pytest.fixture(scope="module")
def verbs() -> dict[str, Any]:
    for module in main._VERBS:
        importlib.import_module(f"asr_kd.cli.{module}")
    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def _read(params: dict[str, Any]) -> Iterator[Path]:
    """Every file and folder that a command reads."""
    for name, value in params.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path) and name not in ("out", "corpus") and one != Path("-"):
                yield one
            elif name == "systems":
                yield Path(one.partition("=")[2])
            elif name in ("models", "teachers", "arguments", "generalist") and not is_override(one):
                yield from map(Path, one.split("="))
            elif name in ("cluster", "specialists") and one is not None:
                yield from (Path(part.partition(":")[0]) for part in one.split("="))
            elif name == "weights" and one is not None and ":" in one:
                yield Path(one.rpartition(":")[0])


def _outputs(verb: str, params: dict[str, Any]) -> Iterator[Path]:
    out = params["out"]
    temperatures = str(params.get("temperature", "")).split(",")
    yield from (out / f"T{t}" for t in temperatures) if len(temperatures) > 1 else [out]
    if verb == "train":
        yield out / "last"


@pytest.mark.parametrize("corpus", CORPORA)
def test_commands_fit_together(corpus: str, verbs: dict[str, Any], tmp_path: Path) -> None:
    scripts = [RECIPES / corpus / "run.sh", *sorted((RECIPES / corpus).glob("run_*.sh"))]
    for script in scripts:
        options = ["--corpus", str(tmp_path / "corpus")] if script.name == "run.sh" else []
        done = _run(script, tmp_path, *options)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
    made: set[Path] = set()
    for verb, *arguments in _commands(tmp_path):
        params = verbs[verb].make_context(verb, list(arguments)).params
        if verb == "train":
            load_config(TrainConfig, params["config"], params["overrides"] or ())
        for path in _read(params):
            given = path.is_file() and RECIPES.parent in path.parents
            if not given and tmp_path / "corpus" not in path.parents:
                # A corpus makes data/train and so on; several outputs in a folder make one row.
                whole = path.parent if path.parent.name == "data" else path
                folders = {one.parent for one in made} if verb == "compare-frames" else set()
                known = made | folders
                assert known & {path, whole}, f"{verb} reads {path}, which nothing has made"
        if params.get("out") is not None:
            made.update(_outputs(verb, params))
    for script in scripts:
        assert (tmp_path / "work" / f"RESULTS{script.stem.removeprefix('run')}.md").is_file()


def test_a_command_that_fails_in_the_middle_of_a_step_ends_the_recipe(tmp_path: Path) -> None:
    assert _run(RECIPES / "an4/run.sh", tmp_path, "--corpus", str(tmp_path / "bin")).returncode == 0
    commands = len(_commands(tmp_path))
    done = _run(RECIPES / "an4/run_temperature.sh", tmp_path, fails="evaluate *dev*")
    assert done.returncode != 0, done.stderr
    assert "no evaluate today" in done.stderr
    after = _commands(tmp_path)[commands:]
    failed = [k for k, command in enumerate(after) if command[0] == "evaluate"]
    assert failed
    assert not any("/feats/test" in part for k in failed for part in after[k])  # after dev
    assert all(command[0] != "compare-frames" for command in after)
    assert not (tmp_path / "work/RESULTS_temperature.md").exists()
