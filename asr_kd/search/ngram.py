"""Back-off n-gram language models and their ARPA files."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.search.arpa import arpa_text

ZERO = -99.0  # ARPA's logarithm of no probability at all


class Entry(NamedTuple):
    """log10 probability of an n-gram's last word, and log10 back-off weight of its history."""

    log_prob: float
    backoff: float = 0.0


@dataclass(frozen=True)
class NgramModel:
    """A back-off model.

    Attributes:
        ngrams: for each order from 1 on, n-gram → entry.
    """

    ngrams: Sequence[Mapping[tuple[str, ...], Entry]]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.ngrams)

    @property
    def words(self) -> list[str]:
        """All unigrams, sentence marks included."""
        return [word for (word,) in self.ngrams[0]]

    def log_prob(self, word: str, history: Sequence[str]) -> float:
        """log10 p(word | history); the history's last n−1 words count."""
        kept = tuple(history)[max(0, len(history) - self.order + 1) :]
        penalty = 0.0
        while True:
            entry = self.ngrams[len(kept)].get((*kept, word))
            if entry is not None:
                return penalty + entry.log_prob
            if not kept:
                return ZERO
            known = self.ngrams[len(kept) - 1].get(kept)
            penalty += known.backoff if known is not None else 0.0
            kept = kept[1:]

    def write_arpa(self, path: Path) -> None:
        """Writes an ARPA file, atomically."""
        lines = ["\\data\\"]
        lines += [f"ngram {n}={len(entries)}" for n, entries in enumerate(self.ngrams, start=1)]
        for n, entries in enumerate(self.ngrams, start=1):
            lines += ["", f"\\{n}-grams:"]
            for ngram, entry in sorted(entries.items()):
                backoff = f"\t{entry.backoff:.7f}" if entry.backoff and n < self.order else ""
                lines.append(f"{entry.log_prob:.7f}\t{' '.join(ngram)}{backoff}")
        write_text(path, "\n".join([*lines, "", "\\end\\", ""]))

    @classmethod
    def read_arpa(cls, path: Path) -> "NgramModel":
        """Reads an ARPA file of any order, plain or packed by gzip.

        What stands before its `\\data\\` line is skipped.

        Raises:
            InputError: every fault, with file and line.
        """
        return _ArpaReader(Path(path)).read()


class _ArpaReader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []

    def read(self) -> NgramModel:
        numbered = arpa_text(self.path)
        if not any(line == "\\data\\" for _, line in numbered):
            raise InputError(f"{self.path}: not an ARPA language model: no line \\data\\")
        ngrams: list[dict[tuple[str, ...], Entry]] = []
        announced: list[int] = []
        ended = False
        for number, line in numbered:
            if line == "\\end\\":
                ended = True
                break
            if line.startswith("ngram ") and not ngrams:
                announced += self._announced(number, line, len(announced) + 1)
            elif line.startswith("\\"):
                if line != f"\\{len(ngrams) + 1}-grams:":
                    self._fault(number, f"{line}: expected \\{len(ngrams) + 1}-grams: or \\end\\")
                ngrams.append({})
            elif line and ngrams:
                self._entry(number, line, ngrams[-1], len(ngrams))
        if not ended:
            self.faults.append(f"{self.path}: truncated: no line \\end\\")
        elif announced != [len(entries) for entries in ngrams]:
            self.faults.append(
                f"{self.path}: {announced} n-grams are announced, {[len(e) for e in ngrams]} found"
            )
        elif not ngrams or ("</s>",) not in ngrams[0]:
            self.faults.append(f"{self.path}: no unigram </s>: no sentence could end")
        if self.faults:
            raise InputError(self.faults)
        return NgramModel(ngrams)

    def _fault(self, number: int, what: str) -> None:
        self.faults.append(f"{self.path}:{number}: {what}")

    def _announced(self, number: int, line: str, order: int) -> Iterator[int]:
        left, _, right = line.removeprefix("ngram ").partition("=")
        if left.strip() == str(order) and right.strip().isdigit():
            yield int(right)
        else:
            self._fault(number, f"{line!r}: expected ngram {order}=COUNT")

    def _entry(
        self, number: int, line: str, entries: dict[tuple[str, ...], Entry], order: int
    ) -> None:
        fields = line.split()
        if len(fields) not in (order + 1, order + 2):
            self._fault(number, f"expected a number, {order} words and perhaps a back-off weight")
            return
        try:
            entry = Entry(float(fields[0]), *map(float, fields[order + 1 :]))
        except ValueError:
            self._fault(number, f"{fields[0]!r} or {fields[-1]!r} is not a number")
            return
        if not (entry.log_prob <= 1e-4 and math.isfinite(entry.backoff)):
            self._fault(number, f"{fields[0]} is no log10 probability, or {fields[-1]} no weight")
        ngram = tuple(fields[1 : order + 1])
        if ngram in entries:
            self._fault(number, f"{' '.join(ngram)} stands already above")
        entries[ngram] = entry
