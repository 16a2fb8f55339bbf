"""Lines of a text file that people made somewhere: encodings, line ends, what is no text."""

import re
from collections.abc import Iterator
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.table import SPACE

_BOM = b"\xef\xbb\xbf"
# No transcript holds these; bytes 9 to 13 are white space. Without them `str.split` of an ASCII
# line cuts where Kaldi and sclite do.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_WORD = re.compile(f"[^{SPACE}]+")
_LONE_RETURN = re.compile(rb"\r(?!\n|\Z)")
_SHOWN = 40


def cut(line: str) -> list[str]:
    """Words between ASCII white space (`SPACE`), as Kaldi and sclite cut them."""
    return line.split() if line.isascii() else _WORD.findall(line)


def numbered(text: str) -> Iterator[tuple[int, str]]:
    r"""Lines with their numbers from 1; only "\n" ends a line, a "\r" before it goes with it."""
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        yield number, line.removesuffix("\r")


def numbered_nist(text: str) -> Iterator[tuple[int, str]]:
    """As `numbered`, without blank lines and the comments (`;;`) of NIST's formats."""
    for number, line in numbered(text):
        if line.strip(SPACE) and not line.startswith(";;"):
            yield number, line


def read_utf8(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        InputError: no file; binary data; every line that is not UTF-8, or holds control characters
            or carriage returns that end no line.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if kind := _binary(data):
        raise InputError(f"{path}: {kind}, not a text file of transcripts")
    data = data.removeprefix(_BOM)
    control = _CONTROL.search(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if control:
            raise InputError(f"{path}: binary data, not a text file of transcripts") from None
        raise InputError(_encoding_faults(path, data)) from None
    if control:
        raise InputError(
            [
                f"{path}:{number}: control character 0x{found[0][0]:02x} at column "
                f"{found.start() + 1}"
                for number, line in enumerate(data.split(b"\n"), start=1)
                if (found := _CONTROL.search(line))
            ]
        )
    if _LONE_RETURN.search(data):
        raise InputError(_return_faults(path, data))
    return text


def _binary(data: bytes) -> str | None:
    """What kind of binary data it is, if it is."""
    if data.startswith(b"\x1f\x8b"):
        return "gzip data; unpack it first"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
    position = data.find(b"\0")
    if position < 0:
        return None
    return f"binary data (a zero byte in line {data.count(bytes([10]), 0, position) + 1})"


def _return_faults(path: Path, data: bytes) -> list[str]:
    """Lines that end in a carriage return alone would be taken for words of one line."""
    faults = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if (place := line.removesuffix(b"\r").find(b"\r")) >= 0:
            where = f"{path}:{number}: a carriage return at column {place + 1}"
            faults.append(f"{where} that ends no line")
    return [
        f"{path}: carriage returns in lines; if they should end them, `tr '\\r' '\\n'`",
        *faults,
    ]


def _encoding_faults(path: Path, data: bytes) -> list[str]:
    """What to do, and the lines that are not UTF-8; a file may mix encodings."""
    faults: list[str] = []
    proper: list[int] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            if not line.decode().isascii():
                proper.append(number)
        except UnicodeDecodeError as error:
            shown = line.decode("latin-1").strip()[:_SHOWN]
            faults.append(
                f"{path}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at column "
                f"{error.start + 1}); as Latin-1 it reads {shown!r}"
            )
    advice = "not UTF-8; if these lines read well as Latin-1, `iconv -f LATIN1 -t UTF-8` converts"
    if proper:
        listed = ", ".join(map(str, proper[:5])) + (", …" if len(proper) > 5 else "")
        advice = f"mixed encodings: line {listed} is UTF-8, these are not; convert these alone"
    return [f"{path}: {advice}", *faults]
