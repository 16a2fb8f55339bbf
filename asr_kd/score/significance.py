"""Tests whether two systems differ: McNemar, Wilcoxon, sign test; and Holm's correction.

All are two-sided and paired. MAPSSWE has its own module; the bootstrap's is in `score.pair`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Test:
    """The outcome of one paired test, negative where the first system has fewer errors.

    Attributes:
        name: `bootstrap`, `mapsswe`, `mcnemar`, `wilcoxon` or `sign`.
        statistic: the test's own statistic; its function says which. None as below.
        p_value: two-sided; None where the test is not defined for this data.
        size: on how much the test looks: segments, sentences, speakers, resamples.
        note: a sentence about the data that the reader has to know (why there is no p-value, an
            approximation that is crude at this size); empty where there is none.
    """

    name: str
    statistic: float | None
    p_value: float | None
    size: int
    note: str


def mcnemar(a: ArrayLike, b: ArrayLike) -> Test:
    """McNemar's exact test on sentences with an error.

    Args:
        a, b: (N,) 1 where the sentence has an error, else 0; with several seeds their mean, of
            which the test sees who has less.

    Returns:
        Statistic: sentences that the first has wrong more often less those that the second has.
    """
    raise NotImplementedError


def wilcoxon(a: ArrayLike, b: ArrayLike) -> Test:
    """Wilcoxon's signed-rank test over speakers.

    Args:
        a, b: (K,) word error rates of the speakers; NaN where one has no words.

    Returns:
        Statistic: the sum of the ranks of positive differences less that of negative ones.
    """
    raise NotImplementedError


def sign(a: ArrayLike, b: ArrayLike) -> Test:
    """The exact sign test over speakers.

    Args:
        a, b: (K,) word error rates of the speakers; NaN where one has no words.

    Returns:
        Statistic: speakers for whom the first is worse less those for whom the second is.
    """
    raise NotImplementedError


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values of several tests, corrected by Holm (1979) for their number.

    Args:
        p_values: of the same test for every pair; None where it is not defined, which counts as
            no test.

    Returns:
        Corrected values in the same order: compare them with the level as it is.
    """
    raise NotImplementedError
