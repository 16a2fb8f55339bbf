"""Kaldi's basic types, binary and text, one after the other out of one file.

A file or an object of an archive that begins with the bytes 0 and B is binary. There, numbers carry
their width in bytes (negative if unsigned), vectors and matrices their sizes. Each size is held
against what is left of the file before anything is made of it.
"""

import gzip
import mmap
import re
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError

BINARY = b"\0B"
_GZIP = b"\x1f\x8b"
_TOKEN = re.compile(rb"\s*([!-~]{1,64})(?:\s|\Z)")
_WORD = re.compile(rb"\s*([^\s\[\]]{1,64})")
_SPACE = re.compile(rb"\s*")
_SIGNED, _UNSIGNED = 4, 0xFC
_SPECIAL = {b"inf", b"-inf", b"nan", b"-nan"}
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


Bytes = bytes | mmap.mmap


def read_file(path: Path) -> Bytes:
    """A file's bytes: unpacked if it is gzipped, whatever its name; else memory-mapped.

    Raises:
        InputError: if it is not there, or not whole.
    """
    try:
        with Path(path).open("rb") as file:
            if not file.read(1):
                return b""
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return gzip.decompress(data) if data[:2] == _GZIP else data
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: gzip data is damaged or cut off ({error})") from None


class KaldiReader:
    """Reads what stands at a position of a file, and goes on behind it.

    Every method raises InputError, with file and byte, where something else stands there.

    Args:
        data: the whole file.
        source: its name, for messages.
        position: where to begin.

    Attributes:
        binary: whether the object is binary; `begin` finds it out.
        position: of the next byte.
    """

    def __init__(self, data: Bytes, source: str, position: int = 0) -> None:
        self.data = data
        self.source = source
        self.position = position
        self.binary = False
        self.begin()

    @classmethod
    def open(cls, path: Path) -> "KaldiReader":
        """Reads the file of one object."""
        return cls(read_file(path), str(path))

    def begin(self) -> None:
        """Begins an object: sees whether it is binary."""
        self.binary = self.data[self.position : self.position + 2] == BINARY
        self.position += 2 if self.binary else 0

    def fail(self, message: str) -> NoReturn:
        """Raises InputError with the place."""
        raise InputError(f"{self.source}: byte {self.position}: {message}")

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return len(self.data) - self.position

    def token(self) -> str:
        """A word between white space, such as `<TransitionModel>`."""
        match = _TOKEN.match(self.data, self.position)
        if match is None:
            here = bytes(self.data[self.position : self.position + 12])
            self.fail(f"expected a token, found {here!r}")
        self.position = match.end()
        return match[1].decode("ascii")

    def expect(self, *tokens: str) -> str:
        """One of some tokens."""
        start = self.position
        found = self.token()
        if found not in tokens:
            self.position = start
            self.fail(f"expected {' or '.join(tokens)}, found {found}")
        return found

    def peek(self) -> str:
        """The next token, not taken."""
        start = self.position
        try:
            return self.token()
        finally:
            self.position = start

    def integer(self) -> int:
        """A 32-bit integer."""
        if not self.binary:
            return self._text_integer(self._word())
        width = self.take(1)[0]
        if width not in (_SIGNED, _UNSIGNED):
            self.fail(f"expected an integer of 4 bytes, not of {width}")
        return int.from_bytes(self.take(4), "little", signed=width == _SIGNED)

    def number(self) -> float:
        """A float, of 4 or 8 bytes."""
        if not self.binary:
            return self._text_number(self._word())
        width = self.take(1)[0]
        if width not in (4, 8):
            self.fail(f"expected a float of 4 or 8 bytes, not of {width}")
        return float(np.frombuffer(self.take(width), f"<f{width}")[0])

    def count(self, least_bytes: int) -> int:
        """A number of things that follow, each of at least so many bytes."""
        number = self.integer()
        if not 0 <= number * least_bytes <= self.left:
            self.fail(f"{number} elements of {least_bytes} bytes or more, {self.left} bytes left")
        return number

    def integers(self) -> NDArray[np.int32]:
        """A vector of 32-bit integers."""
        if not self.binary:
            return np.array([self._text_integer(word) for word in self._block().split()], np.int32)
        width = self.take(1)[0]
        if width != _SIGNED:
            self.fail(f"expected integers of 4 bytes, not of {width}")
        length = int.from_bytes(self.take(4), "little", signed=True)
        return np.frombuffer(self.take(length * 4), "<i4").astype(np.int32)

    def vector(self) -> NDArray[np.float32]:
        """A vector of floats, as float32."""
        if not self.binary:
            return np.array([self._text_number(word) for word in self._block().split()], np.float32)
        width = {"FV": 4, "DV": 8}[self.expect("FV", "DV")]
        length = self.integer()
        return np.frombuffer(self.take(length * width), f"<f{width}").astype(np.float32)

    def matrix(self) -> NDArray[np.float32]:
        """A full matrix of floats, as float32."""
        if not self.binary:
            lines = [line.split() for line in re.split(rb"[\n;]", self._block())]
            rows = [[self._text_number(word) for word in line] for line in lines if line]
            if len({len(row) for row in rows}) > 1:
                self.fail("a matrix whose rows are of different lengths")
            return np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)
        width = {"FM": 4, "DM": 8}[self.expect("FM", "DM")]
        rows_, columns = self.integer(), self.integer()
        if min(rows_, columns) < 0:
            self.fail(f"a matrix of {rows_} rows and {columns} columns")
        data = np.frombuffer(self.take(rows_ * columns * width), f"<f{width}")
        return data.reshape(rows_, columns).astype(np.float32)

    def line(self) -> bytes:
        """The rest of a line of text, without its end."""
        start, end = self.position, self.data.find(b"\n", self.position)
        end = len(self.data) if end < 0 else end
        self.position = min(end + 1, len(self.data))
        return self.data[start:end]

    def take(self, size: int) -> bytes:
        """Some bytes as they stand."""
        self.skip(size)
        return self.data[self.position - size : self.position]

    def skip(self, size: int) -> None:
        """Goes on behind some bytes."""
        if not 0 <= size <= self.left:
            self.fail(f"{size} bytes expected, {self.left} left: damaged or cut off")
        self.position += size

    def _word(self) -> bytes:
        match = _WORD.match(self.data, self.position)
        if match is None:
            self.fail("a number expected")
        self.position = match.end()
        return match[1]

    def _block(self) -> bytes:
        """What stands between brackets."""
        space = _SPACE.match(self.data, self.position)
        start = space.end() if space else self.position
        end = self.data.find(b"]", start)
        if self.data[start : start + 1] != b"[" or end < 0:
            self.fail("expected numbers in brackets")
        self.position = end + 1
        return self.data[start + 1 : end]

    def _text_integer(self, word: bytes) -> int:
        if not word.removeprefix(b"-").isdigit() or not -(2**31) <= (value := int(word)) < 2**31:
            self.fail(f"expected a 32-bit integer, found {word[:20]!r}")
        return value

    def _text_number(self, word: bytes) -> float:
        if not _NUMBER.fullmatch(word) and word.lower() not in _SPECIAL:
            self.fail(f"expected a number, found {word[:20]!r}")
        return float(word)
