"""What every format is read into."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Transcript:
    """The words of one file.

    Attributes:
        text: utterance id → words, in the order of the file.
        utt2spk: speaker of each utterance, where the format says it (stm, CSV, JSON lines).
        source: the file and its format, as errors name them.
    """

    text: dict[str, list[str]]
    utt2spk: dict[str, str] | None
    source: str


@dataclass
class Draft:
    """A transcript in the making, with the faults found so far.

    Attributes:
        path: the file, for the faults.
        text: utterance id → words.
        utt2spk: utterance id → speaker.
        lines: utterance id → its line.
        faults: one line each.
    """

    path: Path
    text: dict[str, list[str]] = field(default_factory=dict)
    utt2spk: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def fault(self, number: int, message: str) -> None:
        """Notes a fault of a line."""
        self.faults.append(f"{self.path}:{number}: {message}")

    def add(self, number: int, utt_id: str, words: list[str], speaker: str | None = None) -> None:
        """Notes an utterance; an id that cannot be one, or stands already, is a fault."""
        if not utt_id:
            self.fault(number, "an empty utterance id")
        elif utt_id.split() != [utt_id]:
            self.fault(number, f"utterance id {utt_id!r} holds white space; ids are single words")
        elif utt_id in self.lines:
            self.fault(number, f"{utt_id} stands already in line {self.lines[utt_id]}")
        else:
            self.lines[utt_id], self.text[utt_id] = number, words
            if speaker:
                self.utt2spk[utt_id] = speaker
