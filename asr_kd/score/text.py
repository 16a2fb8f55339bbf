"""Reference and hypothesis in Kaldi's `text` format, joined by utterance id without mercy."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.table import read_table, write_table

Text = Mapping[str, Sequence[str]]
"""Utterance id → words."""

NORMALISER = "none: words are compared as they stand, cut at white space"
"""What is done to the words before they are compared; every report says it."""


def read_text(path: Path) -> dict[str, list[str]]:
    """Reads a `text` file; an utterance id alone on its line has no words.

    Raises:
        InputError: duplicate ids and blank lines, with file and line.
    """
    return {utt_id: words.split() for utt_id, words in read_table(path, allow_empty=True).items()}


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
    utt2spk = read_table(path)
    if missing := sorted(utt_ids.keys() - utt2spk):
        raise InputError([f"{path}: {utt_id}: no speaker" for utt_id in missing])
    return {utt_id: utt2spk[utt_id] for utt_id in utt_ids}
