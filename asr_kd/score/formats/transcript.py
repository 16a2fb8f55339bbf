"""What every format is read into."""

from dataclasses import dataclass


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
