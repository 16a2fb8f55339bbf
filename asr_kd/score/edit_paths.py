"""The cheapest ways from reference to hypothesis, for many utterances at once.

The table of Levenshtein (1966) and Wagner & Fischer (1974) is filled along its anti-diagonals,
each of many utterances of nearly the same length in one numpy operation. It holds gains instead of
costs: what an alignment saves against deleting and inserting every word. The first row and column
are then zero, and only a pair of words gains anything.

Two rules are in use. Their costs differ, and so does what they take of equally cheap ways, which
changes S, D and I but not what they cost:

- Kaldi's `compute-wer` (`LevenshteinEditDistance`, the same in kaldialign): every error costs 1;
  two words stand side by side only where that is cheaper than both other choices; a deletion is
  taken only where it is cheaper than an insertion.
- NIST's sclite (SCTK, `net_dp.c` and `word.c`): a substitution costs 4, a deletion or insertion 3;
  two words stand side by side wherever that is no dearer than both other choices; a deletion as
  above.

Both choose while they go from the last words to the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

PAIR, DELETION, INSERTION, _STOP = range(4)

Ids = NDArray[np.int32]
Bytes = NDArray[np.uint8]

_CELLS_AT_ONCE = 1 << 20  # of a batch: its choices, two bytes for each cell, stay in the caches
_CELLS_OF_A_BAND = 1 << 27  # of choices of a longer utterance: bounds the memory, 128 MB


@dataclass(frozen=True)
class Rule:
    """Costs and which of equally cheap choices is taken.

    Attributes:
        right: what a pair of equal words saves against a deletion and an insertion.
        wrong: what a pair of different words saves.
        pairs_win: whether a pair is taken where another choice is as cheap.
    """

    right: int
    wrong: int
    pairs_win: bool


KALDI = Rule(right=2, wrong=1, pairs_win=False)  # every error costs 1
SCLITE = Rule(right=6, wrong=2, pairs_win=True)  # substitution 4, deletion 3, insertion 3


@dataclass(frozen=True, eq=False)
class Words:
    """A text as numbers.

    Attributes:
        ids: (W,) a number for each word, one utterance after the other.
        bounds: (N + 1,) where each utterance's words begin and the last one's end.
    """

    ids: Ids
    bounds: NDArray[np.int64]

    def lengths(self, utterances: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) how many words each of B utterances has."""
        return self.bounds[utterances + 1] - self.bounds[utterances]


def edit_paths(ref: Words, hyp: Words, rule: Rule) -> tuple[Bytes, NDArray[np.int64]]:
    """Finds the path of each utterance.

    Memory: some bytes for each word and a bounded amount for any length of utterances: of one with
    more than about 8,000 words a few rows are kept, and what lies between is computed twice.

    Args:
        ref: N utterances; a word has one number on both sides.
        hyp: N utterances.
        rule: costs and ties.

    Returns:
        (S,) steps `PAIR`, `DELETION` or `INSERTION`, one utterance after the other, and (N + 1,)
        their bounds.
    """
    parts, order = [np.zeros(0, np.uint8)], [np.zeros(0, np.int64)]
    lengths = np.zeros(len(ref.bounds) - 1, np.int64)
    for batch in _batches(np.diff(ref.bounds), np.diff(hyp.bounds)):
        steps, lengths[batch] = _paths(ref, hyp, batch, rule)
        parts.append(steps)
        order.append(batch)
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    # Batches come sorted by length: each utterance's steps go to their place.
    done = np.concatenate(order)
    starts = bounds[:-1][done]
    where = np.repeat(starts - (np.cumsum(lengths[done]) - lengths[done]), lengths[done])
    where += np.arange(len(where))
    steps = np.empty(bounds[-1], np.uint8)
    steps[where] = np.concatenate(parts)
    return steps, bounds


