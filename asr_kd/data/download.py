"""Corpora from the network: downloads that resume, and that are published whole and checked."""

import hashlib
import http.client
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from asr_kd import __version__
from asr_kd.artefact import Artefact
from asr_kd.errors import AsrKdError, InputError
from asr_kd.log import progress
from asr_kd.shards import rank_and_world

VERB = "download"
_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_logger = logging.getLogger("asr_kd.data")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a collection.

    Attributes:
        name: its name in the published folder, and behind a mirror's address.
        size: bytes.
        md5: its MD5 in hexadecimal, what corpora publish; against damage, not against malice.
    """

    name: str
    size: int
    md5: str


@dataclass(frozen=True)
class Collection:
    """Files that stand together on each of several mirrors, whose addresses end in a slash."""

    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]


COLLECTIONS: dict[str, Collection] = {
    "mnist": Collection(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files=(
            RemoteFile("train-images-idx3-ubyte.gz", 9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            RemoteFile("train-labels-idx1-ubyte.gz", 28881, "d53e105ee54ea40749a09fcbcd1e9432"),
            RemoteFile("t10k-images-idx3-ubyte.gz", 1648877, "9fb629c4189551a2d022fa330f9573f3"),
            RemoteFile("t10k-labels-idx1-ubyte.gz", 4542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
    ),
}
"""Name → what is downloaded."""


class _Unusable(Exception):
    """Why a mirror does not give a file; the next one may."""


def download(name: str, out: Path, mirrors: Sequence[str] = ()) -> None:
    """Downloads a collection and publishes its folder when all of it is there and checked.

    Until then they stand beside the folder's place, in a hidden one, what has come of a file in
    `FILE.part`; a run that was stopped goes on there.

    Args:
        name: of the collection.
        out: the folder.
        mirrors: addresses that take the place of the known ones, tried in this order.

    Raises:
        InputError: for an unknown collection and addresses that are not http or https, together.
        AsrKdError: if no mirror gives a file whole; with what each of them answered.
    """
    collection = COLLECTIONS.get(name)
    faults = [
        f"--mirror {url}: expected an address that begins with http:// or https://"
        for url in mirrors
        if urllib.parse.urlsplit(url).scheme not in ("http", "https")
    ]
    if collection is None:
        faults.append(f"{name}: no such download; there are {', '.join(sorted(COLLECTIONS))}")
    if faults or collection is None:
        raise InputError(faults)
    content = {file.name: [file.size, file.md5] for file in collection.files}
    artefact = Artefact(out, VERB, {"name": name, "files": content}, {})
    if artefact.is_done():
        return
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    addresses = [f"{url.rstrip('/')}/" for url in mirrors or collection.mirrors]
    for file in collection.files:
        if not (work / file.name).is_file():
            _fetch(file, work, addresses)
    artefact.publish({"bytes": sum(file.size for file in collection.files)})


def _fetch(file: RemoteFile, work: Path, mirrors: Sequence[str]) -> None:
    """Makes `work/file.name` from the first mirror that gives it whole."""
    part = work / f"{file.name}.part"
    reasons = []
    for mirror in mirrors:
        url = mirror + urllib.parse.quote(file.name)
        try:
            _fetch_from(url, file, part)
        except _Unusable as reason:
            reasons.append(f"{url}: {reason}")
            if len(reasons) < len(mirrors):
                _logger.warning("%s; trying the next mirror", reasons[-1])
            continue
        part.replace(work / file.name)
        _logger.info("%s: %d bytes, checked", file.name, file.size)
        return
    raise AsrKdError("\n".join([
        f"{file.name}: no mirror gives it; nothing is published", *reasons,
        "run again to go on with what has come; --mirror URL names another place",
    ]))  # fmt: skip


def _fetch_from(url: str, file: RemoteFile, part: Path) -> None:
    """Fills `part` from one mirror, as often as that brings more of it, and checks it."""
    may_be_mixed = _size(part) > 0
    while True:
        before = _size(part)
        reason = _Unusable("the connection ends before the file does")
        if before < file.size:
            try:
                _transfer(url, file, part)
            except _Unusable as error:
                reason = error
        if _size(part) < file.size:
            if _size(part) <= before:
                raise reason
            _logger.warning("%s: %s; going on at byte %d", url, reason, _size(part))
            time.sleep(_PAUSE_SECONDS)
            continue
        with part.open("rb") as stream:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        if md5.hexdigest() == file.md5 and _size(part) == file.size:
            return
        part.unlink()
        # The beginning may have come from a worse mirror, or of a file that has changed since.
        if not may_be_mixed:
            raise _Unusable(
                f"wrong checksum: MD5 {md5.hexdigest()}, expected {file.md5}; what came is "
                f"thrown away"
            )
        may_be_mixed = False


def _transfer(url: str, file: RemoteFile, part: Path) -> None:
    """One connection's worth of the file, appended to what has come.

    Of a server that knows no ranges the beginning is passed over: it may be cut again before the
    end of what stands already.
    """
    start = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": f"asr_kd/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with _network_errors():
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    passed_over = 0
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            passed_over = start  # the server knows no ranges and sends it all
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _Unusable("answers with another range than was asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and (whole := start - passed_over + int(length)) != file.size:
            raise _Unusable(f"has {whole} bytes, expected {file.size}")
        left = file.size - start
        with part.open("ab") as stream, progress(left, file.name, "B") as advance:
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


@contextmanager
def _network_errors() -> Iterator[None]:
    """Faults of a mirror, told from those of the disk."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise _Unusable(f"answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Unusable(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(str(error) or type(error).__name__) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
