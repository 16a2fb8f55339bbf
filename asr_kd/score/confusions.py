"""Which words are taken for which: what a system gets wrong most often."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_kd.score.alignment import DELETION, INSERTION, SUBSTITUTION, Alignments, Vocabulary
from asr_kd.score.text import Text


@dataclass(frozen=True)
class Confusions:
    """How often each error was made; the most frequent first, equal ones sorted by their words.

    Attributes:
        pairs: reference word and the hypothesis word in its place → how often.
        substituted: reference word → how often another word stood in its place.
        deleted: reference word → how often nothing stood in its place.
        inserted: hypothesis word → how often it stood where the reference has none.
    """

    pairs: dict[tuple[str, str], int]
    substituted: dict[str, int]
    deleted: dict[str, int]
    inserted: dict[str, int]


def confusions(ref: Text, runs: Sequence[tuple[Text, Alignments]]) -> Confusions:
    """Counts the errors that a system makes with each word.

    Args:
        ref: reference words.
        runs: hypothesis words and their alignment by `align`: one, or one of each seed.

    Returns:
        Sums over the runs.
    """
    vocabulary = Vocabulary()
    ref_ids = vocabulary.encode(ref.values()).ids
    hyp_ids = [vocabulary.encode(hyp[utt_id] for utt_id in ref).ids for hyp, _ in runs]
    # Numbers in the order of the words: sorting numbers is then sorting words.
    names = sorted(vocabulary)
    rank = np.empty(len(names), np.int64)
    rank[[vocabulary[name] for name in names]] = np.arange(len(names))
    pairs, substituted, deleted, inserted = (np.zeros(0, np.int64) for _ in range(4))
    for ids, (_, alignments) in zip(hyp_ids, runs, strict=True):
        of_ref, of_hyp = alignments.ref_steps(), alignments.hyp_steps()
        replaced = rank[ref_ids[of_ref == SUBSTITUTION]]
        by = rank[ids[of_hyp == SUBSTITUTION]]
        pairs = np.append(pairs, replaced * len(names) + by)
        substituted = np.append(substituted, replaced)
        deleted = np.append(deleted, rank[ref_ids[of_ref == DELETION]])
        inserted = np.append(inserted, rank[ids[of_hyp == INSERTION]])
    return Confusions(
        {(names[p // len(names)], names[p % len(names)]): n for p, n in _most_frequent(pairs)},
        {names[i]: count for i, count in _most_frequent(substituted)},
        {names[i]: count for i, count in _most_frequent(deleted)},
        {names[i]: count for i, count in _most_frequent(inserted)},
    )


def _most_frequent(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(number, how often), the most frequent first, then the smallest."""
    values, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return list(zip(values[order].tolist(), counts[order].tolist(), strict=True))
