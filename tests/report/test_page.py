import subprocess
from pathlib import Path

from asr_kd.report.page import command_text, page


def _words(command: str, tmp_path: Path) -> list[str]:
    """What a shell makes of a command: an `asr-kd` that prints its arguments runs it."""
    program = tmp_path / "asr-kd"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_shell_reads_the_command_as_it_was_given(tmp_path: Path) -> None:
    systems = [f"{role}@{seed}=/w/exp/seed{seed}/{role}" for seed in (1, 2) for role in ("a", "b")]
    options = [("--out", "/o p"), ("--errors", ""), ("--note", 'it\'s $5 a "note"')]
    command = command_text("compare", systems, options)
    assert command.startswith("W=/w/exp\nasr-kd compare \\\n    a@1=$W/seed1/a a@2=$W/seed2/a \\\n")
    by_role = sorted(systems, key=lambda spec: spec[0])
    given = ["compare", *by_role, "--out", "/o p", "--errors", "--note", 'it\'s $5 a "note"']
    assert _words(command, tmp_path) == given


def test_folders_that_cannot_be_shortened_stay_whole(tmp_path: Path) -> None:
    for systems in (
        ["a=/w/x", "b=/w/y"],
        ["a=/w x/1", "b=/w x/2", "c=/w x/3", "d=/w x/4"],
        ["a=/w/1", "b=/w/2", "c=/w/3", "d=w/4"],
        ["a=/w/e", "b=/w/e/2", "c=/w/e/3", "d=/w/e/4"],
        ["a=1", "b=2", "c=3", "d=4"],
        ["a=/1", "b=/2", "c=/3", "d=/4"],
    ):
        command = command_text("compare", systems, [])
        assert "W=" not in command
        assert _words(command, tmp_path) == ["compare", *systems]


def test_page() -> None:
    text = page("A title", ["| a |\n| --- |\n", "| b |\n| --- |\n"], ["one", "two"], "asr-kd x")
    assert text.startswith(
        "# A title\n\n| a |\n| --- |\n\n| b |\n| --- |\n\n- one\n- two\n\nMade on"
    )
    assert text.endswith("```sh\nasr-kd x\n```\n")
