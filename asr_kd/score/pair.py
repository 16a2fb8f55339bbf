"""Two systems on one test set: their difference, its intervals, all tests, what could be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr_kd.score.alignment import Alignments
from asr_kd.score.bootstrap import RESAMPLES, Interval
from asr_kd.score.significance import Test

TESTS = ("bootstrap", "mapsswe", "mcnemar", "wilcoxon", "sign")


@dataclass(frozen=True, eq=False)
class PairSide:
    """One system of a pair; keep it for several pairs, it remembers its counts.

    Attributes:
        name: for messages and tables.
        alignments: of one or more decodings, over the same utterances in the same order.
        seeds: the seed of training of each; None for a decoding that is the same for all seeds.
            Decodings of one seed (the teachers of an ensemble) are averaged.
    """

    name: str
    alignments: Sequence[Alignments]
    seeds: Sequence[str | None]


@dataclass(frozen=True)
class PairResult:
    """`a` against `b`; differences are a − b in WER (0.01 is a point), negative where a is better.

    Attributes:
        a, b: names.
        wer_a, wer_b: word error rates, means over seeds.
        difference: wer_a − wer_b.
        percentile, bca: 95% intervals of the difference, paired by block and by seed.
        blocks: what the bootstrap drew: "speakers" or "utterances".
        better: share of resamples in which a has the lower rate (equal ones count half): Bisani &
            Ney's probability of improvement.
        tests: one of each of `TESTS`, in that order; p_value None where one is not defined.
        smallest: smallest difference that the test set can show between systems that differ as
            these do, by the paired bootstrap, at α = .05 and power .8; None where they make the
            same errors.
        smallest_mapsswe: the same by MAPSSWE's standard error.
    """

    a: str
    b: str
    wer_a: float
    wer_b: float
    difference: float
    percentile: Interval
    bca: Interval
    blocks: str
    better: float
    tests: tuple[Test, ...]
    smallest: float | None
    smallest_mapsswe: float | None

    def test(self, name: str) -> Test:
        """The test of that name (`TESTS`)."""
        return next(test for test in self.tests if test.name == name)


def compare_pair(
    a: PairSide,
    b: PairSide,
    speakers: Mapping[str, str] | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairResult:
    """Compares two systems.

    Args:
        a, b: over the same utterances.
        speakers: utterance id → speaker. With two speakers or more the bootstrap draws speakers,
            otherwise utterances (and the tests over speakers are not defined).
        resamples: of the bootstrap.
        seed: of its draws; the same for every pair of a report.

    Raises:
        ValueError: if the alignments are not of one reference, or a side lacks seeds that the
            other has. Reports check their inputs before.
    """
    raise NotImplementedError
