"""`--fail-if-worse`: an exit code for people's own continuous integration."""

from collections.abc import Sequence

from asr_kd.errors import AsrKdError
from asr_kd.report.comparison import Comparison
from asr_kd.report.pairs import Pair
from asr_kd.report.table import difference, p_value
from asr_kd.report.tables import partial_mark
from asr_kd.score.bootstrap import Interval

TESTS = ("bootstrap", "mapsswe")
"""The tests that decide, both of them: the bootstrap draws speakers and seeds, but of few speakers
its intervals are too narrow; MAPSSWE has many segments, but holds them independent."""


class WorseError(AsrKdError):
    """A system was shown to be worse than another; the outputs are complete.

    Args:
        lines: what was found.
    """

    exit_code = 3

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))


def verdicts(
    system: str | None, alpha: float, sets: Sequence[tuple[Comparison, Sequence[Pair]]]
) -> tuple[list[str], bool]:
    """Whether a system is worse than any that it was compared with.

    It is worse where its word error rate is higher and the corrected two-sided p-values of all
    `TESTS` that are defined are below `alpha`.

    Args:
        system: one of the systems; None to ask nothing.
        alpha: level of the test.
        sets: each test set and its pairs; those without the system say nothing of it.

    Returns:
        A line for each pair that it is in, and whether it is worse in one of them.
    """
    lines = []
    worse = False
    for comparison, pairs in sets:
        where = f"{comparison.name}{partial_mark(comparison.partial)}"
        for pair in pairs:
            result, p = pair.result, _p_value(pair)
            if system not in (result.a, result.b):
                continue
            found, interval, other = result.difference, result.percentile, result.b
            if system == result.b:
                found, interval, other = -found, Interval(-interval.high, -interval.low), result.a
            is_worse = p is not None and p < alpha and found > 0
            worse |= is_worse
            told = f"WER {difference(found, interval)} points, p {p_value(p)}, alpha {alpha:g}"
            verdict = "is worse than" if is_worse else "is not shown to be worse than"
            lines.append(f"{where}: {system} {verdict} {other}: {told}")
    return lines, worse


def _p_value(pair: Pair) -> float | None:
    """The larger one: what both tests find is below the level of each."""
    known = [p for p in (pair.corrected[test] for test in TESTS) if p is not None]
    return max(known, default=None)
