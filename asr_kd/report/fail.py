"""`--fail-if-worse`: an exit code for people's own continuous integration."""

from collections.abc import Mapping, Sequence

from asr_kd.errors import AsrKdError
from asr_kd.report.comparison import Comparison
from asr_kd.report.pairs import Pair
from asr_kd.report.table import difference, p_value
from asr_kd.report.tables import TESTS, partial_mark
from asr_kd.score.bootstrap import RESAMPLES, Interval
from asr_kd.score.significance import holm

GATE = ("bootstrap", "mapsswe")
"""The tests that decide, both of them: the bootstrap draws speakers and seeds, but of few speakers
its intervals are too narrow; MAPSSWE has many segments, but holds them independent."""

SMALLEST_P = 2 / (RESAMPLES + 1)
"""What the bootstrap finds at best, before any correction."""


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

    It is worse where its word error rate is higher and the two-sided p-values of all `GATE` are
    below `alpha`, corrected by Holm for the pairs that it is in: the others are not asked here.
    Where its rate is higher and one of them is not defined there is no verdict.

    Args:
        system: one of the systems; None to ask nothing.
        alpha: level of the test.
        sets: each test set and its pairs; those without the system say nothing of it.

    Returns:
        A line for each pair that it is in, and whether it is worse in one of them.
    """
    lines = []
    worse = False
    own = [(c, pair) for c, pairs in sets for pair in pairs if system in _names(pair)]
    corrected = {test: holm([p.result.test(test).p_value for _, p in own]) for test in GATE}
    for i, (comparison, pair) in enumerate(own):
        where = f"{comparison.name}{partial_mark(comparison.partial)}"
        result = pair.result
        found, interval, other = result.difference, result.percentile, result.b
        if system == result.b:
            interval = Interval(-interval.high, -interval.low)
            found, other = -found, result.a
        is_worse, told = _decision(pair, {test: corrected[test][i] for test in GATE}, alpha)
        verdict = f"{system} is not shown to be worse than {other}"
        if found > 0 and is_worse is None:
            verdict = f"no verdict on whether {system} is worse than {other}"
        elif found > 0 and is_worse:
            verdict, worse = f"{system} is worse than {other}", True
        points = f"WER {difference(found, interval, 2)} points"
        lines.append(f"{where}: {verdict}: {points}, {told}, alpha {alpha:g}")
    return lines, worse


def _names(pair: Pair) -> tuple[str, str]:
    return pair.result.a, pair.result.b


def _decision(
    pair: Pair, corrected: Mapping[str, float | None], alpha: float
) -> tuple[bool | None, str]:
    """Whether all tests find a difference, None where one is not defined; and which one decides.

    What all of them find is below the level of each: the largest p-value decides.
    """
    known: list[tuple[float, str]] = []
    for test in GATE:
        p, (name, _) = corrected[test], TESTS[test]
        if p is None:
            return None, f"{name} not defined ({pair.result.test(test).note})"
        known.append((p, name))
    largest, name = max(known)
    return largest < alpha, f"p {p_value(largest)} ({name})"
