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


def mismatches(ref: Text, hyp: Text, ref_name: str, hyp_name: str) -> list[str]:
    """Faults of a pair that is not over the same utterances: missing and extra ids.

    An utterance that was not decoded is a fault; one decoded to no words is not (its words are
    deletions).
    """
    missing, extra = sorted(ref.keys() - hyp), sorted(hyp.keys() - ref)
    return [
        *(f"{hyp_name}: {utt_id}: no hypothesis (it is in {ref_name})" for utt_id in missing),
        *(f"{hyp_name}: {utt_id}: no reference (it is not in {ref_name})" for utt_id in extra),
    ]


def read_pair(ref_path: Path, hyp_path: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Reads reference and hypothesis of the same utterances.

    Raises:
        InputError: every duplicate, missing and extra utterance id of both files, or a reference
            without any utterance.
    """
    texts: list[dict[str, list[str]]] = []
    faults: list[str] = []
    for path in (ref_path, hyp_path):
        try:
            texts.append(read_text(path))
        except InputError as error:
            faults += error.faults
    if not faults:
        faults = mismatches(texts[0], texts[1], str(ref_path), str(hyp_path))
        if not texts[0]:
            faults.append(f"{ref_path}: no utterances")
    if faults:
        raise InputError(faults)
    return texts[0], texts[1]


def read_utt2spk(path: Path, utt_ids: Mapping[str, object]) -> dict[str, str]:
    """Reads the speaker of each of `utt_ids`; the file may name others too.

    Raises:
        InputError: for faults of the table and every utterance without a speaker.
    """
    speakers = read_text(path)
    faults = [
        f"{path}: {utt_id}: expected one speaker, not {' '.join(words) or 'none'!r}"
        for utt_id, words in speakers.items()
        if len(words) != 1
    ]
    faults += [f"{path}: {utt_id}: no speaker" for utt_id in sorted(utt_ids.keys() - speakers)]
    if faults:
        raise InputError(faults)
    return {utt_id: speakers[utt_id][0] for utt_id in utt_ids}
