"""Estimation of n-gram models from text: Witten-Bell and modified Kneser-Ney, both interpolated.

After Chen & Goodman, "An empirical study of smoothing techniques for language modeling" (1999):
p(w | h) = discounted(c(hw)) / norm(h) + γ(h) p(w | h'), where h' is h without its first word and
the unigrams are interpolated with the uniform distribution over the vocabulary.
"""

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START
from asr_kd.search.ngram import ZERO, Entry, NgramModel

Smoothing = Literal["witten-bell", "kneser-ney"]
Ngram = tuple[str, ...]
Discounts = tuple[float, float, float]

# Where counts of counts are too few to estimate discounts: as KenLM's default fallback.
_FALLBACK: Discounts = (0.5, 1.0, 1.5)
_logger = logging.getLogger("asr_kd.search")


def estimate(
    sentences: Iterable[Sequence[str]],
    order: int,
    smoothing: Smoothing,
    vocabulary: Iterable[str] = (),
) -> NgramModel:
    """Estimates a model; its probabilities sum to one over the vocabulary after every history.

    Args:
        sentences: words, without sentence marks.
        order: length of the longest n-grams, at least 1.
        smoothing: `witten-bell` (section 2.4), for little text, or `kneser-ney` (section 3:
            modified, interpolated).
        vocabulary: words to be possible whether the text has them or not.

    Returns:
        The model in back-off form: the probabilities of seen n-grams are the interpolated ones.
    """
    counts = _count(sentences, order)
    words = {*vocabulary, *(w for (w,) in counts[0])} - {SENTENCE_START} | {SENTENCE_END}
    if smoothing == "kneser-ney":
        counts = _continuations(counts)
    lower: dict[Ngram, float] = {}
    levels: list[dict[Ngram, float]] = []
    gammas: dict[Ngram, float] = {}
    for level in counts:
        followers: dict[Ngram, dict[str, int]] = {}
        for ngram, count in level.items():
            followers.setdefault(ngram[:-1], {})[ngram[-1]] = count
        discounts = _discounts(level) if smoothing == "kneser-ney" else None
        probs: dict[Ngram, float] = {}
        for history, seen in followers.items():
            gammas[history] = gamma = _gamma(seen, discounts)
            norm = sum(seen.values()) + (0 if discounts else len(seen))
            # Unigrams are interpolated with the uniform distribution, unseen words included.
            for word in seen if history else words:
                count = seen.get(word, 0)
                kept = count - discounts[min(count, 3) - 1] if discounts and count else count
                below = lower[(*history[1:], word)] if history else 1 / len(words)
                probs[(*history, word)] = kept / norm + gamma * below
        levels.append(probs)
        lower = probs
    return _model(levels, gammas)


def _model(levels: list[dict[Ngram, float]], gammas: dict[Ngram, float]) -> NgramModel:
    tables = [
        {g: Entry(math.log10(p), math.log10(gammas.get(g, 1.0))) for g, p in probs.items()}
        for probs in levels
    ]
    start = (SENTENCE_START,)
    tables[0][start] = Entry(ZERO, math.log10(gammas.get(start, 1.0)))
    return NgramModel(tables)


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Ngram]]:
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        padded = (SENTENCE_START, *sentence, SENTENCE_END)
        for n, level in enumerate(counts, start=1):
            level.update(padded[i : i + n] for i in range(len(padded) - n + 1))
    # Nothing predicts the start of a sentence.
    counts[0].pop((SENTENCE_START,), None)
    return counts


def _continuations(counts: list[Counter[Ngram]]) -> list[Counter[Ngram]]:
    """Lower orders count the different words before an n-gram instead of its occurrences.

    An n-gram that begins a sentence keeps its count: nothing can stand before it.
    """
    changed = []
    for level, higher in itertools.pairwise(counts):
        continuation = Counter(ngram[1:] for ngram in higher)
        continuation.update({g: n for g, n in level.items() if g[0] == SENTENCE_START})
        changed.append(continuation)
    return [*changed, counts[-1]]


def _discounts(level: Counter[Ngram]) -> Discounts:
    """D1, D2, D3+ of modified Kneser-Ney from counts of counts (equation 26)."""
    n = Counter(level.values())
    if not all(n[k] for k in (1, 2, 3, 4)):
        _logger.info("too few counts to estimate discounts: using %s", _FALLBACK)
        return _FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    d1, d2, d3 = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    if not (0 < d1 < 1 and 0 < d2 < 2 and 0 < d3 < 3):
        _logger.info("discounts %.2f %.2f %.2f are out of range: using %s", d1, d2, d3, _FALLBACK)
        return _FALLBACK
    return d1, d2, d3


def _gamma(seen: dict[str, int], discounts: Discounts | None) -> float:
    """The mass that goes to the shorter history."""
    total = sum(seen.values())
    if discounts is None:
        return len(seen) / (total + len(seen))
    return sum(discounts[min(count, 3) - 1] for count in seen.values()) / total
