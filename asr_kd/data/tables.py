"""The files of a Kaldi data directory, and the faults that can be seen in them alone and together.

What is looked for is what Kaldi users know from utils/validate_data_dir.sh; every fault names
file, line and id, and all are listed. Sound and features are not opened here.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asr_kd.io.audio import is_pipe
from asr_kd.io.table import scan_table

FILES = {
    "wav": "wav.scp",
    "segments": "segments",
    "text": "text",
    "speed": "utt2speed",
    "utt2spk": "utt2spk",
    "spk2utt": "spk2utt",
    "feats": "feats.scp",
    "cmvn": "cmvn.scp",
    "num_frames": "utt2num_frames",
}
"""Name in the program → file."""


SPEEDS = (0.5, 2.0)
"""The slowest and the fastest that sound can be played."""


class Segment(NamedTuple):
    """A stretch of a recording, in seconds."""

    recording: str
    start: float
    end: float


@dataclass(frozen=True)
class Table:
    """One file: values and line numbers by id."""

    path: Path
    values: dict[str, str]
    lines: dict[str, int]

    def at(self, key: str) -> str:
        """The place of an id, to begin a message with."""
        return f"{self.path}:{self.lines[key]}: {key}"


def read_tables(path: Path) -> tuple[dict[str, Table], list[str]]:
    """Reads the files that are there.

    Returns:
        The tables by their name in `FILES`, and the faults of each alone: duplicate ids, lines
        without value, lines out of order, white space that Kaldi does not understand.
    """
    path = Path(path)
    if not path.is_dir():
        return {}, [f"{path}: no such folder; expected a Kaldi data directory"]
    tables: dict[str, Table] = {}
    faults: list[str] = []
    for name, file in FILES.items():
        if not (path / file).exists():
            continue
        scan = scan_table(path / file, allow_empty=name == "text")
        tables[name] = Table(path / file, scan.values, scan.lines)
        faults += scan.faults
        faults += _bad_white_space(path / file)
        faults += _out_of_order(tables[name])
    return tables, faults


def structure_faults(
    path: Path, tables: Mapping[str, Table], require: Sequence[str], allow_pipes: bool
) -> list[str]:
    """Faults of the tables together: missing files, ids that do not agree, bad values.

    Args:
        path: the data directory, for messages.
        tables: what `read_tables` returned.
        require: names in `FILES` of the tables that must be there.
        allow_pipes: whether commands in wav.scp are accepted.
    """
    faults = [f"{path / FILES[name]}: no such file" for name in require if name not in tables]
    if "utt2spk" in tables:
        utt2spk = tables["utt2spk"]
        if not utt2spk.values:
            faults.append(f"{utt2spk.path}: no utterances")
        faults += [
            f"{utt2spk.at(utt)}: expected one speaker, not {speaker!r}"
            for utt, speaker in utt2spk.values.items()
            if len(speaker.split()) > 1
        ]
        whole = "wav" if "segments" not in tables else "segments"
        for name in (whole, "text", "speed", "feats", "num_frames"):
            if name in tables:
                faults += _other_ids(tables[name], utt2spk.values, utt2spk.path)
        if "cmvn" in tables:
            faults += _other_ids(tables["cmvn"], set(utt2spk.values.values()), utt2spk.path)
        if "spk2utt" in tables:
            faults += _unlike(tables["spk2utt"], utt2spk)
    if "segments" in tables:
        faults += _segment_faults(tables["segments"], tables.get("wav"))
    if "speed" in tables:
        faults += [
            f"{tables['speed'].at(utt)}: {BAD_SPEED}, not {value!r}"
            for utt, value in tables["speed"].values.items()
            if parse_speed(value) is None
        ]
    if "num_frames" in tables:
        faults += [
            f"{tables['num_frames'].at(utt)}: expected a positive whole number, not {value!r}"
            for utt, value in tables["num_frames"].values.items()
            if not value.isascii() or not value.isdigit() or int(value) == 0
        ]
    for name in ("wav", "feats", "cmvn"):
        if name in tables and not (name == "wav" and allow_pipes):
            faults += _pipes(tables[name], name)
    return faults


def parse_segment(value: str) -> Segment | None:
    """Reads `recording start end`; None where it is malformed, negative or empty."""
    parts = value.split()
    try:
        segment = Segment(parts[0], float(parts[1]), float(parts[2]))
    except (IndexError, ValueError):
        return None
    sound = len(parts) == 3 and math.isfinite(segment.end) and 0 <= segment.start < segment.end
    return segment if sound else None


BAD_SPEED = (
    f"expected a speed from {SPEEDS[0]:g} to {SPEEDS[1]:g} of at most three decimals, like 0.9"
)
"""What is said of a speed that `parse_speed` does not take."""


def parse_speed(value: str) -> float | None:
    """Reads how fast sound is played; None where that is no speed of `SPEEDS`.

    Three decimals keep the ratio of the sample rates simple, which the filter's size hangs on.
    """
    if not re.fullmatch(r"\d(\.\d{1,3})?", value, re.ASCII):
        return None
    return float(value) if SPEEDS[0] <= float(value) <= SPEEDS[1] else None


def _bad_white_space(path: Path) -> Iterator[str]:
    # What cannot be decoded is a fault already.
    text = path.read_bytes().decode(errors="ignore")
    for number, line in enumerate(text.split("\n"), start=1):
        if line[:1] in (" ", "\t") and line.strip():
            yield f"{path}:{number}: begins with white space; expected an id"
        strange = sorted({c for c in line if c.isspace() and c not in " \t"})
        if strange:
            names = ", ".join(f"U+{ord(c):04X}" for c in strange)
            yield f"{path}:{number}: white space other than blank and tab ({names})"


def _out_of_order(table: Table) -> Iterator[str]:
    former = ""
    for key in table.values:
        if key.encode() < former.encode():
            yield f"{table.at(key)}: out of order: stands behind {former}; sort with LC_ALL=C sort"
        former = key


def _other_ids(table: Table, ids: Mapping[str, str] | set[str], source: Path) -> Iterator[str]:
    for key in table.values:
        if key not in ids:
            yield f"{table.at(key)}: not in {source}"
    for key in sorted(ids):
        if key not in table.values:
            yield f"{table.path}: {key}: missing; it is in {source}"


def _unlike(spk2utt: Table, utt2spk: Table) -> Iterator[str]:
    listed: dict[str, str] = {}
    for speaker, utterances in spk2utt.values.items():
        for utt in utterances.split():
            if utt in listed:
                yield f"{spk2utt.at(speaker)}: {utt} is listed twice"
            listed[utt] = speaker
            if utt not in utt2spk.values:
                yield f"{spk2utt.at(speaker)}: {utt}: not in {utt2spk.path}"
            elif utt2spk.values[utt] != speaker:
                yield f"{spk2utt.at(speaker)}: {utt} is of {utt2spk.values[utt]} in {utt2spk.path}"
    for utt in utt2spk.values:
        if utt not in listed:
            yield f"{spk2utt.path}: {utt}: missing; it is in {utt2spk.path}"


def _segment_faults(segments: Table, wav: Table | None) -> Iterator[str]:
    for utt, value in segments.values.items():
        segment = parse_segment(value)
        if segment is None:
            yield (
                f"{segments.at(utt)}: expected `recording start end` in seconds with "
                f"0 <= start < end, not {value!r}"
            )
        elif wav is not None and segment.recording not in wav.values:
            yield f"{segments.at(utt)}: recording {segment.recording} is not in {wav.path}"


def _pipes(table: Table, name: str) -> Iterator[str]:
    advice = "pass --allow-pipes to run it" if name == "wav" else "copy the archive to a file"
    for key, value in table.values.items():
        if is_pipe(value) or value.startswith("|") or (name != "wav" and "|" in value):
            yield f"{table.at(key)}: {value!r} is a pipe; {advice}"