def _batches(ref: NDArray[np.int64], hyp: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Utterances of nearly the same number of words, no more than memory allows."""
    longer = np.maximum(ref, hyp)
    order = np.lexsort((ref, longer))
    sides = longer[order] + 1
    start = 0
    while start < len(order):
        most = sides[start : start + 1 + _CELLS_AT_ONCE // sides[start] ** 2]
        cells = most**2 * np.arange(1, len(most) + 1)
        count = max(1, int(np.searchsorted(cells, _CELLS_AT_ONCE, "right")))
        yield order[start : start + count]
        start += count


def _columns(words: Words, batch: NDArray[np.int64], reverse: bool) -> Ids:
    """(longest, B): one utterance a column; what stands below a shorter one's end is never read."""
    longest = int(words.lengths(batch).max())
    rows = np.arange(longest)[:: -1 if reverse else 1, None]
    if not longest:
        return np.zeros((0, len(batch)), np.int32)
    return words.ids.take(words.bounds[batch] + rows, mode="clip")


def _paths(
    ref: Words, hyp: Words, batch: NDArray[np.int64], rule: Rule
) -> tuple[Bytes, NDArray[np.int64]]:
    """The steps of a batch's utterances, one after the other, and how many each has."""
    rows, columns = _columns(ref, batch, reverse=False), _columns(hyp, batch, reverse=True)
    height, width, count = len(rows), len(columns) + 1, len(batch)
    gain = np.min_scalar_type(rule.right * min(height, len(columns)))
    band = height + 1
    if count == 1:  # a long utterance: so many rows that band * (band + width) cells are allowed
        band = max(1, int((width**2 / 4 + _CELLS_OF_A_BAND) ** 0.5 - width / 2))
    bands = list(pairwise([*range(0, max(height, 1), band), height]))
    tops = [np.zeros((width, count), gain)]
    for start, end in bands[:-1]:
        tops.append(_fill(rows[start:end], columns, tops[-1], rule)[1])
    ref_lengths, column = (words.lengths(batch) for words in (ref, hyp))
    backward: list[Bytes] = []
    for (start, end), top in zip(reversed(bands), reversed(tops), strict=True):
        choices, _ = _fill(rows[start:end], columns, top, rule)
        if start == 0:
            choices[1:width, 0] = INSERTION
        column = _trace(choices, np.minimum(ref_lengths, end) - start, column, backward)
    taken = np.array(backward[::-1], np.uint8).reshape(-1, count).T
    real = taken != _STOP
    return taken[real], real.sum(axis=1)


def _fill(rows: Ids, columns: Ids, top: Bytes, rule: Rule) -> tuple[Bytes, Bytes]:
    """Fills a band of the tables of a batch.

    Args:
        rows: (R, B) reference words.
        columns: (C, B) hypothesis words, last first: an anti-diagonal is then a slice of both.
        top: (C + 1, B) gains of the row above the band.
        rule: costs and ties.

    Returns:
        (R + C + 1, R + 1, B) the best last step to the cell of each anti-diagonal (row + column)
        and row (`_STOP` in the top row), and (C + 1, B) the gains of the last row.
    """
    height, width, count = len(rows), len(columns), rows.shape[1]
    choices = np.empty((height + width + 1, height + 1, count), np.uint8)
    choices[:, 0] = _STOP
    choices[range(1, height + 1), range(1, height + 1)] = DELETION  # the first column
    if not height or not width:
        return choices, top
    bottom = np.zeros_like(top)
    not_pair = np.less if rule.pairs_win else np.less_equal
    gains = np.zeros((3, height + 1, count), top.dtype)  # of this diagonal and the two before
    same = np.empty((height, count), bool)
    others, pairs = np.empty((2, height, count), top.dtype)
    gains[0, 0], gains[1, 0] = top[0], top[min(1, width)]
    difference, wrong = top.dtype.type(rule.right - rule.wrong), top.dtype.type(rule.wrong)
    for d in range(2, height + width + 1):
        before, last, here = gains[(d - 2) % 3], gains[(d - 1) % 3], gains[d % 3]
        first, end = max(1, d - width), min(height, d - 1) + 1
        size = end - first
        pair, other, equal = pairs[:size], others[:size], same[:size]
        np.equal(rows[first - 1 : end - 1], columns[width - d + first : width - d + end], out=equal)
        np.multiply(equal, difference, out=pair)
        pair += before[first - 1 : end - 1]
        pair += wrong
        left, up = last[first:end], last[first - 1 : end - 1]
        np.maximum(left, up, out=other)
        np.maximum(pair, other, out=here[first:end])
        # 0 a pair, 1 a deletion, 2 an insertion.
        alone = not_pair(pair, other).view(np.uint8)
        insertion = np.greater_equal(left, up).view(np.uint8)
        insertion &= alone
        np.add(alone, insertion, out=choices[d, first:end])
        if d <= width:
            here[0] = top[d]
        if d >= height:
            bottom[d - height] = here[height]
    return choices, bottom


def _trace(
    choices: Bytes, row: NDArray[np.int64], column: NDArray[np.int64], backward: list[Bytes]
) -> NDArray[np.int64]:
    """Follows the choices from each utterance's last cell to the band's top row.

    Args:
        choices: (R + C + 1, R + 1, B) as `_fill` gives them.
        row, column: (B,) where each utterance's path ends.
        backward: gets a row of B steps after the other, `_STOP` where an utterance has no more.

    Returns:
        (B,) the columns at which the paths leave the band.
    """
    _, height, count = choices.shape
    cells = choices.reshape(-1)
    back = count * np.array([2 * height + 1, height + 1, height, 0])  # for each choice
    at = ((row + column) * height + row) * count + np.arange(count)
    while True:
        step = cells.take(at)
        if (step == _STOP).all():
            return at // (height * count)
        backward.append(step)
        at -= back.take(step)
