"""Kaldi's text tables: a key, a space, the rest of the line."""

from collections.abc import Mapping
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text


def read_table(path: Path, allow_empty: bool = False) -> dict[str, str]:
    """Reads a table whole, in the order of the file.

    Args:
        path: UTF-8 text, one entry a line.
        allow_empty: whether a key may stand alone (an empty transcript).

    Raises:
        InputError: every blank line, duplicate key and missing value, with file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        number = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{number}: not UTF-8 text ({error.reason})") from None
    table: dict[str, str] = {}
    first_seen: dict[str, int] = {}
    faults = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and other characters.
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        parts = line.split(maxsplit=1)
        if not parts:
            faults.append(f"{path}:{number}: blank line; expected a key and a value")
            continue
        key, value = parts[0], parts[1].strip() if len(parts) > 1 else ""
        if key in first_seen:
            faults.append(f"{path}:{number}: {key} stands already in line {first_seen[key]}")
        elif not value and not allow_empty:
            faults.append(f"{path}:{number}: {key} has no value")
        first_seen.setdefault(key, number)
        table.setdefault(key, value)
    if faults:
        raise InputError(faults)
    return table


def write_table(path: Path, table: Mapping[str, str]) -> None:
    """Writes a table atomically, sorted by key as `LC_ALL=C sort` does (by UTF-8 bytes)."""
    keys = sorted(table, key=str.encode)
    write_text(path, "".join(f"{key} {table[key]}".rstrip() + "\n" for key in keys))
