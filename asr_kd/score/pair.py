"""Two systems on one test set: their difference, its intervals, all tests, what could be shown."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr_kd.score.alignment import INSERTION, Alignments
from asr_kd.score.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    bca_interval,
    block_sums,
    few_drawn,
    jackknife_sums,
    percentile_interval,
    resampled_sums,
    widened_by_seeds,
)
from asr_kd.score.mapsswe import Cells, cells, mapsswe, mapsswe_error, segment_errors
from asr_kd.score.power import smallest_difference, standard_error
from asr_kd.score.significance import Test, mcnemar, sign, wilcoxon

TESTS = ("bootstrap", "mapsswe", "mcnemar", "wilcoxon", "sign")
_DECIMALS = 12  # sums of the same numbers over seeds differ by rounding at 1e-16


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Words and errors of one side, by block.

    Attributes:
        values: (S, G, 2) of each seed and block.
        totals: (R, 2) of resamples of blocks and seeds; a seed of draws gives all sides the same.
        of_blocks: (R, 2) of resamples of blocks alone, of the mean over seeds.
    """

    values: Floats
    totals: Floats
    of_blocks: Floats


@dataclass(frozen=True, eq=False)
class PairSide:
    """One system of a pair; keep it for several pairs, it remembers its counts and draws.

    Attributes:
        name: for messages and tables.
        alignments: of one or more decodings, over the same utterances in the same order.
        seeds: the seed of training of each; None for a decoding that is the same for all seeds.
            Decodings of one seed (the teachers of an ensemble) are averaged.
    """

    name: str
    alignments: Sequence[Alignments]
    seeds: Sequence[str | None]
    _drawn: dict[Hashable, _Drawn] = field(default_factory=dict, init=False, repr=False)

    @property
    def utt_ids(self) -> tuple[str, ...]:
        """The utterances."""
        return self.alignments[0].utt_ids

    @cached_property
    def words(self) -> NDArray[np.int64]:
        """(N,) reference words of each utterance."""
        return self._counts[0][:, :INSERTION].sum(axis=1)

    @cached_property
    def cells(self) -> list[Cells]:
        """Where the errors of each decoding are."""
        return [cells(alignments) for alignments in self.alignments]

    @cached_property
    def _counts(self) -> list[NDArray[np.int64]]:
        return [alignments.counts() for alignments in self.alignments]

    def drawn(
        self, blocks: tuple[str, ...], seeds: Sequence[str | None], resamples: int, seed: int
    ) -> _Drawn:
        """Resamples of N utterances' blocks and of seeds.

        Raises:
            ValueError: if there is no decoding of a seed.
        """
        key = (blocks, tuple(seeds), resamples, seed)
        if key not in self._drawn:
            each = [np.sum(counts[:, 1:], axis=1) for counts in self._counts]
            errors = self._by_seed(seeds, each)
            sums = block_sums(blocks, np.concatenate([[self.words], errors]).T)
            words = np.broadcast_to(sums[:, 0], (len(seeds), len(sums)))
            values = np.stack([words, sums[:, 1:].T], axis=2)
            totals = of_blocks = resampled_sums(values, resamples, seed)
            if len(seeds) > 1:
                of_blocks = resampled_sums(values.mean(axis=0)[None], resamples, seed)
            self._drawn[key] = _Drawn(values, totals, of_blocks)
        return self._drawn[key]

    def wrong(self, seeds: Sequence[str | None]) -> Floats:
        """(N,) share of the decodings in which an utterance has an error, seeds of one weight."""
        each = [np.sum(counts[:, 1:], axis=1) > 0 for counts in self._counts]
        return self._by_seed(seeds, each).mean(axis=0)

    def of_segments(self, seeds: Sequence[str | None], errors: Floats) -> Floats:
        """(K,) mean errors in segments, seeds of one weight, of (M, K) of each decoding."""
        return self._by_seed(seeds, list(errors)).mean(axis=0)

    def _by_seed(self, seeds: Sequence[str | None], each: Sequence[NDArray]) -> Floats:
        rows = []
        for seed in seeds:
            own = [one for one, of in zip(each, self.seeds, strict=True) if of in (seed, None)]
            if not own:
                raise ValueError(f"{self.name}: nothing of seed {seed}")
            rows.append(np.mean(own, axis=0))
        return np.stack(rows)


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
        tests: one of each of `TESTS`, in that order; p_value None where one is not defined. The
            bootstrap's statistic is the difference; it alone sees the spread between seeds.
        smallest: smallest difference that the test set can show between systems that differ as
            these do, by the paired bootstrap, at α = .05 and power .8; None where all resamples
            show the same difference.
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
        ValueError: if the alignments are not of one reference, if a side lacks seeds that the
            other has, if an utterance has no speaker, or if there are no words. Reports check
            their inputs before.
    """
    utt_ids, words = a.utt_ids, a.words
    if any(one.utt_ids != utt_ids for side in (a, b) for one in side.alignments):
        raise ValueError(f"{a.name} and {b.name} are not over the same utterances")
    if not words.any():
        raise ValueError("the reference has no words")
    named = {of for side in (a, b) for of in side.seeds if of is not None}
    seeds: list[str | None] = [*sorted(named)] or [None]
    if speakers is not None and (missing := [u for u in utt_ids if u not in speakers]):
        raise ValueError(f"{', '.join(missing)}: no speaker")
    speaker_of = tuple(speakers[u] for u in utt_ids) if speakers is not None else ()
    blocked = len(set(speaker_of)) > 1
    blocks = "speakers" if blocked else "utterances"
    segments = segment_errors([*a.cells, *b.cells])
    segments_a = a.of_segments(seeds, segments[: len(a.cells)])
    segments_b = b.of_segments(seeds, segments[len(a.cells) :])
    mine, theirs = (
        side.drawn(speaker_of if blocked else utt_ids, seeds, resamples, seed) for side in (a, b)
    )
    point_a, point_b = mine.values.sum(axis=(0, 1)), theirs.values.sum(axis=(0, 1))
    difference = float(_differences(point_a, point_b))
    samples = _differences(mine.totals, theirs.totals)
    samples = samples[np.isfinite(samples)]  # a draw without words has no rate
    percentile = percentile_interval(samples)
    bca = bca_interval(
        _differences(mine.of_blocks, theirs.of_blocks),
        difference,
        _differences(jackknife_sums(mine.values), jackknife_sums(theirs.values)),
    )
    if len(seeds) > 1:
        per_seed = _differences(mine.values.sum(axis=1), theirs.values.sum(axis=1))
        bca = widened_by_seeds(bca, difference, per_seed)
    count = int(np.count_nonzero(mine.values[0, :, 0]))  # a block without words says little
    rates_a, rates_b = (_rates(drawn.values, blocked) for drawn in (mine, theirs))
    tests = [
        _bootstrap_test(difference, samples, count, blocks),
        mapsswe(segments_a, segments_b),
        mcnemar(a.wrong(seeds), b.wrong(seeds)),
        wilcoxon(rates_a, rates_b),
        sign(rates_a, rates_b),
    ]
    if len(seeds) > 1:
        tests[1:] = [_over_seeds(test, len(seeds)) for test in tests[1:]]
    return PairResult(
        a=a.name,
        b=b.name,
        wer_a=float(point_a[1] / point_a[0]),
        wer_b=float(point_b[1] / point_b[0]),
        difference=difference,
        percentile=percentile,
        bca=bca,
        blocks=blocks,
        better=float(np.mean((samples < 0) + (samples == 0) / 2)),
        tests=tuple(tests),
        smallest=smallest_difference(standard_error(*percentile)),
        smallest_mapsswe=smallest_difference(
            mapsswe_error(segments_a, segments_b) / float(words.sum())
        ),
    )


def _differences(a: Floats, b: Floats) -> Floats:
    """(…,) differences in WER, of (…, 2) words and errors of the same draws."""
    with np.errstate(invalid="ignore", divide="ignore"):
        rates: Floats = np.round((a[..., 1] - b[..., 1]) / a[..., 0], _DECIMALS)
    return rates


def _rates(values: Floats, blocked: bool) -> Floats:
    """(K,) word error rates of K speakers; none where speakers are not known.

    NaN where a speaker has no words, insertions or not.
    """
    words, errors = values.sum(axis=0).T if blocked else np.empty((2, 0))
    return np.divide(errors, words, out=np.full(len(words), np.nan), where=words > 0)


def _bootstrap_test(difference: float, samples: Floats, count: int, blocks: str) -> Test:
    """Twice the share of resamples on the rarer side of 0 (Efron & Tibshirani 1993, chapter 15).

    One is added to counts, so that no finite number of resamples gives 0 (Davison & Hinkley 1997,
    section 4.2). Few blocks that agree by chance agree in every resample: the p-value is at least
    that of the sign test of as many blocks that all favour one system, 2^(1 - count), and one
    block has none.

    Args:
        difference: of the data as they are.
        samples: (R,) of the resamples.
        count: blocks that hold words.
        blocks: what they are.
    """
    few = few_drawn(count, blocks)
    if count < 2:
        return Test("bootstrap", difference, None, len(samples), f"{few}: nothing varies")
    rarer = min(np.sum(samples <= 0), np.sum(samples >= 0))
    least = 2.0 ** (1 - count)
    p_value = min(1.0, max(least, 2 * (float(rarer) + 1) / (len(samples) + 1)))
    note = f"{few}: the interval is too narrow, and no p-value can be below {least:.2g}"
    return Test("bootstrap", difference, p_value, len(samples), note if few else "")


def _over_seeds(test: Test, seeds: int) -> Test:
    said = f"errors are means over {seeds} seeds, whose spread this test does not see"
    return replace(test, note=f"{test.note}; {said}" if test.note else said)
