"""Lines of ARPA files, plain or packed by gzip."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from asr_kd.errors import InputError

_GZIP = b"\x1f\x8b"


def arpa_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, unpacked where its first bytes say that it is packed.

    Raises:
        InputError: for a file that is not there, damaged or cut off; while lines are taken.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as lines:
            yield from lines
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder; expected an ARPA language model") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or cut off: {error}") from None


def arpa_text(path: Path) -> Iterator[tuple[int, str]]:
    """The lines as text without space around them, numbered from 1.

    Raises:
        InputError: as `arpa_lines`, and for what is not UTF-8.
    """
    for number, line in enumerate(arpa_lines(path), start=1):
        try:
            yield number, line.decode().strip()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}:{number}: not UTF-8 text ({error.reason})") from None
