"""RESULTS.md: a heading, tables, what the reader has to know, and the command that made it."""

import os
import re
import shlex
from collections.abc import Sequence
from datetime import date

from asr_kd import __version__
from asr_kd.report.table import escape

_PLAIN = re.compile(r"[\w@%+=:,./-]+")  # words that a shell leaves as they are
_FEW = 3


def page(title: str, tables: Sequence[str], lines: Sequence[str], command: str) -> str:
    """The text of RESULTS.md.

    Args:
        title: heading.
        tables: Markdown tables, one below the other.
        lines: what becomes a list below them.
        command: of `command_text`.
    """
    made = f"Made on {date.today().isoformat()} by asr_kd {__version__}:"
    listed = "".join(f"- {line}\n" for line in lines)
    parts = [f"# {escape(title)}", *tables, listed, f"{made}\n\n```sh\n{command}\n```\n"]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def command_text(verb: str, systems: Sequence[str], options: Sequence[tuple[str, str]]) -> str:
    """A command for a shell: a line for each role and each option.

    Args:
        verb: of asr-kd.
        systems: `ROLE[@SEED]=FOLDER`; what many folders have in common is written once.
        options: name and value; a name alone where the value is empty.
    """
    before, words = _shortened(systems)
    roles: dict[str, list[str]] = {}
    for spec, word in zip(systems, words, strict=True):
        roles.setdefault(re.split("[@=]", spec, maxsplit=1)[0], []).append(word)
    lines = [" ".join(group) for group in roles.values()]
    lines += [f"{name} {shlex.quote(value)}" if value else name for name, value in options]
    return before + " \\\n    ".join([f"asr-kd {verb}", *lines])


def _shortened(systems: Sequence[str]) -> tuple[str, list[str]]:
    """A line that names the folders' common part, or nothing, and the quoted systems."""
    folders = [spec.partition("=")[2] for spec in systems]
    try:
        common = os.path.commonpath(folders) if len(folders) > _FEW else ""
    except ValueError:  # absolute and relative ones
        common = ""
    below = all(folder.startswith(f"{common}/") for folder in folders)
    if common in ("", "/") or not below or not all(map(_PLAIN.fullmatch, systems)):
        return "", [shlex.quote(spec) for spec in systems]
    return f"W={common}\n", [spec.replace(f"={common}/", "=$W/", 1) for spec in systems]
