"""Language models of units: the sentences that they are trained on, and their probabilities."""

import math
from collections.abc import Sequence
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START
from asr_kd.labels.units import WORD_START, Units
from asr_kd.score.formats.lines import numbered, read_utf8
from asr_kd.search.ngram import NgramModel


def unit_sentences(text: Path, units: Units) -> list[list[str]]:
    """The sentences of a text, one a line, as names of units.

    Raises:
        InputError: every line that the units cannot spell, or if there is no sentence.
    """
    lines = {str(number): line for number, line in numbered(read_utf8(text)) if line.split()}
    names = units.label_set.names
    encoded = units.encode_all(lines, str(text))
    sentences = [[names[label] for label in labels] for labels in encoded.values() if labels]
    if not sentences:
        raise InputError(f"{text}: no sentence in it")
    return sentences


def in_units(model: NgramModel) -> bool:
    """Whether a model is one of units: they alone begin words with the mark."""
    return any(WORD_START in word for word in model.words)


def require_units(lm: Path, model: NgramModel, units: Units) -> None:
    """Refuses a model that is not one of these units.

    Args:
        lm: where it was read: `train-lm --units` leaves the label set beside it.
        model: what was read.
        units: what it shall be of.

    Raises:
        InputError: for a model of words, or of other units.
    """
    if not in_units(model):
        raise InputError(f"{lm}: a language model of words; make one by `asr-kd train-lm --units`")
    labels = lm / "labels.json"
    if labels.is_file():
        units.label_set.require_same(LabelSet.load(labels), "the units", str(labels))


class UnitLm:
    """A back-off model of units, by their labels.

    Args:
        model: n-grams of names of units.
        label_set: their labels.

    Raises:
        InputError: for a model without a single unit.
    """

    def __init__(self, model: NgramModel, label_set: LabelSet) -> None:
        if not set(label_set.names[1:]) & set(model.words):
            raise InputError("the language model has not one of the units")
        self._model, self._names = model, label_set.names

    def log_prob(self, token: int | None, history: Sequence[int]) -> float:
        """Natural log p(label | labels before it); None is the end of a sentence."""
        order = self._model.order
        before = [self._names[label] for label in history[max(0, len(history) - order) :]]
        if len(history) < order:
            before.insert(0, SENTENCE_START)
        name = SENTENCE_END if token is None else self._names[token]
        return math.log(10) * self._model.log_prob(name, before)
