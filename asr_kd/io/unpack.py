"""Archives of files (.tar.gz) from elsewhere: nothing leaves the folder they are unpacked in."""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from asr_kd.errors import AsrKdError

_CHUNK = 1 << 20
_LONGEST_NAME = 255  # bytes, of the usual file systems
_LONGEST_PATH = 1024


def unpack(archive: Path, folder: Path, most_bytes: int, advance: Callable[[int], None]) -> None:
    """Unpacks a gzipped tar of plain files and folders, reading it once.

    The archive's own ideas of owners, permissions and times are not followed.

    Args:
        archive: the file.
        folder: made anew; on any error it is removed again.
        most_bytes: what all files may have together: a small archive can hold a disk of zeros.
        advance: is told of every so many bytes of the archive that were read.

    Raises:
        FileExistsError: if there is a folder already.
        AsrKdError: for a member that is no plain file or folder, that has a name outside the
            folder, comes twice or is too large; and for an archive that is damaged or cut off.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            read = 0

            def copied() -> None:
                nonlocal read
                advance(raw.tell() - read)
                read = raw.tell()

            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:
                _unpack_members(tar, archive, folder, most_bytes, copied)
            while stream.read(_CHUNK):  # gzip's own checksum stands at the very end
                pass
            copied()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        shutil.rmtree(folder)
        raise AsrKdError(f"{archive}: the archive is damaged or cut off: {error}") from None
    except BaseException:
        shutil.rmtree(folder)
        raise


def _unpack_members(
    tar: tarfile.TarFile,
    archive: Path,
    folder: Path,
    most_bytes: int,
    copied: Callable[[], None],
) -> None:
    left = most_bytes
    for member in tar:
        reason = _reason_against(member)
        path = folder / member.name
        if not reason and member.isfile():
            left -= member.size
            if left < 0:
                reason = f"all files together have more than {most_bytes} bytes"
            elif path.exists():
                reason = "comes twice"
        if reason:
            raise AsrKdError(
                f"{archive}: {member.name!a}: {reason}; the archive is not unpacked: it is "
                f"not what it should be"
            )
        try:
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            target = path.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise AsrKdError(f"{archive}: {member.name!a}: is both a file and a folder") from None
        source = tar.extractfile(member)
        assert source is not None, "a plain file"
        with target:
            shutil.copyfileobj(source, target, _CHUNK)
            if target.tell() != member.size:
                raise tarfile.ReadError("unexpected end of data")
        copied()


def _reason_against(member: tarfile.TarInfo) -> str | None:
    """Why a member is not unpacked."""
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        kinds = {
            tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link",
            tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe",
        }  # fmt: skip
        kind = kinds.get(member.type, f"something special (type {member.type!r})")
        return f"{kind}, expected a plain file or a folder"
    name = member.name
    if member.issparse() or member.size < 0:
        return "has holes, expected a plain file"
    if not name.isprintable() or "\\" in name or ":" in name:
        return "strange characters in the name"
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return "a place outside the folder"
    parts = [len(part.encode()) for part in PurePosixPath(name).parts]
    if sum(parts) > _LONGEST_PATH or max(parts, default=0) > _LONGEST_NAME:
        return "too long a name"
    return None
