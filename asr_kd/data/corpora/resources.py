"""What stands beside the sets of a prepared corpus: the pronunciation dictionary and the LM text.

`dict/` is laid out as Kaldi's prepare_lang.sh wants it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr_kd.io.atomic import write_text

SETS = ("train", "dev", "test")
SILENCE = "SIL"
UNKNOWN_WORD = "<UNK>"

DIGITS: dict[str, tuple[str, ...]] = {
    "ZERO": ("Z IH R OW", "Z IY R OW"),
    "ONE": ("W AH N",),
    "TWO": ("T UW",),
    "THREE": ("TH R IY",),
    "FOUR": ("F AO R", "F AO"),
    "FIVE": ("F AY V",),
    "SIX": ("S IH K S",),
    "SEVEN": ("S EH V AH N",),
    "EIGHT": ("EY T",),
    "NINE": ("N AY N",),
}
"""Pronunciations of the spoken digits, in the phones of AN4's dictionary."""


def write_dict(folder: Path, pronunciations: Mapping[str, Sequence[str]]) -> None:
    """Writes lexicon.txt and the lists of phones.

    Args:
        folder: `dict/`.
        pronunciations: word → its variants, each a string of phones. A word for unknown words, said
            as silence, is added where there is none.
    """
    lexicon = {UNKNOWN_WORD: (SILENCE,), **pronunciations}
    entries = [f"{word} {phones}" for word in sorted(lexicon) for phones in lexicon[word]]
    phones = {phone for variants in lexicon.values() for v in variants for phone in v.split()}
    _write_lines(folder / "lexicon.txt", entries)
    _write_lines(folder / "silence_phones.txt", [SILENCE])
    _write_lines(folder / "optional_silence.txt", [SILENCE])
    _write_lines(folder / "nonsilence_phones.txt", sorted(phones - {SILENCE}))


def write_lm_text(path: Path, text: Mapping[str, str]) -> None:
    """Writes the sentences of a set's `text`, one a line, for estimating a language model."""
    _write_lines(path, [text[utt_id] for utt_id in sorted(text, key=str.encode)])


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "".join(f"{line}\n" for line in lines))
