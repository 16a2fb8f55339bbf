"""Kaldi's text tables: a key, a space, the rest of the line."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text

SPACE = " \t\n\v\f\r"
"""White space as Kaldi and sclite know it: U+00A0 and its like are parts of words."""


class Scan(NamedTuple):
    """What a table holds, faulty or not: values and line numbers by key, and its faults."""

    values: dict[str, str]
    lines: dict[str, int]
    faults: list[str]


def scan_table(path: Path, allow_empty: bool = False) -> Scan:
    """Reads a table whole, in the order of the file, and lists its faults.

    Args:
        path: UTF-8 text, one entry a line.
        allow_empty: whether a key may stand alone (an empty transcript).

    Returns:
        The first entry of each key, and every blank line, duplicate key and missing value.
    """
    path = Path(path)
    scan = Scan({}, {}, [])
    try:
        data = path.read_bytes()
        data.decode()
    except FileNotFoundError:
        scan.faults.append(f"{path}: no such file")
        return scan
    except UnicodeDecodeError as error:
        number = path.read_bytes()[: error.start].count(b"\n") + 1
        scan.faults.append(f"{path}:{number}: not UTF-8 text ({error.reason})")
        return scan
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and other characters. Bytes
    # are cut at `SPACE` alone.
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else [], start=1):
        parts = [part.decode().rstrip(SPACE) for part in line.split(maxsplit=1)]
        if not parts:
            scan.faults.append(f"{path}:{number}: blank line; expected a key and a value")
            continue
        key, value = parts[0], parts[1] if len(parts) > 1 else ""
        if key in scan.lines:
            scan.faults.append(f"{path}:{number}: {key} stands already in line {scan.lines[key]}")
        elif not value and not allow_empty:
            scan.faults.append(f"{path}:{number}: {key} has no value")
        scan.lines.setdefault(key, number)
        scan.values.setdefault(key, value)
    return scan


def read_table(path: Path, allow_empty: bool = False) -> dict[str, str]:
    """Reads a table whole, in the order of the file; arguments as for `scan_table`.

    Raises:
        InputError: every blank line, duplicate key and missing value, with file and line.
    """
    scan = scan_table(path, allow_empty)
    if scan.faults:
        raise InputError(scan.faults)
    return scan.values


def write_table(path: Path, table: Mapping[str, str]) -> None:
    """Writes a table atomically, sorted by key as `LC_ALL=C sort` does (by UTF-8 bytes)."""
    keys = sorted(table, key=str.encode)
    write_text(path, "".join(f"{key} {table[key]}".rstrip(SPACE) + "\n" for key in keys))
