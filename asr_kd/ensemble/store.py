"""The soft-target store: a folder of memory-mapped shards with one averaged distribution a frame.

`targets.json` is the header: what has to agree with a student, and the size and checksum of each
shard. `index.txt` says where each utterance is. A shard `targets.K.bin` holds the arrays of its
codec one after the other, each for all its utterances and from a multiple of 8 bytes on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic
from numpy.typing import NDArray

from asr_kd.artefact import hash_file
from asr_kd.config import Config
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.codec import Arrays, Codec, Keep, make_codec
from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_bytes, write_text
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.label_set import LabelSet

HEADER = "targets.json"
INDEX = "index.txt"
_ALIGNMENT = 8


class TeacherId(Config):
    """A teacher, and what identifies its posteriors."""

    name: str
    digest: str
    unnormalised: Literal["softmax"] | None = None  # what made scores posteriors


class Shard(Config):
    """One file of a store."""

    file: str
    num_frames: int
    num_entries: int
    num_bytes: int
    sha256: str


class Header(Config):
    """What a store's distributions are, and its shards.

    Attributes:
        temperature: T at which the mean was formed.
        mean: arithmetic or geometric.
        weights, teachers: share of each teacher (they add up to 1), and its name and digest.
        label_set, num_labels: digest of the label set, and V.
        keep: the rule of what is kept, as `Keep.parse` reads it.
        frame_shift_ms: between two frames, where it is known.
        cross_fit: whether the mean of an utterance leaves out the teachers trained on it.
        shards: the files.
    """

    format: Literal["asr_kd.targets/1"] = "asr_kd.targets/1"
    temperature: float
    mean: Mean
    weights: tuple[float, ...]
    teachers: tuple[TeacherId, ...]
    label_set: str
    num_labels: int
    keep: str
    frame_shift_ms: float | None = None
    cross_fit: bool = False
    shards: tuple[Shard, ...] = ()

    @property
    def codec(self) -> Codec:
        """What reads and writes the shards."""
        return make_codec(Keep.parse(self.keep), self.num_labels)


class Place(NamedTuple):
    """Where an utterance is."""

    shard: int
    frame: int
    num_frames: int
    entry: int
    num_entries: int

    def require_inside(self, shard: Shard) -> None:
        """Raises ValueError if the shard ends before."""
        frames, entries = self.frame + self.num_frames, self.entry + self.num_entries
        if min(self) < 0 or frames > shard.num_frames or entries > shard.num_entries:
            raise ValueError


class TargetStore(Mapping[str, SoftTargets]):
    """Random access to a store by utterance id; make it by `open`.

    Attributes:
        path: the folder.
        header: what its distributions are.
    """

    def __init__(self, path: Path, header: Header, places: Mapping[str, Place]) -> None:
        self.path = path
        self.header = header
        self._places = places
        self._codec = header.codec
        self._fields = self._codec.fields
        self._maps: dict[int, Arrays] = {}

    @classmethod
    def open(cls, path: Path, verify: bool = False) -> "TargetStore":
        """Opens a store; no distribution is read yet.

        Args:
            path: the folder.
            verify: compare every shard with its checksum; sizes are always looked at.

        Raises:
            InputError: if it is not a store, or naming every shard that is corrupt.
        """
        path = Path(path)
        header = _read_header(path)
        faults = [fault for shard in header.shards for fault in _shard_faults(path, shard, verify)]
        if faults:
            raise InputError([*faults, f"remove {path} and run dump-targets again"])
        places = {}
        for utt_id, line in read_table(path / INDEX).items():
            try:
                places[utt_id] = place = Place(*map(int, line.split()))
                place.require_inside(header.shards[place.shard])
            except (ValueError, TypeError, IndexError):
                raise InputError(
                    f"{path / INDEX}: {utt_id}: {line!r} is no place in the shards; remove {path} "
                    f"and run dump-targets again"
                ) from None
        return cls(path, header, places)

    def require(self, temperature: float, label_set: LabelSet, mean: Mean | None = None) -> None:
        """Refuses to serve a student of another configuration.

        Raises:
            InputError: with both values of everything that differs.
        """
        header = self.header
        faults = []
        if temperature != header.temperature:
            faults.append(
                f"{self.path}: targets were formed at temperature {header.temperature:g}, the "
                f"student is configured for {temperature:g}"
            )
        if mean not in (None, header.mean):
            faults.append(f"{self.path}: the mean is {header.mean}, the student expects {mean}")
        if label_set.digest != header.label_set:
            faults.append(
                f"{self.path}: targets over {header.num_labels} labels (digest "
                f"{header.label_set[:12]}), the student's label set has {len(label_set)} "
                f"({label_set.digest[:12]})"
            )
        if faults:
            raise InputError(faults)

    def num_frames(self, utt_id: str) -> int:
        """T of an utterance; nothing is read."""
        return self._places[utt_id].num_frames

    def __getitem__(self, utt_id: str) -> SoftTargets:
        """Targets of one utterance."""
        return self.batch([utt_id])

    def batch(self, utt_ids: Sequence[str]) -> SoftTargets:
        """Targets of several utterances, one after the other in the order given.

        Raises:
            InputError: naming the utterances that are not here.
        """
        missing = [utt for utt in utt_ids if utt not in self._places]
        if missing:
            raise InputError([f"{self.path}: no targets of {utt}" for utt in missing])
        parts: list[Arrays] = []
        for utt in utt_ids:
            place = self._places[utt]
            frames = slice(place.frame, place.frame + place.num_frames)
            entries = slice(place.entry, place.entry + place.num_entries)
            arrays = self._shard(place.shard)
            parts.append(
                {f.name: arrays[f.name][frames if f.per_frame else entries] for f in self._fields}
            )
        return self._codec.decode(
            {f.name: np.concatenate([part[f.name] for part in parts]) for f in self._fields}
        )

    @property
    def num_bytes(self) -> int:
        """Of all shards, without header and index."""
        return sum(shard.num_bytes for shard in self.header.shards)

    def _shard(self, number: int) -> Arrays:
        if number not in self._maps:
            shard = self.header.shards[number]
            data: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)  # a file to map is not empty
            if shard.num_bytes:
                data = np.memmap(self.path / shard.file, dtype=np.uint8, mode="r")
            arrays, start = {}, 0
            for field in self._fields:
                length = shard.num_frames if field.per_frame else shard.num_entries
                end = start + length * field.dtype.itemsize
                arrays[field.name] = np.asarray(data[start:end]).view(field.dtype)
                start = end + -end % _ALIGNMENT
            self._maps[number] = arrays
        return self._maps[number]

    def __iter__(self) -> Iterator[str]:
        """Utterance ids in order."""
        return iter(self._places)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self._places)

    def __contains__(self, utt_id: object) -> bool:
        """Whether there are targets of `utt_id`; nothing is read."""
        return utt_id in self._places


class ShardWriter:
    """Collects the utterances of one shard, then writes it.

    Args:
        codec: of the store.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._arrays: list[Arrays] = []
        self._lengths: dict[str, tuple[int, int]] = {}

    def add(self, utt_id: str, num_frames: int, arrays: Arrays) -> None:
        """Appends the encoded frames of an utterance."""
        entries = next(len(arrays[f.name]) for f in self._codec.fields if not f.per_frame)
        self._arrays.append(arrays)
        self._lengths[utt_id] = (num_frames, entries)

    def write(self, path: Path) -> dict[str, Any]:
        """Writes the file atomically; returns JSON-able facts for `write_header`."""
        data = bytearray()
        for field in self._codec.fields:
            data += b"".join(arrays[field.name].tobytes() for arrays in self._arrays)
            data += bytes(-len(data) % _ALIGNMENT)
        write_bytes(path, bytes(data))
        shard = Shard(
            file=path.name,
            num_frames=sum(frames for frames, _ in self._lengths.values()),
            num_entries=sum(entries for _, entries in self._lengths.values()),
            num_bytes=len(data),
            sha256=hash_file(path),
        )
        return {"shard": shard.model_dump(), "lengths": self._lengths}


