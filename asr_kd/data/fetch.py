"""One file from several mirrors: it comes in pieces, is gone on with, and is checked."""

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import NamedTuple

from asr_kd import __version__
from asr_kd.data.catalogue import RemoteFile
from asr_kd.errors import AsrKdError

SUMS = "md5sum.txt"
Advance = Callable[[int], None]
_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_LONGEST_LIST = 1 << 20
_logger = logging.getLogger("asr_kd.data")


class Wanted(NamedTuple):
    """A file as it must come: its size in bytes, and its MD5 where anybody tells it."""

    name: str
    size: int
    md5: str | None


class _Unusable(Exception):
    """Why a mirror does not give a file; the next one may."""


class _Absent(_Unusable):
    """The mirror has no such thing."""


def resolve(file: RemoteFile, mirrors: Sequence[str], strict: bool) -> Wanted:
    """What a file must be: as is known, or as the first mirror says that has a list of checksums.

    Args:
        file: the file.
        mirrors: addresses of the folder that it is in.
        strict: whether a file without a published checksum is refused; otherwise its size alone
            is checked, and a warning says so.

    Raises:
        AsrKdError: if no mirror tells what is needed; with what each of them answered.
    """
    if file.md5 is not None:
        return Wanted(file.name, file.size, file.md5)
    reasons = []
    without_sum = None
    for mirror in mirrors:
        try:
            size = _size_there(mirror + urllib.parse.quote(file.name))
        except _Unusable as reason:
            reasons.append(f"{mirror}{file.name}: {reason}")
            continue
        try:
            return Wanted(file.name, size, _md5_there(mirror + SUMS, file.name))
        except _Unusable as reason:
            reasons.append(f"{mirror}{SUMS}: {reason}")
            if isinstance(reason, _Absent):
                without_sum = without_sum or Wanted(file.name, size, None)
    if without_sum is not None and not strict:
        _logger.warning("%s: no checksum is published for it; only its size is checked", file.name)
        return without_sum
    raise AsrKdError("\n".join([f"{file.name}: no mirror tells what it must be", *reasons]))


def fetch(wanted: Wanted, work: Path, mirrors: Sequence[str], advance: Advance) -> None:
    """Makes `work/wanted.name` from the first mirror that gives it whole.

    What has come of it stands in `NAME.part`; a later call goes on there.

    Args:
        wanted: the file.
        work: the folder.
        mirrors: addresses of the folder that it is in.
        advance: is told of every so many bytes; of fewer than none when they are thrown away.

    Raises:
        AsrKdError: if no mirror gives it; with what each of them answered.
    """
    part = part_of(work, wanted.name)
    reasons = []
    for mirror in mirrors:
        url = mirror + urllib.parse.quote(wanted.name)
        try:
            _fetch_from(url, wanted, part, advance)
        except _Unusable as reason:
            reasons.append(f"{url}: {reason}")
            if len(reasons) < len(mirrors):
                _logger.warning("%s; trying the next mirror", reasons[-1])
            continue
        part.replace(work / wanted.name)
        checked = "checked" if wanted.md5 else "its size checked"
        _logger.info("%s: %d bytes, %s", wanted.name, wanted.size, checked)
        return
    raise AsrKdError("\n".join([
        f"{wanted.name}: no mirror gives it; nothing of it is published", *reasons,
        "run again to go on with what has come; --mirror URL names another place",
    ]))  # fmt: skip


def part_of(work: Path, name: str) -> Path:
    """Where what has come of a file stands."""
    return work / f"{name}.part"


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _fetch_from(url: str, wanted: Wanted, part: Path, advance: Advance) -> None:
    """Fills `part` from one mirror, as often as that brings more of it, and checks it."""
    may_be_mixed = size_of(part) > 0
    while True:
        before = size_of(part)
        reason = _Unusable("the connection ends before the file does")
        if before < wanted.size:
            try:
                _transfer(url, wanted, part, advance)
            except _Unusable as error:
                reason = error
        if size_of(part) < wanted.size:
            if size_of(part) <= before:
                raise reason
            _logger.warning("%s: %s; going on at byte %d", url, reason, size_of(part))
            time.sleep(_PAUSE_SECONDS)
            continue
        with part.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        if md5.hexdigest() == (wanted.md5 or md5.hexdigest()) and size_of(part) == wanted.size:
            return
        advance(-min(size_of(part), wanted.size))
        part.unlink()
        # The beginning may have come from a worse mirror, or of a file that has changed since.
        if not may_be_mixed:
            raise _Unusable(
                f"wrong checksum: MD5 {md5.hexdigest()}, expected {wanted.md5}; what came is "
                f"thrown away"
            )
        may_be_mixed = False


def _transfer(url: str, wanted: Wanted, part: Path, advance: Advance) -> None:
    """One connection's worth of the file, appended to what has come.

    Of a server that knows no ranges the beginning is passed over: it may be cut again before the
    end of what stands already.
    """
    start = size_of(part)
    passed_over = 0
    with _open(url, {"Range": f"bytes={start}-"} if start else {}) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            passed_over = start  # the server knows no ranges and sends it all
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Unusable("answers with another range than was asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and (whole := start - passed_over + int(length)) != wanted.size:
            raise _Unusable(f"has {whole} bytes, expected {wanted.size}")
        left = wanted.size - start
        with part.open("ab") as stream:
            while left > 0:
                with _network_errors():
                    chunk = response.read1(min(_CHUNK, passed_over or left))
                if not chunk:
                    return
                if passed_over:
                    passed_over -= len(chunk)
                    continue
                stream.write(chunk)
                advance(len(chunk))
                left -= len(chunk)


def _size_there(url: str) -> int:
    with _open(url, {}, method="HEAD") as response:
        length = response.headers.get("Content-Length", "")
    if not length.isdigit():
        raise _Unusable("does not tell its size")
    return int(length)


def _md5_there(url: str, name: str) -> str:
    """The MD5 of a file in a list as `md5sum` writes it."""
    with _open(url, {}) as response, _network_errors():
        content = response.read(_LONGEST_LIST)
        if str(len(content)) != response.headers.get("Content-Length", str(len(content))):
            raise _Unusable(f"the connection ends before the list does, or over {_LONGEST_LIST} B")
    for line in content.decode(errors="replace").splitlines():
        md5, _, path = line.partition(" ")
        if path.strip().removeprefix("*").rsplit("/", 1)[-1] == name:
            if len(md5) != 32 or set(md5.lower()) - set("0123456789abcdef"):
                raise _Unusable(f"{name}: {md5!r} is no MD5")
            return md5.lower()
    raise _Absent(f"does not list {name}")


@contextmanager
def _open(url: str, headers: dict[str, str], method: str = "GET") -> Iterator[HTTPResponse]:
    request = urllib.request.Request(
        url, headers={"User-Agent": f"asr_kd/{__version__}", **headers}, method=method
    )
    with _network_errors():
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    with response:
        yield response


@contextmanager
def _network_errors() -> Iterator[None]:
    """Faults of a mirror, told from those of the disk."""
    try:
        yield
    except urllib.error.HTTPError as error:
        kind = _Absent if error.code == http.HTTPStatus.NOT_FOUND else _Unusable
        raise kind(f"answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Unusable(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(str(error) or type(error).__name__) from None
