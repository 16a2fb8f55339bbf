"""Kaldi's archives: keys, each with an object behind it, binary or text, gzipped or not."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from asr_kd.errors import InputError
from asr_kd.io.kaldi.stream import KaldiReader, read_file

T = TypeVar("T")
_LONGEST_KEY = 1000


def read_objects(
    reader: KaldiReader, read: Callable[[KaldiReader], T]
) -> Iterator[tuple[str, int, T]]:
    """Reads an archive object by object.

    Args:
        reader: at the first key.
        read: reads one object; `begin` has been called.

    Yields:
        Key, byte at which its object stands, and the object.

    Raises:
        InputError: with file, byte and key, where an object is damaged or a key stands twice.
    """
    seen: set[str] = set()
    while (key := _key(reader)) is not None:
        if key in seen:
            reader.fail(f"{key}: stands twice in the archive")
        seen.add(key)
        start = reader.position
        reader.begin()
        try:
            found = read(reader)
        except InputError as error:
            raise InputError([f"{fault} (object of {key})" for fault in error.faults]) from None
        yield key, start, found


def read_archive(path: Path, read: Callable[[KaldiReader], T]) -> Iterator[tuple[str, T]]:
    """The keys and objects of one archive file; arguments and errors as for `read_objects`."""
    reader = KaldiReader.open(path)
    reader.position = 0  # an archive begins with a key
    return ((key, found) for key, _, found in read_objects(reader, read))


def _key(reader: KaldiReader) -> str | None:
    """The next key, taken with the blank behind it; None at the end."""
    data = reader.data
    while data[reader.position : reader.position + 1] in (b"\n", b"\r", b" ", b"\t"):
        reader.position += 1
    if reader.left == 0:
        return None
    word = bytes(data[reader.position : reader.position + _LONGEST_KEY])
    ends = [end for mark in b" \t\n" if (end := word.find(mark)) >= 0]
    if not ends or b"\0" in word[: min(ends)]:
        reader.fail(f"expected a key and a blank, found {word[:12]!r}")
    name = word[: min(ends)]
    try:
        key = name.decode()
    except UnicodeDecodeError:
        reader.fail(f"expected a key in UTF-8, found {name[:12]!r}")
    # A key at the end of its line has an empty object, whose text is that line's end.
    reader.position += len(name) + (data[reader.position + len(name)] != ord("\n"))
    return key


def index_matrices(path: Path) -> dict[str, str]:
    """The table that an archive of matrices lacks: key → "archive:offset".

    Raises:
        InputError: naming the file, if it is gzipped, damaged, or holds something else.
    """
    data = read_file(path)
    if isinstance(data, bytes) and data:
        raise InputError(f"{path}: gzipped; unpack it first, its matrices are read in any order")
    reader = KaldiReader(data, str(path))
    reader.position = 0
    return {key: f"{path}:{start}" for key, start, _ in read_objects(reader, _skip_matrix)}


def _skip_matrix(reader: KaldiReader) -> None:
    if not reader.binary:
        reader.matrix()
        return
    kind = reader.expect("FM", "DM", "CM", "CM2", "CM3")
    if kind in ("FM", "DM"):
        size = reader.count(0) * reader.count(0) * (4 if kind == "FM" else 8)
    else:
        # Compressed: range (2 floats), rows, columns; CM has 4 quantiles of each column, too.
        rows, columns = struct.unpack_from("<8xii", reader.take(16))
        size = {"CM": 8 * columns + rows * columns, "CM2": 2 * rows * columns}.get(
            kind, rows * columns
        )
    reader.skip(size)
