"""Tests whether two systems differ: McNemar, Wilcoxon, sign test; and Holm's correction.

All are two-sided and paired. MAPSSWE has its own module; the bootstrap's is in `score.pair`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr

from asr_kd.score.power import ALPHA

ENOUGH_SENTENCES = 25  # that differ: the customary bound of McNemar's test in its normal form
EXACT_RANKS = 200  # speakers up to which Wilcoxon's distribution is counted out, in 0.1 s
_DECIMALS = 12  # rates that are the same number of errors per word differ by rounding at 1e-16


@dataclass(frozen=True)
class Test:
    """The outcome of one paired test.

    Attributes:
        name: `bootstrap`, `mapsswe`, `mcnemar`, `wilcoxon` or `sign`.
        statistic: the test's own statistic, negative where the first system has fewer errors; its
            function says which it is. None where the test is not defined for this data.
        p_value: two-sided; None where the test is not defined for this data.
        size: on how much the test looks: segments, sentences, speakers, resamples.
        note: a sentence about the data that the reader has to know (why there is no p-value, an
            approximation that is crude at this size); empty where there is none.
    """

    # pytest would take it for a class of tests
    __test__ = False

    name: str
    statistic: float | None
    p_value: float | None
    size: int
    note: str


def mcnemar(a: ArrayLike, b: ArrayLike) -> Test:
    """McNemar's exact test on sentences with an error (McNemar 1947; Gillick & Cox 1989).

    Sentences that both have right, or both wrong, say nothing; of the others each system has half
    wrong if they are equal (binomial distribution, as in `sc_stats -t mcn`). Means over several
    seeds are compared by the form for pairs in clusters, each sentence a cluster, which is normal
    and of the same statistic (Durkalski et al. 2003, "Analysis of clustered matched-pair data",
    Statistics in Medicine 22); that of signs would favour the side whose seeds agree less.

    Args:
        a, b: (N,) 1 where the sentence has an error, else 0; with several seeds their mean.

    Returns:
        Statistic: sentences that the first has wrong less those that the second has.
    """
    differences = _differences(a, b)
    if not np.any(differences % 1):
        return _signs("mcnemar", differences, "sentences")
    statistic = float(differences.sum())
    p_value = float(2 * ndtr(-abs(statistic) / np.sqrt(np.sum(differences**2))))
    used = int(np.count_nonzero(differences))
    note = f"sentences that differ: {used}; the normal approximation is crude"
    return Test(
        "mcnemar", statistic, p_value, len(differences), note if used < ENOUGH_SENTENCES else ""
    )


def sign(a: ArrayLike, b: ArrayLike) -> Test:
    """The exact sign test over speakers.

    Speakers whose rates are equal say nothing and are left out; `sc_stats -t sign` deals them out
    to both systems instead, which finds less.

    Args:
        a, b: (K,) word error rates of the speakers; NaN where one has no words.

    Returns:
        Statistic: speakers for whom the first is worse less those for whom the second is.
    """
    return _signs("sign", _differences(a, b), "speakers")


def wilcoxon(a: ArrayLike, b: ArrayLike) -> Test:
    """Wilcoxon's signed-rank test over speakers (Wilcoxon 1945).

    Speakers whose rates are equal are left out, as Wilcoxon did; equal differences share the mean
    of their ranks. All signs of these ranks are counted out for up to `EXACT_RANKS` speakers; the
    normal approximation with the variance of the ranks as they are is used above.

    Args:
        a, b: (K,) word error rates of the speakers; NaN where one has no words.

    Returns:
        Statistic: the sum of the ranks of positive differences less that of negative ones.
    """
    differences = _differences(a, b)
    used = differences[differences != 0]
    if not len(used):
        return Test("wilcoxon", *_nothing(differences), _unused(differences, "speakers"))
    ranks = _mid_ranks(np.abs(used))
    statistic = float(np.sum(np.sign(used) * ranks))
    if len(used) <= EXACT_RANKS:
        p_value = _exact_rank_p(ranks, statistic)
    else:
        p_value = float(2 * ndtr(-abs(statistic) / np.sqrt(np.sum(ranks**2))))
    note = _unused(differences, "speakers")
    return Test("wilcoxon", statistic, p_value, len(differences), note)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of several tests, corrected by Holm (1979) for their number.

    Args:
        p_values: of the same test for every pair; None where it is not defined, which counts as
            no test.

    Returns:
        Corrected values in the same order: compare them with the level as it is.
    """
    corrected: list[float | None] = [None] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p_value, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_value))
        corrected[index] = largest
    return corrected


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """a − b, without what is not defined."""
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return np.round(differences[~np.isnan(differences)], _DECIMALS)


def _signs(name: str, differences: NDArray[np.float64], of: str) -> Test:
    worse, better = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    note = _unused(differences, of)
    if not worse + better:
        return Test(name, *_nothing(differences), note)
    p_value = min(1.0, 2 * float(bdtr(min(worse, better), worse + better, 0.5)))
    return Test(name, float(worse - better), p_value, len(differences), note)


def _nothing(differences: NDArray[np.float64]) -> tuple[float | None, float | None, int]:
    """Statistic, p-value and size where no two values differ."""
    return (0.0, 1.0, len(differences)) if len(differences) else (None, None, 0)


def _unused(differences: NDArray[np.float64], of: str) -> str:
    """Tells of a test by signs or ranks that cannot find anything."""
    if not len(differences):
        return f"there are no {of} to look at"
    used = int(np.count_nonzero(differences))
    if 2 * 0.5**used > ALPHA:
        return f"{of} that differ: {used}; no p-value of this test can be below {ALPHA}"
    return ""


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return means


def _exact_rank_p(ranks: NDArray[np.float64], statistic: float) -> float:
    """The probability of a sum as far from 0 as `statistic` if every rank's sign is a coin's toss.

    Args:
        ranks: (n,) multiples of one half.
        statistic: sum of signed ranks.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)  # of the positive ranks' sum, in halves
    probability = np.zeros(int(doubled.sum()) + 1)
    probability[0] = 1.0
    top = 0
    for rank in doubled:
        moved = probability[: top + 1] / 2
        probability[: top + 1] = moved
        top += int(rank)
        probability[rank : top + 1] += moved
    # The positive ranks' sum is (total + statistic) / 2; its distribution is symmetric.
    lower = round(int(doubled.sum()) - abs(2 * statistic)) // 2
    return min(1.0, 2 * float(probability[: lower + 1].sum()))
