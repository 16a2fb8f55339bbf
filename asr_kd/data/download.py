"""Corpora from the network: several parts at a time, each published whole and checked."""

import logging
import shutil
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from asr_kd.artefact import Artefact
from asr_kd.data.catalogue import CATALOGUE, Part
from asr_kd.data.fetch import Advance, Wanted, fetch, part_of, resolve, size_of
from asr_kd.errors import AsrKdError, InputError
from asr_kd.io.atomic import write_bytes
from asr_kd.io.unpack import unpack
from asr_kd.log import progress
from asr_kd.shards import rank_and_world

VERB = "download"
ALL = "all"
_UNPACKED = "unpacked"
# FLAC does not get smaller by gzip: an archive that grows more than this is none of LibriSpeech's.
_MOST_GROWTH = 4
_MORE = 1_000_000
_GB = 1e9
_documents = threading.Lock()  # every archive brings the same ones
_logger = logging.getLogger("asr_kd.data")


class _Stopped(Exception):
    """Ends a thread whose program was interrupted."""


@dataclass(frozen=True)
class _Task:
    """A part that is to be made, and its files as they must come."""

    part: Part
    artefact: Artefact
    mirrors: list[str]
    files: list[Wanted]

    @property
    def bytes_to_come(self) -> int:
        """What is still to be downloaded."""
        work = self.artefact.work
        if self.is_unpacked:
            return 0
        return sum(
            file.size - min(file.size, size_of(part_of(work, file.name)))
            for file in self.files
            if not (work / file.name).is_file()
        )

    @property
    def bytes_to_unpack(self) -> int:
        """Bytes of the archive that is still to be unpacked."""
        return self.files[0].size if self.part.unpacked and not self.is_unpacked else 0

    @property
    def is_unpacked(self) -> bool:
        """Whether nothing of the archive is needed any more: what it held stands in its place."""
        work = self.artefact.work
        if (work / _UNPACKED).is_dir():
            return True
        name = self.files[0].name
        is_coming = (work / name).exists() or part_of(work, name).exists()
        return self.part.unpacked and not is_coming and any(e.is_dir() for e in work.iterdir())


def download(
    name: str,
    out: Path,
    parts: Sequence[str] = (),
    mirrors: Sequence[str] = (),
    nj: int = 1,
    sums_of_mirror: bool = False,
) -> None:
    """Downloads parts of a corpus; the folder of each is published when it is whole and checked.

    Until then its files stand beside the folder's place, in a hidden one, what has come of a file
    in `FILE.part`; a run that was stopped goes on there. Archives are unpacked and not kept.

    Args:
        name: of the corpus.
        out: the folder. What is there of other parts stays.
        parts: which; may be left out where there is one only.
        mirrors: addresses that take the place of the known ones, tried in this order.
        nj: parts at a time.
        sums_of_mirror: whether the mirrors' own lists of checksums count, and not the known ones.

    Raises:
        InputError: for an unknown corpus or part, addresses that are not http or https, and a disk
            that is too small, before anything is fetched.
        AsrKdError: for each part that no mirror gives whole, with what they answered, and archives
            with anything in them that does not belong there; the others are finished first.
    """
    chosen = _choose(name, parts, mirrors, sums_of_mirror)
    if rank_and_world()[0] != 0:
        return
    tasks = []
    faults = []
    for part in chosen.values():
        content = {file.name: [file.size, file.md5] for file in part.files}
        artefact = Artefact(Path(out) / part.place, VERB, {"name": name, "files": content}, {})
        if artefact.is_done():
            continue
        addresses = [f"{url.rstrip('/')}/{part.folder}" for url in mirrors or part.mirrors]
        try:
            files = [resolve(file, addresses, sums_of_mirror) for file in part.files]
        except AsrKdError as error:
            faults.append(str(error))
            continue
        artefact.begin()
        tasks.append(_Task(part, artefact, addresses, files))
    if faults:
        raise AsrKdError("\n".join(faults))
    if tasks:
        _refuse_small_disk(Path(out), tasks)
        _make_all(name, tasks, nj)


