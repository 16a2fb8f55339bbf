"""The part of a language model that given sentences ask for, read from files of any size.

OpenSLR's 4-gram model of LibriSpeech has more n-grams than fit in memory. Its file is read once,
and an n-gram is kept only if it stands in a sentence: for these sentences the model is the whole.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START
from asr_kd.search.arpa import arpa_lines
from asr_kd.search.ngram import ZERO, Entry, NgramModel

_LN10 = math.log(10)
_UNKNOWN = ("<unk>", "<UNK>")
Words = tuple[str, ...]


@dataclass(frozen=True)
class SentenceModel:
    """A back-off model of certain sentences.

    Attributes:
        model: what was kept.
        unknown: the model's word for words that it does not have; None where it has none.
        missing: words of the sentences that the model does not have.
    """

    model: NgramModel
    unknown: str | None
    missing: frozenset[str]
    _known: dict[Words, float] = field(default_factory=dict, repr=False)
    _steps: dict[Words, list[tuple[Words, float]]] = field(default_factory=dict, repr=False)

    def cost(self, words: Sequence[str]) -> float:
        """Negated natural logarithm of the probability of a sentence and its end.

        An n-gram that the model has is used, or else the shorter history and its back-off weight. A
        word that the model does not have is its unknown word; without one it has the probability
        1e-99.
        """
        found = 0.0
        history: Words = (SENTENCE_START,)
        for word in (*self._spelled(words), SENTENCE_END):
            history = history[max(0, len(history) - self.model.order + 1) :]
            ngram = (*history, word)
            if ngram not in self._known:
                self._known[ngram] = -_LN10 * self.model.log_prob(word, history)
            found += self._known[ngram]
            history = ngram
        return found

    def least_cost(self, words: Sequence[str]) -> float:
        """The cost of a sentence as a decoding graph has it; inf where it has no such sentence.

        In the graph the shorter history is open to a word even where the longer one knows it, and
        the search takes what is cheaper.
        """
        states: dict[Words, float] = {(SENTENCE_START,)[: self.model.order - 1]: 0.0}
        for word in (*self._spelled(words), SENTENCE_END):
            after: dict[Words, float] = {}
            for history, cost in states.items():
                for longer, price in self._ways(history, word):
                    if cost + price < after.get(longer, math.inf):
                        after[longer] = cost + price
            states = after
        return min(states.values(), default=math.inf)

    def _ways(self, history: Words, word: str) -> list[tuple[Words, float]]:
        """Histories after a word, and what each costs, with or without its first words."""
        key = (*history, word)
        if key not in self._steps:
            ways, paid, level = [], 0.0, history
            while True:
                entry = self.model.ngrams[len(level)].get((*level, word))
                if entry is not None and entry.log_prob > ZERO:
                    longer = (*level, word)
                    first = max(0, len(longer) - self.model.order + 1)
                    ways.append((longer[first:], paid - _LN10 * entry.log_prob))
                if not level:
                    break
                known = self.model.ngrams[len(level) - 1].get(level)
                paid -= _LN10 * known.backoff if known is not None else 0.0
                level = level[1:]
            self._steps[key] = ways
        return self._steps[key]

    def _spelled(self, words: Sequence[str]) -> Iterator[str]:
        for word in words:
            yield self.unknown if word in self.missing and self.unknown is not None else word


def read_needed(path: Path, sentences: Collection[Words]) -> SentenceModel:
    """Reads what some sentences need of an ARPA file, packed or not.

    Args:
        path: the file.
        sentences: words, without marks of their beginning and end.

    Raises:
        InputError: for a file that is no ARPA model, damaged or cut off, has other numbers of
            n-grams than it announces, or has faults in lines that are needed; with file and line.
    """
    return _Reader(Path(path), sentences).read()


class _Reader:
    def __init__(self, path: Path, sentences: Collection[Words]) -> None:
        self.path = path
        self.sentences: Collection[Words] = sentences
        self.missing: frozenset[str] = frozenset()
        self.unknown: str | None = None
        self.ngrams: list[dict[Words, Entry]] = []
        self.announced: list[int] = []
        self.found: list[int] = []

    def read(self) -> SentenceModel:
        numbered = enumerate(arpa_lines(self.path), start=1)
        if not any(line.strip() == b"\\data\\" for _, line in numbered):
            raise InputError(f"{self.path}: not an ARPA language model: no line \\data\\")
        mark = self._header(numbered)
        while mark != b"\\end\\":
            order = len(self.ngrams) + 1
            if mark != f"\\{order}-grams:".encode():
                shown = mark.decode(errors="replace") or "the end of the file"
                raise InputError(
                    f"{self.path}: {shown} instead of \\{order}-grams: or \\end\\: cut off?"
                )
            mark = self._section(numbered, order)
            if order == 1:
                self._settle_words()
        if self.announced != self.found:
            raise InputError(
                f"{self.path}: {self.announced} n-grams are announced, {self.found} found"
            )
        if not self.ngrams or (SENTENCE_END,) not in self.ngrams[0]:
            raise InputError(f"{self.path}: no unigram {SENTENCE_END}: no sentence could end")
        return SentenceModel(NgramModel(self.ngrams), self.unknown, self.missing)

    def _header(self, numbered: Iterator[tuple[int, bytes]]) -> bytes:
        for number, line in numbered:
            mark = line.strip()
            if mark.startswith(b"\\"):
                return mark
            if mark:
                left, _, count = mark.partition(b"=")
                if left.split() != [b"ngram", b"%d" % (len(self.announced) + 1)] \
                        or not count.strip().isdigit():  # fmt: skip
                    raise InputError(f"{self.path}:{number}: expected ngram ORDER=COUNT")
                self.announced.append(int(count))
        return b""

    def _section(self, numbered: Iterator[tuple[int, bytes]], order: int) -> bytes:
        """Keeps what is needed of one order; returns the mark that ends it."""
        needed = self._needed(order)
        kept: dict[Words, Entry] = {}
        self.ngrams.append(kept)
        self.found.append(0)
        count, most, join = 0, order + 2, b" ".join
        for number, line in numbered:
            fields = line.split()
            if order < len(fields) <= most:
                count += 1
                key = join(fields[1 : order + 1])
                if key in needed:
                    ngram = needed[key]
                    if ngram in kept:
                        raise InputError(
                            f"{self.path}:{number}: {' '.join(ngram)} stands already above"
                        )
                    kept[ngram] = self._entry(number, fields, order)
            elif fields and fields[0].startswith(b"\\"):
                self.found[-1] = count
                return fields[0]
            elif fields:
                raise InputError(
                    f"{self.path}:{number}: expected a number, {order} words and perhaps a "
                    f"back-off weight"
                )
        return b""

    def _entry(self, number: int, fields: Sequence[bytes], order: int) -> Entry:
        try:
            entry = Entry(*map(float, (fields[0], *fields[order + 1 :])))
        except ValueError:
            raise InputError(f"{self.path}:{number}: {fields[0]!r} or {fields[-1]!r} is not a "
                             f"number") from None  # fmt: skip
        if not (entry.log_prob <= 1e-4 and math.isfinite(entry.backoff)):
            raise InputError(f"{self.path}:{number}: {entry.log_prob} is no log10 probability, or "
                             f"{entry.backoff} no weight")  # fmt: skip
        return entry

    def _needed(self, order: int) -> Mapping[bytes, Words]:
        """The n-grams of the sentences, by how a file spells them."""
        found = {
            marked[i : i + order]
            for sentence in self.sentences
            for marked in [(SENTENCE_START, *sentence, SENTENCE_END)]
            for i in range(len(marked) - order + 1)
        }
        if order == 1:
            found |= {(word,) for word in _UNKNOWN}
        return {" ".join(ngram).encode(): ngram for ngram in found}

    def _settle_words(self) -> None:
        """Which words the model does not have, and what stands for them in longer n-grams."""
        words = {word for sentence in self.sentences for word in sentence}
        self.missing = frozenset(word for word in words if (word,) not in self.ngrams[0])
        self.unknown = next((word for word in _UNKNOWN if (word,) in self.ngrams[0]), None)
        if self.unknown is not None and self.missing:
            unknown, missing = self.unknown, self.missing
            self.sentences = [
                tuple(unknown if word in missing else word for word in sentence)
                for sentence in self.sentences
            ]
