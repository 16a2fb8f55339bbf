"""The matched-pairs sentence-segment word error test (MAPSSWE) as NIST defines it.

Gillick & Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms";
`sc_stats -t mapsswe` of NIST's SCTK.
"""

from collections.abc import Sequence

from numpy.typing import NDArray

from asr_kd.score.alignment import Alignments
from asr_kd.score.bootstrap import Floats
from asr_kd.score.significance import Test


def segment_errors(systems: Sequence[Alignments]) -> tuple[NDArray, Floats]:
    """Cuts the reference where no system's error can touch another's, and counts errors.

    A segment is bounded on each side by two or more words that all systems got right, or by the
    utterance's edge, and holds an error of at least one system.

    Args:
        systems: M alignments of the same reference.

    Returns:
        (K,) utterance of each segment, and (M, K) errors.
    """
    raise NotImplementedError


def mapsswe(a: Sequence[Alignments], b: Sequence[Alignments]) -> Test:
    """Tests whether the mean difference in errors of a segment is 0.

    Args:
        a, b: alignments of two systems, one or more of each (seeds); bounds are words that all of
            them got right, errors are means over each side's own.

    Returns:
        Statistic: standard normal.
    """
    raise NotImplementedError
