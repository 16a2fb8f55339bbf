"""Kaldi data directories: a set of utterances, joined by utterance id."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr_kd.data.tables import FILES, Segment, Table, parse_segment, read_tables, structure_faults
from asr_kd.errors import InputError
from asr_kd.io.audio import is_pipe
from asr_kd.io.table import write_table


@dataclass(frozen=True)
class DataDir:
    """The utterances of a data directory.

    Attributes:
        path: where it stands (or will).
        utt2spk: utterance id → speaker id; it says which utterances there are.
        wav: recording id → file (or a pipe); a recording is an utterance where `segments` is empty.
        segments: utterance id → stretch of a recording.
        text: utterance id → words, as written.
        feats: utterance id → matrix in an archive.
        cmvn: speaker id → statistics in an archive.
        num_frames: utterance id → T.
        speed: utterance id → how fast its sound is played: 0.9 makes it 10/9 as long and lower.
            The file utt2speed is ours, Kaldi has pipes instead; without it all are 1.
    """

    path: Path
    utt2spk: Mapping[str, str]
    wav: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    text: Mapping[str, str] = field(default_factory=dict)
    feats: Mapping[str, str] = field(default_factory=dict)
    cmvn: Mapping[str, str] = field(default_factory=dict)
    num_frames: Mapping[str, int] = field(default_factory=dict)
    speed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(
        cls, path: Path, require: Sequence[str] = ("utt2spk",), allow_pipes: bool = False
    ) -> "DataDir":
        """Reads a data directory.

        A relative file name in wav.scp counts from the working directory, as in Kaldi, or where
        nothing is there, from the data directory.

        Args:
            path: the folder.
            require: tables that must be there, by their attribute's name.
            allow_pipes: whether commands in wav.scp are accepted; nothing is run here.

        Raises:
            InputError: with every fault of the tables, and the required sound files that are
                missing.
        """
        path = Path(path)
        tables, faults = read_tables(path)
        faults += structure_faults(path, tables, ("utt2spk", *require), allow_pipes)
        if "wav" in require and "wav" in tables:
            faults += missing_audio(tables["wav"])
        if faults:
            raise InputError(faults)
        values = {name: table.values for name, table in tables.items()}
        return cls(
            path,
            utt2spk=values["utt2spk"],
            wav={k: resolve(path, v) for k, v in values.get("wav", {}).items()},
            segments={k: _parsed(v) for k, v in values.get("segments", {}).items()},
            text=values.get("text", {}),
            speed={k: float(v) for k, v in values.get("speed", {}).items()},
            feats=values.get("feats", {}),
            cmvn=values.get("cmvn", {}),
            num_frames={k: int(v) for k, v in values.get("num_frames", {}).items()},
        )

    @property
    def utt_ids(self) -> list[str]:
        """All utterance ids, in the order of `LC_ALL=C sort`."""
        return sorted(self.utt2spk, key=str.encode)

    @property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker id → its utterance ids, both in order."""
        spk2utt: dict[str, list[str]] = {
            speaker: [] for speaker in sorted(set(self.utt2spk.values()), key=str.encode)
        }
        for utt_id in self.utt_ids:
            spk2utt[self.utt2spk[utt_id]].append(utt_id)
        return spk2utt

    def original(self, name: str, utt_id: str) -> str:
        """The name, of an utterance or of its speaker, without the mark of its speed."""
        return name.removeprefix(speed_mark(self.speed.get(utt_id, 1.0)))

    def audio(self, utt_id: str) -> tuple[str, float, float | None]:
        """Where an utterance's sound is: the first arguments of `read_audio`."""
        if not self.segments:
            return self.wav[utt_id], 0.0, None
        segment = self.segments[utt_id]
        return self.wav[segment.recording], segment.start, segment.end

    def subset(self, utt_ids: Iterable[str]) -> "DataDir":
        """The same directory with some of its utterances, their recordings and speakers.

        Raises:
            InputError: for every id that is not here.
        """
        kept = list(utt_ids)
        if unknown := [utt_id for utt_id in kept if utt_id not in self.utt2spk]:
            raise InputError([f"{self.path}: {utt_id}: no such utterance" for utt_id in unknown])
        utt2spk = {utt_id: self.utt2spk[utt_id] for utt_id in kept}
        segments = {utt_id: self.segments[utt_id] for utt_id in kept if self.segments}
        recordings = {s.recording for s in segments.values()} if segments else set(kept)
        return replace(
            self,
            utt2spk=utt2spk,
            wav={key: value for key, value in self.wav.items() if key in recordings},
            segments=segments,
            text={utt_id: self.text[utt_id] for utt_id in kept if self.text},
            speed={utt_id: self.speed[utt_id] for utt_id in kept if self.speed},
            feats={utt_id: self.feats[utt_id] for utt_id in kept if self.feats},
            cmvn={s: self.cmvn[s] for s in set(utt2spk.values()) if self.cmvn},
            num_frames={utt_id: self.num_frames[utt_id] for utt_id in kept if self.num_frames},
        )

    def write(self, path: Path) -> None:
        """Writes the tables that hold anything, and spk2utt, into a folder, sorted."""
        segments = {
            k: f"{s.recording} {float(s.start)!r} {float(s.end)!r}"
            for k, s in self.segments.items()
        }
        tables: dict[str, Mapping[str, str]] = {
            "wav": self.wav,
            "segments": segments,
            "text": self.text,
            "utt2spk": self.utt2spk,
            "speed": {utt_id: f"{speed:g}" for utt_id, speed in self.speed.items()},
            "spk2utt": {speaker: " ".join(utts) for speaker, utts in self.spk2utt.items()},
            "feats": self.feats,
            "cmvn": self.cmvn,
            "num_frames": {utt_id: str(n) for utt_id, n in self.num_frames.items()},
        }
        for name, table in tables.items():
            if table:
                write_table(Path(path) / FILES[name], table)


def speed_mark(speed: float) -> str:
    """What stands before the ids of utterances and speakers of a speed: `sp0.9-`, as in Kaldi."""
    return "" if speed == 1 else f"sp{speed:g}-"


def resolve(folder: Path, name: str) -> str:
    """A file named in a table: as it stands, or beside the table where only that is there."""
    if is_pipe(name) or Path(name).exists() or not (folder / name).exists():
        return name
    return str(folder / name)


def missing_audio(wav: Table) -> list[str]:
    """Faults of wav.scp: files that are not there; pipes are not looked at."""
    return [
        f"{wav.at(key)}: no such file {value}"
        for key, value in wav.values.items()
        if not is_pipe(value) and not Path(resolve(wav.path.parent, value)).is_file()
    ]


def _parsed(value: str) -> Segment:
    segment = parse_segment(value)
    assert segment is not None, "malformed segments are faults"
    return segment


def require_no_ids(text: Path) -> None:
    """Refuses transcripts of a data directory where sentences alone are wanted.

    Raises:
        InputError: with how to make them.
    """
    if text.name == "text" and (text.parent / "utt2spk").is_file():
        raise InputError(
            f"{text}: its lines begin with utterance ids; expected sentences alone: "
            f"cut -d' ' -f2- {text}"
        )
