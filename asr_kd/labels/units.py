"""Units of spelling: pieces of words by sentencepiece, as the labels of CTC models.

Label 0 is the blank; label i > 0 is piece i of the model, whose piece 0, <unk>, no text may need.
Text is normalised by a normaliser of ours before and by nothing after, so that words mean the same
in transcripts, language models and references.
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import sentencepiece

from asr_kd.artefact import hash_json
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_bytes, write_text
from asr_kd.labels.label_set import CTC, LabelSet
from asr_kd.score.normalise import RULES, Normaliser, restored, write_rules

Kind = Literal["unigram", "bpe", "char"]
BLANK_NAME = "<blank>"
WORD_START = "\u2581"
"""The mark with which the first piece of a word begins; it may be a piece of its own."""

MODEL, SETTINGS = "units.model", "units.json"
_FORMAT = "asr_kd.units/1"
_WORDS_KEPT = 1 << 17


@dataclass(frozen=True)
class Units:
    """A sentencepiece model and what is done to text before it.

    Attributes:
        kind: unigram, bpe or char.
        model: the model's file, as bytes.
        normaliser: what is done to the words of a text before they are spelled.

    Raises:
        InputError: for a model that is none, or not one of `train-units`.
    """

    kind: Kind
    model: bytes
    normaliser: Normaliser

    def __post_init__(self) -> None:
        pieces = self._pieces
        tests = (pieces.is_control, pieces.is_unknown, pieces.is_unused, pieces.is_byte)
        special = [
            pieces.id_to_piece(i) for i in range(1, len(pieces)) if any(test(i) for test in tests)
        ]
        if not len(pieces) or not pieces.is_unknown(0) or special:
            raise InputError(
                f"not a model of `asr-kd train-units`: {len(pieces)} pieces, "
                f"special ones: {' '.join(special) or 'no <unk>'}"
            )

    @cached_property
    def _pieces(self) -> sentencepiece.SentencePieceProcessor:
        if not self.model:
            raise InputError("an empty sentencepiece model")
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise InputError(f"not a sentencepiece model: {error}") from None

    @cached_property
    def _labels_of(self) -> Callable[[str], list[int]]:
        return lru_cache(_WORDS_KEPT)(self._pieces.encode)

    @cached_property
    def label_set(self) -> LabelSet:
        """The blank and the pieces; its kind tells the model and the normaliser apart."""
        digest = hash_json([self.model.hex(), self.normaliser.to_dict()])[:12]
        names = (self._pieces.id_to_piece(i) for i in range(1, len(self._pieces)))
        return LabelSet(f"{CTC}{self.kind}-{digest}", (BLANK_NAME, *names))

    def normalise(self, text: str) -> list[str]:
        """The words of a text as they are spelled."""
        return self.normaliser.rewrite(text.split())

    def encode(self, text: str) -> list[int]:
        """Labels (from 1 on) of a text, normalised first; none for no words.

        Raises:
            InputError: naming the characters that the units lack.
        """
        return self.spell(self.normalise(text))

    def spell(self, words: Sequence[str]) -> list[int]:
        """Labels of words that are normalised already.

        Raises:
            InputError: naming the characters that the units lack.
        """
        # Word by word: in a long sentence rounded sums let unigrams spell a word in another way
        # than graphs do.
        labels = [label for word in words for label in self._labels_of(word)]
        if 0 in labels or any(WORD_START in word for word in words):
            pieces = (p for word in words for p in self._pieces.encode(word, out_type=str))
            lacking = {p for p, i in zip(pieces, labels, strict=True) if not i}
            lacking |= {WORD_START} & {c for word in words for c in word}
            raise InputError(f"the units have no {_shown(set(''.join(lacking)))}")
        return labels

    def decode(self, labels: Iterable[int]) -> str:
        """The text of labels; blanks are left out, repeated labels are not one."""
        names = self.label_set.names
        return " ".join(join_pieces(names[label] for label in labels if label))

    def encode_all(self, text: Mapping[str, str], source: str) -> dict[str, list[int]]:
        """Transcripts as labels.

        Args:
            text: utterance id → words.
            source: where it came from, for messages.

        Raises:
            InputError: every utterance that cannot be encoded, with the characters at fault.
        """
        words = self.normaliser.apply({utt_id: line.split() for utt_id, line in text.items()}).text
        faults, encoded = [], {}
        for utt_id, normalised in words.items():
            try:
                encoded[utt_id] = self.spell(normalised)
            except InputError as error:
                faults += [f"{source}: {utt_id}: {fault}" for fault in error.faults]
        if faults:
            hint = (
                "correct the text, or train the units again: on text with them, or with another "
                "normaliser (train-units normaliser=...)"
            )
            raise InputError([*faults, hint])
        return encoded

    def starts_word(self) -> list[bool]:
        """For each label whether it is the first piece of a word."""
        return [name.startswith(WORD_START) for name in self.label_set.names]

    def write(self, folder: Path) -> None:
        """Writes units.model, units.json, labels.json and the normaliser's rules."""
        folder = Path(folder)
        settings = {
            "format": _FORMAT, "kind": self.kind, "normaliser": self.normaliser.to_dict(),
            "rules": RULES if self.normaliser.rules is not None else None,
        }  # fmt: skip
        write_bytes(folder / MODEL, self.model)
        write_rules(folder, self.normaliser)
        write_text(folder / SETTINGS, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")
        self.label_set.save(folder / "labels.json")

    @classmethod
    def read(cls, folder: Path) -> "Units":
        """Reads the folder that `write` wrote: units, tokens, or a graph made of them.

        Raises:
            InputError: if it is none, is damaged, or this version's normaliser is another.
        """
        folder = Path(folder)
        settings = _settings(folder)
        ours = restored(folder, settings["normaliser"], folder / SETTINGS)
        try:
            units = cls(settings["kind"], (folder / MODEL).read_bytes(), ours)
        except InputError as error:
            raise InputError([f"{folder / MODEL}: {fault}" for fault in error.faults]) from None
        except FileNotFoundError:
            raise InputError(f"{folder}: no {MODEL}; make the folder again") from None
        stored = LabelSet.load(folder / "labels.json")
        units.label_set.require_same(stored, str(folder / MODEL), str(folder / "labels.json"))
        return units


def join_pieces(pieces: Iterable[str]) -> list[str]:
    """The words that pieces spell."""
    return [word for word in "".join(pieces).replace(WORD_START, " ").split(" ") if word]


def _shown(characters: Iterable[str]) -> str:
    """Characters for a message; those that nobody sees, or sees on another, by their numbers."""
    return " ".join(
        f"U+{ord(c):04X}" if unicodedata.combining(c) or not c.isprintable() else c
        for c in sorted(characters)
    )


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        named = settings["normaliser"]
        good = settings["format"] == _FORMAT and settings["kind"] in ("unigram", "bpe", "char")
        good = good and all(isinstance(named[key], str) for key in ("name", "version", "sha256"))
        good = good and settings["rules"] in (None, RULES)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a folder of units: no {SETTINGS}; make one by `asr-kd train-units`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error}); make the folder again") from None
    if not good:
        raise InputError(f"{path}: damaged, or of another version; make the folder again")
    return settings
