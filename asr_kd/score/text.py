"""Words by utterance in Kaldi's `text` format, and speakers in its `utt2spk`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.table import write_table
from asr_kd.score.formats.read import read_transcript

Text = Mapping[str, Sequence[str]]
"""Utterance id → words."""


def read_text(path: Path) -> dict[str, list[str]]:
    """Reads a `text` file; an utterance id alone on its line has no words.

    Raises:
        InputError: duplicate ids and blank lines, with file and line.
    """
    return read_transcript(path, "kaldi").text


def write_text(path: Path, text: Text) -> None:
    """Writes a `text` file, sorted by utterance id, atomically."""
    write_table(path, {utt_id: " ".join(words) for utt_id, words in text.items()})


def read_utt2spk(path: Path, utt_ids: Mapping[str, object]) -> dict[str, str]:
    """Reads the speaker of each of `utt_ids`; the file may name others too.

    Raises:
        InputError: for faults of the table and every utterance without a speaker.
    """
    speakers = read_text(path)
    faults = [
        f"{path}: {utt_id}: expected one speaker, not {' '.join(words)!r}"
        for utt_id, words in speakers.items()
        if len(words) != 1
    ]
    faults += [f"{path}: {utt_id}: no speaker" for utt_id in sorted(utt_ids.keys() - speakers)]
    if faults:
        raise InputError(faults)
    return {utt_id: speakers[utt_id][0] for utt_id in utt_ids}
