"""The matched-pairs sentence-segment word error test (MAPSSWE) as NIST defines it.

Gillick & Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms"
(ICASSP); Pallett, Fisher & Fiscus 1990, "Tools for the analysis of benchmark speech recognition
tests" (ICASSP); `sc_stats -t mapsswe` of NIST's SCTK 2.4.10, with which the tests compare this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from asr_kd.score.alignment import CORRECT, INSERTION, Alignments
from asr_kd.score.bootstrap import Floats
from asr_kd.score.significance import Test

ENOUGH_SEGMENTS = 50  # Gillick & Cox: below, the mean is not safely normal
_DECIMALS = 12  # means over seeds that are the same differ by rounding at 1e-16


@dataclass(frozen=True, eq=False)
class Cells:
    """Errors by place in the reference, which all alignments of that reference share.

    An utterance of L words has L + 1 cells: one for each word, with what is inserted before it, and
    one for what is inserted after the last. C cells are in a corpus.

    Attributes:
        errors: (C,) wrong words and insertions.
        right: (C,) whether the word is right, False for the cell after the last.
        first: (N,) the first cell of each utterance.
    """

    errors: NDArray[np.int64]
    right: NDArray[np.bool_]
    first: NDArray[np.int64]


def cells(alignments: Alignments) -> Cells:
    """Places the errors of one alignment."""
    steps = alignments.steps
    of_reference = steps != INSERTION
    before = np.concatenate([[0], np.cumsum(of_reference)])
    rows = np.repeat(np.arange(len(alignments)), np.diff(alignments.bounds))
    cell = before[:-1] + rows
    count = int(before[-1]) + len(alignments)
    right = np.zeros(count, dtype=np.bool_)
    right[cell[steps == CORRECT]] = True
    errors = np.bincount(cell[steps != CORRECT], minlength=count)
    first = before[alignments.bounds[:-1]] + np.arange(len(alignments))
    return Cells(errors, right, first)


def segment_errors(systems: Sequence[Cells]) -> Floats:
    """Cuts the reference where no system's error can touch another's, and counts errors.

    A segment is bounded on each side by two or more words that all systems got right with nothing
    inserted between them, or by the utterance's edge; it holds an error of at least one system.

    Args:
        systems: M systems over the same reference.

    Returns:
        (M, K) errors of each system in each of K segments.

    Raises:
        ValueError: if the references differ.
    """
    first = systems[0].first
    shape = systems[0].right.shape
    if any(s.right.shape != shape or not np.array_equal(s.first, first) for s in systems):
        raise ValueError("the alignments are not of one reference")
    right = np.logical_and.reduce([s.right for s in systems])
    clean = right & np.logical_and.reduce([s.errors == 0 for s in systems])
    # Between two words that all have right, the second with nothing before it
    begins = np.zeros(shape, dtype=np.bool_)
    begins[1:] = right[:-1] & clean[1:]
    begins[first] = True
    segment = np.cumsum(begins) - 1
    errors = np.stack([np.bincount(segment, s.errors, int(begins.sum())) for s in systems])
    return errors[:, errors.any(axis=0)].astype(np.float64)


def mapsswe(a: ArrayLike, b: ArrayLike) -> Test:
    """Tests whether the mean difference in errors of a segment is 0.

    Args:
        a, b: (K,) errors in the segments, means over the seeds of each side.

    Returns:
        Statistic: mean difference over its standard error, standard normal where there is none.
    """
    differences = _differences(a, b)
    size = len(differences)
    if not size:
        return Test("mapsswe", None, None, 0, "no segment has an error")
    if not differences.any():
        return Test("mapsswe", 0.0, 1.0, size, "")
    if size == 1:
        return Test("mapsswe", None, None, 1, "only one segment has an error")
    if not np.ptp(differences):
        return Test("mapsswe", None, None, size, f"all {size} segments differ by the same")
    statistic = float(np.mean(differences) / (np.std(differences, ddof=1) / np.sqrt(size)))
    note = f"only {size} segments: the normal approximation is crude" * (size < ENOUGH_SEGMENTS)
    return Test("mapsswe", statistic, float(2 * ndtr(-abs(statistic))), size, note)


def mapsswe_error(a: ArrayLike, b: ArrayLike) -> float:
    """Standard error of the difference in errors of all segments together.

    Args:
        a, b: (K,) as for `mapsswe`.
    """
    differences = _differences(a, b)
    size = len(differences)
    if size < 2 or not np.ptp(differences):
        return 0.0
    return float(np.std(differences, ddof=1) * np.sqrt(size))


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    """a − b; those that are equal but for rounding are equal."""
    exact = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rounded: Floats = np.round(exact, _DECIMALS)
    return rounded
