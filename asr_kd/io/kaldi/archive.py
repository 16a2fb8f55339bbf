"""Kaldi's archives: keys, each with an object behind it, binary or text, gzipped or not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from asr_kd.errors import InputError
from asr_kd.io.kaldi.stream import KaldiReader

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
