"""Artefacts: directories that are published whole, know what made them, and are made once.

A stage works in a hidden sibling of its output and, when all is there, moves it into place in
one rename. A killed stage therefore leaves the former output as it was and its own work ready to
be taken up; a stage whose verb, configuration and inputs are those of the manifest is skipped.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr_kd import __version__
from asr_kd.errors import AsrKdError, InputError
from asr_kd.shards import rank_and_world

MANIFEST = "manifest.json"
_BEGUN = "begun.json"
_WAIT_SECONDS = 1800.0
_logger = logging.getLogger("asr_kd.artefact")


@dataclass(frozen=True)
class Manifest:
    """What made an artefact: the verb, its resolved configuration and the hashes of its inputs."""

    verb: str
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, str]
    info: dict[str, Any]
    version: str


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a JSON-able value, in hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_input(path: Path) -> str:
    """What identifies an input: an artefact's fingerprint, or the content of a file or folder.

    Of a folder that is no artefact the files at its top are hashed, not those below it.

    Raises:
        InputError: if there is nothing at `path`.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return read_manifest(path).fingerprint
    if path.is_dir():
        return hash_json({f.name: hash_file(f) for f in sorted(path.iterdir()) if f.is_file()})
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    return hash_file(path)


def read_manifest(path: Path, *verbs: str) -> Manifest:
    """Reads the manifest of a finished artefact.

    Args:
        path: the artefact's folder.
        verbs: one of them must have made it, where it matters.

    Raises:
        InputError: if `path` is not a finished artefact, or another verb's.
    """
    file = Path(path) / MANIFEST
    try:
        manifest = Manifest(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        wanted = _commands(verbs) if verbs else "an asr-kd command"
        raise InputError(f"{path}: not the finished output of {wanted}: no {MANIFEST}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: corrupt manifest ({error}); remove {path} and make it again") \
            from error  # fmt: skip
    if verbs and manifest.verb not in verbs:
        raise InputError(f"{path}: made by `asr-kd {manifest.verb}`, expected {_commands(verbs)}")
    return manifest


def _commands(verbs: Sequence[str]) -> str:
    return " or ".join(f"`asr-kd {verb}`" for verb in verbs)


class Artefact:
    """A directory in the making.

    Args:
        path: where it will stand.
        verb: the command that makes it.
        config: the resolved configuration, JSON-able.
        inputs: name → path of each input, or its hash as a string.

    Raises:
        InputError: if an input is not there, or is in the folder that would be replaced.

    Attributes:
        fingerprint: hash of verb, configuration and inputs.
        work: the hidden sibling in which the stage works. Files in it refer to one another by
            relative paths or by their final place under `path`.
    """

    def __init__(
        self,
        path: Path,
        verb: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path | str],
    ) -> None:
        self.path = Path(path).absolute()
        self.verb = verb
        self.config = dict(config)
        paths = [value for value in inputs.values() if isinstance(value, Path)]
        if missing := [p for p in paths if not p.exists()]:
            raise InputError([f"{p}: no such file or folder" for p in missing])
        self.inputs = {
            name: hash_input(value) if isinstance(value, Path) else value
            for name, value in inputs.items()
        }
        self.fingerprint = hash_json([verb, self.config, self.inputs])
        self.work = self.path.with_name(f".{self.path.name}.building")
        faults = [
            f"{value}: is read, and would be replaced by --out {path}; choose another --out"
            for value in inputs.values()
            if isinstance(value, Path) and value.resolve().is_relative_to(self.path.resolve())
        ]
        if faults:
            raise InputError(faults)

    def is_done(self) -> bool:
        """Whether the artefact stands already, made by the same verb, configuration and inputs."""
        if rank_and_world()[0] == 0:
            self._finish_publishing()
        done = self._stands()
        if done and rank_and_world()[0] == 0:
            _logger.info("%s is up to date", self.path)
        return done

    def _stands(self) -> bool:
        if not (self.path / MANIFEST).is_file():
            return False
        return read_manifest(self.path).fingerprint == self.fingerprint

    def begin(self) -> Path:
        """Makes the work folder, or takes up the one that a killed run of this stage left.

        Raises:
            InputError: if something else than a former output of this verb stands at `path`.
            AsrKdError: if the first process has not made the folder after half an hour.
        """
        begun = self.work / _BEGUN
        if rank_and_world()[0] != 0:
            deadline = time.monotonic() + _WAIT_SECONDS
            # Rank 0 may even have published, where earlier runs or other ranks did all the shards.
            while not (self._has_begun() or self._stands()):
                if time.monotonic() > deadline:
                    raise AsrKdError(f"{self.work}: process 0 has not begun; is its disk shared?")
                time.sleep(0.2)
            return self.work
        if self._is_occupied():
            raise InputError(
                f"{self.path}: stands already and is not the output of `asr-kd {self.verb}`; "
                f"choose another --out or move it away"
            )
        if self._has_begun():
            _logger.info("%s: going on where the last run stopped", self.path)
            return self.work
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        unfinished = begun.with_suffix(".tmp")
        unfinished.write_text(json.dumps({"fingerprint": self.fingerprint}), encoding="utf-8")
        unfinished.replace(begun)
        return self.work

    def _is_occupied(self) -> bool:
        if (self.path / MANIFEST).is_file():
            return read_manifest(self.path).verb != self.verb
        if self.path.is_dir():
            return any(self.path.iterdir())
        return self.path.exists()

    def _has_begun(self) -> bool:
        try:
            begun = json.loads((self.work / _BEGUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(begun.get("fingerprint") == self.fingerprint)

    def publish(self, info: Mapping[str, Any] | None = None) -> None:
        """Writes the manifest, then moves the work folder into place.

        Args:
            info: JSON-able results that belong to the artefact (counts, speeds, scores).
        """
        manifest = Manifest(
            self.verb, self.fingerprint, self.config, self.inputs, dict(info or {}), __version__
        )
        with (self.work / MANIFEST).open("w", encoding="utf-8") as file:
            json.dump(asdict(manifest), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        (self.work / _BEGUN).unlink()
        self._move_into_place()

    def _move_into_place(self) -> None:
        # Only now: a disk too full for the manifest must not cost the finished shards.
        shutil.rmtree(self.work / "shards", ignore_errors=True)
        former = self.path.with_name(f".{self.path.name}.former")
        if self.path.exists():
            shutil.rmtree(former, ignore_errors=True)
            self.path.rename(former)
        self.work.rename(self.path)
        shutil.rmtree(former, ignore_errors=True)

    def _finish_publishing(self) -> None:
        # Killed between the manifest and the last rename, a run leaves a whole work folder.
        if not (self.work / MANIFEST).is_file() or (self.work / _BEGUN).exists():
            return
        if read_manifest(self.work).fingerprint == self.fingerprint:
            self._move_into_place()
