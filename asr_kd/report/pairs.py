"""Pairs of systems: which are compared, the tests of each, and the correction for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from asr_kd.report.comparison import Comparison
from asr_kd.report.statistics import PAIRS, Estimate, Statistics
from asr_kd.score.pair import TESTS, PairResult, PairSide, compare_pair
from asr_kd.score.significance import holm

MOST_SYSTEMS = 6
"""With more, tables show the differences from one system alone."""


@dataclass(frozen=True)
class Pair:
    """A role minus another on one test set.

    Attributes:
        result: difference in word error rate, intervals and tests.
        frame_accuracy: difference, None where one of them was not measured.
        corrected: test → p-value corrected by Holm for all pairs of the report.
    """

    result: PairResult
    frame_accuracy: Estimate | None
    corrected: Mapping[str, float | None]


@dataclass(frozen=True)
class Chosen:
    """Which pairs are compared; every pair where neither is given.

    Attributes:
        baseline: the role that all others are compared with.
        differences: `A:B`, pairs of roles.
    """

    baseline: str | None = None
    differences: tuple[str, ...] = ()

    def of(self, roles: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs among the roles of one test set, the later one minus the earlier one."""
        pairs = [(a, b) for a, _, b in (text.partition(":") for text in self.differences)]
        if self.baseline is not None:
            pairs = [(role, self.baseline) for role in roles if role != self.baseline] + pairs
        elif not self.differences:
            pairs = [(b, a) for i, a in enumerate(roles) for b in roles[i + 1 :]]
            pairs = [(b, a) if (b, a) in PAIRS else (a, b) for a, b in pairs]
        known = [(a, b) for a, b in pairs if a in roles and b in roles]
        return list(dict.fromkeys(known))

    def centre(self, roles: Sequence[str]) -> str | None:
        """The system that others are shown against where all pairs are too many; else None."""
        asked = self.baseline is not None or self.differences
        return None if asked or len(roles) <= MOST_SYSTEMS else roles[0]

    def faults(self, comparisons: Sequence[Comparison]) -> list[str]:
        """What names no pair of systems."""
        faults = []
        roles = list(dict.fromkeys(role for one in comparisons for role in one.roles))
        asked = [] if self.baseline is None else [self.baseline]
        for text in self.differences:
            pair = text.split(":")
            if len(pair) != 2 or pair[0] == pair[1]:
                faults.append(f"--difference {text}: expected A:B, two systems")
            else:
                asked += pair
        return faults + [
            f"no system {role!r}; the systems are {', '.join(roles)}"
            for role in dict.fromkeys(asked)
            if role not in roles
        ]


def compared_pairs(statistics: Sequence[Statistics], chosen: Chosen) -> list[list[Pair]]:
    """Compares the chosen pairs on each test set.

    Args:
        statistics: of each test set.
        chosen: the pairs.

    Returns:
        For each test set its pairs; p-values are corrected over all of them together.
    """
    found: list[list[Pair]] = []
    for one in statistics:
        comparison = one.comparison
        sides = {role: _side(comparison, role) for role in comparison.roles}
        found.append([
            Pair(
                compare_pair(sides[a], sides[b], comparison.utt2spk),
                one.difference(a, b).frame_accuracy, {},
            )
            for a, b in chosen.of(comparison.roles)
        ])  # fmt: skip
    every = [pair for pairs in found for pair in pairs]
    corrected = {name: holm([pair.result.test(name).p_value for pair in every]) for name in TESTS}
    done = iter(
        replace(pair, corrected={test: corrected[test][i] for test in TESTS})
        for i, pair in enumerate(every)
    )
    return [[next(done) for _ in pairs] for pairs in found]


def shown_pairs(pairs: Sequence[Pair], centre: str | None) -> list[Pair]:
    """Those that tables show: of the centre if there is one, and those of roles with a meaning."""
    if centre is None:
        return list(pairs)
    names = [(pair, (pair.result.a, pair.result.b)) for pair in pairs]
    return [pair for pair, of in names if centre in of or of in PAIRS]


def _side(comparison: Comparison, role: str) -> PairSide:
    decodings = comparison.of(role)
    return PairSide(role, [d.alignments for d in decodings], [d.seed for d in decodings])
