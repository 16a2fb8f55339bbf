"""G: a back-off n-gram model as an acceptor of words."""

import logging
import math
from collections.abc import Collection

import kaldifst

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START
from asr_kd.search.ngram import ZERO, NgramModel

_LN10 = math.log(10)
NO_WORDS = {SENTENCE_START, SENTENCE_END, "<unk>", "<UNK>"}
"""Symbols of language models that nobody says."""

_SHOWN = 10
_logger = logging.getLogger("asr_kd.search")


def grammar_fst(lang: Lang, model: NgramModel, spelled: bool = False) -> "kaldifst.StdVectorFst":
    """Builds G: a state for each history, back-off arcs with #0 as input and nothing as output.

    Words outside the lexicon are left out, and so are those whose only pronunciations are silence
    (an <UNK> said as SIL, say): optional silence is in the graph already, and no reference has
    them. The probability that they had is lost, not given to the others.

    Args:
        lang: word numbers and lexicon.
        model: the language model.
        spelled: whether the lexicon is of units that spell words; for messages.

    Returns:
        G, sorted by input label.

    Raises:
        InputError: if model and lexicon have no word in common.
    """
    words = {word: lang.words[word] for word in _spoken(lang)}
    if not words.keys() & set(model.words):
        raise InputError("the language model has not one of its words in the lexicon")
    _report(model, words, spelled)
    return _Builder(model, words, lang.words["#0"]).build()


def _spoken(lang: Lang) -> set[str]:
    silent = set(lang.lexicon.silence_phones)
    return {p.word for p in lang.lexicon.pronunciations if not set(p.phones) <= silent}


def _report(model: NgramModel, words: Collection[str], spelled: bool) -> None:
    foreign = sorted(set(model.words) - set(words) - NO_WORDS)
    mute = sorted(set(words) - set(model.words))
    ours = "units" if spelled else "words of the lexicon"
    why = "the units cannot spell them" if spelled else "the lexicon has no sound for them"
    for kind, found in (
        (f"words of the language model are left out, as {why}", foreign),
        (f"{ours} are not in the language model, and cannot be recognised", mute),
    ):
        if found:
            shown = " ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
            _logger.warning("%d %s: %s", len(found), kind, shown)
    start = (SENTENCE_START,)
    if model.order > 1 and start in model.ngrams[0]:
        total = sum(10 ** model.log_prob(word, start) for word in {*model.words} - {start[0]})
        if abs(total - 1) > 0.01:
            _logger.warning("the language model's probabilities after <s> sum to %.3f", total)


class _Builder:
    def __init__(self, model: NgramModel, words: dict[str, int], backoff_symbol: int) -> None:
        self.model, self.words, self.backoff_symbol = model, words, backoff_symbol
        self.fst = kaldifst.StdVectorFst()
        self.states: dict[tuple[str, ...], int] = {(): self.fst.add_state()}
        for level in model.ngrams[1:]:
            for ngram in level:
                if ngram[:-1] not in self.states:
                    self.states[ngram[:-1]] = self.fst.add_state()

    def build(self) -> "kaldifst.StdVectorFst":
        for level in self.model.ngrams:
            for ngram, entry in level.items():
                self._add(ngram[:-1], ngram[-1], entry.log_prob)
        for history in self.states:
            self._back_off(history)
        # A model without bigrams has no history <s>.
        self.fst.start = self.states.get((SENTENCE_START,), self.states[()])
        kaldifst.connect(self.fst)
        kaldifst.arcsort(self.fst, "ilabel")
        return self.fst

    def _add(self, history: tuple[str, ...], word: str, log_prob: float) -> None:
        if log_prob <= ZERO or word == SENTENCE_START:
            return
        source, cost = self.states[history], -_LN10 * log_prob
        if word == SENTENCE_END:
            self.fst.set_final(source, cost)
        elif word in self.words:
            number = self.words[word]
            # Through histories without n-grams of their own, whose back-off weights must be paid.
            target, paid = self._known((*history, word))
            arc = kaldifst.StdArc(number, number, cost + paid, target)
            self.fst.add_arc(source, arc)

    def _back_off(self, history: tuple[str, ...]) -> None:
        if not history:
            return
        target, cost = self._known(history[1:])
        weight = self._weight(history)
        if weight > ZERO:
            arc = kaldifst.StdArc(self.backoff_symbol, 0, cost - _LN10 * weight, target)
            self.fst.add_arc(self.states[history], arc)

    def _known(self, history: tuple[str, ...]) -> tuple[int, float]:
        """The state of the longest end of a history that has one, and the cost of getting there."""
        cost = 0.0
        while history not in self.states:
            if len(history) < self.model.order:
                cost -= _LN10 * self._weight(history)
            history = history[1:]
        return self.states[history], cost

    def _weight(self, history: tuple[str, ...]) -> float:
        entry = self.model.ngrams[len(history) - 1].get(history)
        return entry.backoff if entry is not None else 0.0