def write_header(path: Path, header: Header, facts: Sequence[Mapping[str, Any]]) -> None:
    """Writes index and header over the shards that `ShardWriter.write` told of, in their order."""
    places = {}
    for number, fact in enumerate(facts):
        frame = entry = 0
        for utt_id, (num_frames, num_entries) in fact["lengths"].items():
            place = Place(number, frame, num_frames, entry, num_entries)
            places[utt_id] = " ".join(map(str, place))
            frame, entry = frame + num_frames, entry + num_entries
    write_table(path / INDEX, places)
    shards = tuple(Shard.model_validate(fact["shard"]) for fact in facts)
    full = header.model_copy(update={"shards": shards})
    write_text(path / HEADER, full.model_dump_json(indent=1) + "\n")


def _read_header(path: Path) -> Header:
    try:
        return Header.model_validate(json.loads((path / HEADER).read_text(encoding="utf-8")))
    except FileNotFoundError:
        several = sorted(str(file.parent) for file in path.glob(f"*/{HEADER}"))
        hint = f"; choose one of {', '.join(several)}" if several else ""
        raise InputError(f"{path}: not a soft-target store: no {HEADER}{hint}") from None
    except pydantic.ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError([f"{path / HEADER}: {fault}" for fault in faults]) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path / HEADER}: cannot be read: {error}") from error


def _shard_faults(path: Path, shard: Shard, verify: bool) -> Iterator[str]:
    file = path / shard.file
    if not file.is_file():
        yield f"{file}: missing shard"
    elif (size := file.stat().st_size) != shard.num_bytes:
        yield f"{file}: corrupt shard: {size} bytes, expected {shard.num_bytes}"
    elif verify and (digest := hash_file(file)) != shard.sha256:
        yield f"{file}: corrupt shard: checksum {digest[:12]}, expected {shard.sha256[:12]}"
