"""Kaldi's binary archives of float matrices and int vectors, by kaldiio."""

import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import kaldiio
import numpy as np
from kaldiio.matio import read_ascii_mat, read_matrix_or_vector
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.table import read_table

# What kaldiio raises on damaged input, an `assert` among them.
_CORRUPT = (
    ValueError,
    OSError,
    RuntimeError,
    AssertionError,
    EOFError,
    OverflowError,
    MemoryError,
    LookupError,
    struct.error,
)
_INT_ELEMENT = np.dtype([("size", "i1"), ("value", "<i4")])


def _read_array(file: BinaryIO) -> NDArray[np.float32] | NDArray[np.int32]:
    """The matrix or int vector at the file's position."""
    start = file.tell()
    flag = file.read(3)
    file.seek(start)
    if flag == b"\0B\4":
        file.seek(3, os.SEEK_CUR)
        length = int(np.frombuffer(file.read(4), "<i4")[0])
        data = file.read(length * _INT_ELEMENT.itemsize) if length >= 0 else b""
        elements = np.frombuffer(data, _INT_ELEMENT)
        if len(elements) != length or (length and set(elements["size"].tolist()) != {4}):
            raise ValueError(f"int vector of {length} elements, {len(elements)} are there")
        return elements["value"].astype(np.int32)
    if flag[:2] == b"\0B":
        return np.asarray(read_matrix_or_vector(file))
    # kaldiio.load_mat would also read pickles, which run code: only numbers get past here.
    if flag.strip()[:1] == b"[":
        return np.asarray(read_ascii_mat(file), dtype=np.float32)
    raise ValueError(f"begins with {flag!r}, which is neither a binary nor a text matrix")


class ArkWriter:
    """Writes one archive; it appears under its name only when it is whole.

    Args:
        path: where the archive is written.
        published: the path that entries of `scp` name, when the archive will be moved there.

    Attributes:
        scp: utterance id → "archive:offset".
    """

    def __init__(self, path: Path, published: Path | None = None) -> None:
        self.path = Path(path)
        self.scp: dict[str, str] = {}
        self._published = Path(published or path).absolute()
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> "ArkWriter":
        """Opens the temporary file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = self._temporary.open("wb")
        return self

    def write(self, utt_id: str, array: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Appends a float32 matrix or an int32 vector.

        Raises:
            ValueError: for another type or number of dimensions, or an id used already.
        """
        if (array.dtype.name, array.ndim) not in (("float32", 2), ("int32", 1)):
            raise ValueError(f"{utt_id}: cannot archive {array.dtype} of shape {array.shape}")
        if utt_id in self.scp:
            raise ValueError(f"{utt_id}: written twice")
        start = self._file.tell()
        kaldiio.save_ark(self._file, {utt_id: np.ascontiguousarray(array)})
        # Kaldi's offsets point behind the key and its space.
        self.scp[utt_id] = f"{self._published}:{start + len(utt_id.encode()) + 1}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publishes the archive, or removes it if the block failed."""
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
            if kind is None:
                self._temporary.replace(self.path)
            else:
                self._temporary.unlink(missing_ok=True)


class Archive(Mapping[str, NDArray[np.float32] | NDArray[np.int32]]):
    """Random access to archives through an scp table, one array at a time.

    Args:
        entries: utterance id → "archive:offset" (or a file of one array).
        source: the table's path, for messages and for resolving relative archive paths.
    """

    def __init__(self, entries: Mapping[str, str], source: Path) -> None:
        self._entries = dict(entries)
        self._source = Path(source)
        self._open: dict[str, BinaryIO] = {}
        piped = [f"{source}: {utt}: {rx!r} is a pipe" for utt, rx in entries.items() if "|" in rx]
        if piped:
            raise InputError([*piped, "pipes are not run: copy the archive to a file first"])

    @classmethod
    def read(cls, scp: Path) -> "Archive":
        """Opens an scp table.

        Raises:
            InputError: for faults of the table, and for pipes, which are never run.
        """
        return cls(read_table(scp), scp)

    def __getitem__(self, utt_id: str) -> NDArray[np.float32] | NDArray[np.int32]:
        """The array of `utt_id`.

        Raises:
            InputError: naming the utterance and the archive if it cannot be read.
        """
        name, _, offset = self._entries[utt_id].rpartition(":")
        if not name or not offset.isdigit():
            name, offset = self._entries[utt_id], ""
        path = self._resolve(name)
        try:
            if path not in self._open:
                if len(self._open) >= 64:  # far below the usual limit on open files
                    self.close()
                self._open[path] = open(path, "rb")  # noqa: SIM115
            file = self._open[path]
            file.seek(int(offset or 0))
            return _read_array(file)
        except FileNotFoundError:
            raise InputError(f"{self._source}: {utt_id}: no such archive {path}") from None
        except _CORRUPT as error:
            reason = str(error) or type(error).__name__
            raise InputError(
                f"{path}: {utt_id}: corrupt or truncated archive at byte {offset or 0} ({reason}); "
                f"make it again"
            ) from error

    def _resolve(self, name: str) -> str:
        beside = self._source.parent / name
        return str(beside) if not os.path.exists(name) and beside.exists() else name

    def __iter__(self) -> Iterator[str]:
        """The utterance ids, in the table's order."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self._entries)

    def __contains__(self, utt_id: object) -> bool:
        """Whether the table names `utt_id`; reads no archive."""
        return utt_id in self._entries

    def close(self) -> None:
        """Closes all archives; they open again when needed."""
        for file in self._open.values():
            file.close()
        self._open.clear()


def archives_of(scp: Path) -> list[Path]:
    """The archives that a table names, by its own paths or beside it.

    Raises:
        InputError: for each that is missing.
    """
    names = {re.sub(r":\d+$", "", rxfile) for rxfile in read_table(scp).values()}
    paths = [Path(name) if Path(name).exists() else scp.parent / name for name in sorted(names)]
    missing = [f"{scp}: no such archive {path}" for path in paths if not path.is_file()]
    if missing:
        raise InputError(missing)
    return paths


def read_matrix(rxfile: str) -> NDArray[np.float32]:
    """Reads one matrix by its Kaldi name, "archive:offset" or a file.

    Raises:
        InputError: naming the file if it cannot be read, or if it is a pipe.
    """
    return np.asarray(Archive({"matrix": rxfile}, Path("."))["matrix"], dtype=np.float32)