def _choose(
    name: str, parts: Sequence[str], mirrors: Sequence[str], sums_of_mirror: bool
) -> Mapping[str, Part]:
    """The parts that are wanted; all faults of the question together."""
    known = CATALOGUE.get(name, {})
    faults = [
        f"--mirror {url}: expected an address that begins with http:// or https://"
        for url in mirrors
        if urllib.parse.urlsplit(url).scheme not in ("http", "https")
    ]
    if sums_of_mirror and not mirrors:
        faults.append("--sums-of-mirror: needs the --mirror whose checksums count")
    if not known:
        faults.append(f"{name}: no such download; there are {', '.join(sorted(CATALOGUE))}")
    listed = ", ".join(f"{p} ({_gigabytes(sum(f.size for f in known[p].files))})" for p in known)
    wanted = list(known) if ALL in parts or len(known) == 1 else list(dict.fromkeys(parts))
    unknown = [part for part in parts if part not in known and part != ALL]
    if known and (unknown or not wanted):
        faults += [f"--parts {part}: {name} has no such part" for part in unknown]
        faults.append(f"--parts takes {ALL}, or some of: {listed}")
    if faults:
        raise InputError(faults)
    chosen = {part: known[part] for part in wanted}
    if sums_of_mirror:
        for key, part in chosen.items():
            chosen[key] = replace(part, files=tuple(replace(f, md5=None) for f in part.files))
    return chosen


def _refuse_small_disk(out: Path, tasks: Sequence[_Task]) -> None:
    """An archive stands beside what it holds until that is whole."""
    needed = sum(task.bytes_to_come + task.bytes_to_unpack for task in tasks)
    free = shutil.disk_usage(tasks[0].artefact.work).free
    if needed > free:
        raise InputError(
            f"{out}: {_gigabytes(needed)} are needed and {_gigabytes(free)} are free; make room, "
            f"or take fewer parts at a time"
        )


def _make_all(name: str, tasks: Sequence[_Task], nj: int) -> None:
    stop = threading.Event()
    lock = threading.Lock()
    faults = []
    total = sum(task.bytes_to_come + task.bytes_to_unpack for task in tasks)
    with progress(total, name, "B") as show, ThreadPoolExecutor(nj) as pool:

        def advance(count: int) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                show(count)

        futures = [pool.submit(_make, task, advance) for task in tasks]
        try:
            for future in as_completed(futures):
                error = future.exception()
                if isinstance(error, AsrKdError):
                    faults.append(str(error))
                elif error is not None:
                    raise error
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if faults:
        raise AsrKdError("\n".join(faults))


def _make(task: _Task, advance: Advance) -> None:
    """Fetches, unpacks and publishes one part."""
    work = task.artefact.work
    if not task.is_unpacked:
        for file in task.files:
            if not (work / file.name).is_file():
                fetch(file, work, task.mirrors, advance)
        if task.part.unpacked:
            _unpack(task, advance)
    if task.part.unpacked:
        _arrange(task)
    task.artefact.publish({
        "bytes": sum(file.size for file in task.files),
        "md5": {file.name: file.md5 for file in task.files},
    })  # fmt: skip


def _unpack(task: _Task, advance: Advance) -> None:
    """Unpacks the archive whole or not at all; one that is refused goes, it would be again."""
    archive = task.artefact.work / task.files[0].name
    unfinished = task.artefact.work / f"{_UNPACKED}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unpack(archive, unfinished, _MOST_GROWTH * size_of(archive) + _MORE, advance)
        if not (unfinished / task.part.place).is_dir():
            shutil.rmtree(unfinished)
            raise AsrKdError(
                f"{archive}: has no folder {task.part.place}; it is not what it should be"
            )
    except AsrKdError:
        archive.unlink()
        raise
    unfinished.rename(task.artefact.work / _UNPACKED)


def _arrange(task: _Task) -> None:
    """Puts the archive's folder in the part's place, its documents beside that.

    In an order that lets a later run see how far a killed one has come.
    """
    work = task.artefact.work
    inside = work / _UNPACKED / task.part.place
    archive = work / task.files[0].name
    documents = [entry for entry in _entries(inside.parent) if entry.suffix == ".TXT"]
    with _documents:
        for document in documents:
            there = task.artefact.path.parent / document.name
            if not there.exists():
                write_bytes(there, document.read_bytes())
            elif there.read_bytes() != document.read_bytes():
                _logger.warning("%s: stands already, and is another than in %s; it stays",
                                there, archive.name)  # fmt: skip
    for entry in _entries(inside):
        entry.rename(work / entry.name)
    archive.unlink(missing_ok=True)
    shutil.rmtree(work / _UNPACKED, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _gigabytes(count: int) -> str:
    return f"{count / _GB:.3g} GB"
