"""Bootstrap intervals of rates whose samples come in blocks: speakers, and seeds of training.

Utterances of one speaker are not independent, nor are the systems that were trained from one seed;
whole blocks are therefore drawn (Bisani & Ney 2004 draw utterances; the blocks are ours). A paired
comparison draws the same blocks for all systems, which `resampled_sums` does by construction.

Seeds are few, and drawing a few with replacement gives intervals that are much too narrow: three
seeds drawn thus cover the truth in three of four cases instead of 95% (Hesterberg 2015, "What
teachers should know about the bootstrap", The American Statistician 69(4), on narrowness bias, for
which he corrects by the factor sqrt(S / (S - 1)) and by quantiles of Student's t). The mean over
the seeds is therefore moved by draws from Student's t distribution with S - 1 degrees of freedom,
its scale the seeds' standard error: of data without blocks the interval is the one of the t test.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

RESAMPLES = 10_000
LEVEL = 0.95
METHOD = "seeds by t over all blocks, p from 2^(1 - blocks)"  # a change makes tables anew
FEW_BLOCKS = 10  # below, tests/score/test_pair.py finds 95% intervals to hold in under 90%
_ELEMENTS_AT_ONCE = 1 << 16  # of the draws: 512 KB stay in a core's cache, twice as fast as 32 MB

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An interval at level `LEVEL`."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside, ends included."""
        return self.low <= value <= self.high


def drawn(seeds: int, blocks: str) -> str:
    """How intervals of so many seeds of training came about, for the reader of a table."""
    of = (
        f"95% percentile intervals of {RESAMPLES:,} bootstrap resamples of {blocks}, the same "
        f"draws for all systems"
    )
    if seeds == 1:
        return of
    return (
        f"{of}; the mean of {seeds} seeds moves by Student's t with {seeds - 1} degrees of freedom "
        f"(drawn with replacement, few seeds give intervals too narrow: Hesterberg 2015)"
    )


def few_drawn(count: int, blocks: str) -> str:
    """What readers have to know of figures drawn from so few blocks; empty where they are enough.

    Args:
        count: of blocks that hold words.
        blocks: "speakers" or "utterances".
    """
    if count >= FEW_BLOCKS:
        return ""
    return f"drawn from only {count} {blocks.removesuffix('s') if count == 1 else blocks}"


def block_sums(blocks: Sequence[Hashable], values: ArrayLike) -> Floats:
    """Sums rows by block.

    Args:
        blocks: the block (a speaker) of each of N rows.
        values: (N, C) counts.

    Returns:
        (G, C), the blocks in sorted order of their names.
    """
    rows = np.asarray(values, dtype=np.float64)
    names = {name: i for i, name in enumerate(sorted(set(blocks), key=str))}
    places = np.array([names[block] for block in blocks], dtype=np.int64)
    sums = [np.bincount(places, column, minlength=len(names)) for column in rows.T]
    return np.stack(sums, axis=1)


def resampled_sums(values: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Totals of two-level bootstrap resamples.

    Each resample draws G blocks with replacement, of all seeds, and a weight for each seed (module
    docstring), by which the seeds' totals over all blocks move the sum. How far the seeds lie apart
    is taken from all blocks: in drawn ones they lie further apart by what the blocks do, which
    would count twice. The weights of a draw sum to S: what is the same for all seeds, such as the
    number of words or a system that has no seeds, varies with the blocks alone.

    Args:
        values: (S, G, C) counts of C quantities, one block and seed each. S = 1 gives the
            ordinary bootstrap over blocks, of which a percentile interval stays inside what can
            happen; with seeds that differ much it may not.
        resamples: how many resamples R.
        seed: of the random draws; the same seed gives the same totals.

    Returns:
        (R, C) totals. Columns of one row belong to the same draw: ratios and differences of
        columns are paired.
    """
    values = np.asarray(values, dtype=np.float64)
    num_seeds, num_blocks, columns = values.shape
    rng = np.random.default_rng(seed)
    all_seeds = values.sum(axis=0)
    totals = np.empty((resamples, columns))
    seeds = _seed_weights(rng, resamples, num_seeds)
    at_once = max(1, _ELEMENTS_AT_ONCE // num_blocks)
    for start in range(0, resamples, at_once):
        part = slice(start, min(start + at_once, resamples))
        totals[part] = _draw(rng, part.stop - start, num_blocks) @ all_seeds
    return totals + (seeds - 1) @ values.sum(axis=1)


def _seed_weights(rng: np.random.Generator, resamples: int, seeds: int) -> Floats:
    """(R, S) around 1, each row of sum S.

    Of independent normal z the weights are 1 + (z - mean z) / sqrt(c / S), c chi-squared with
    S - 1 degrees of freedom: weighted means then lie around the mean as t times s / sqrt(S).
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    normal = rng.standard_normal((resamples, seeds))
    spread = np.sqrt(rng.chisquare(seeds - 1, (resamples, 1)) / seeds)
    weights: Floats = 1 + (normal - normal.mean(axis=1, keepdims=True)) / spread
    return weights


def _draw(rng: np.random.Generator, resamples: int, items: int) -> Floats:
    """(R, items): how often each item was drawn in `items` draws with replacement."""
    drawn = rng.integers(items, size=(resamples, items))
    drawn += np.arange(resamples)[:, None] * items
    counts = np.bincount(drawn.ravel(), minlength=resamples * items)
    return counts.reshape(resamples, items).astype(np.float64)


def percentile_interval(
    samples: Floats, lowest: float = -np.inf, highest: float = np.inf
) -> Interval:
    """The central interval of `LEVEL` of the samples; infinite and NaN ones are left out.

    A draw of blocks without words has no rate.

    Args:
        samples: (R,).
        lowest, highest: what can happen; the interval ends there.
    """
    tail = 50 * (1 - LEVEL)
    defined = samples[np.isfinite(samples)]
    low, high = np.percentile(defined, [tail, 100 - tail]).clip(lowest, highest)
    return Interval(float(low), float(high))


def jackknife_sums(values: ArrayLike) -> Floats:
    """Totals without one block each, for `bca_interval`.

    Args:
        values: (S, G, C) as for `resampled_sums`.

    Returns:
        (G, C); zeros where there is but one block.
    """
    of_blocks = np.asarray(values, dtype=np.float64).sum(axis=0)
    without: Floats = of_blocks.sum(axis=0) - of_blocks
    return without


def bca_interval(samples: Floats, point: float, jackknife: Floats) -> Interval:
    """Efron's bias-corrected and accelerated interval of `LEVEL`.

    Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 14.3. The percentiles are
    moved by how far the median of the resamples is from the figure (samples equal to it count
    half) and by the skewness of the blocks' influence on it. It is for one seed of training: it
    takes a normal distribution behind the figure for granted, and Student's tails, by which few
    seeds move it (module docstring), throw its ends far out; `widened_by_seeds` brings them in.

    Args:
        samples: (R,) the figure of each resample; infinite and NaN ones are left out.
        point: the figure of the data as they are.
        jackknife: (G,) the figure without one block each (`jackknife_sums`).
    """
    samples = samples[np.isfinite(samples)]
    below = (np.mean(samples < point) + np.mean(samples <= point)) / 2
    if not 0 < below < 1:  # all resamples on one side: there is nothing to correct by
        return percentile_interval(samples)
    bias = ndtri(below)
    tail = ndtri((1 - LEVEL) / 2)
    acceleration = _acceleration(jackknife)
    ends = bias + np.array([tail, -tail])
    moved = 100 * ndtr(bias + ends / (1 - acceleration * ends))
    low, high = np.percentile(samples, moved)
    return Interval(float(low), float(high))


def widened_by_seeds(interval: Interval, point: float, per_seed: Floats) -> Interval:
    """The interval of a mean over seeds, of one that holds the spread of blocks alone.

    Each end's distance from the figure and the half-width of the seeds' t interval are added in
    quadrature (Zou & Donner 2008, "Construction of confidence limits about effect measures",
    Statistics in Medicine 27).

    Args:
        interval: of the mean over the seeds, of resampled blocks.
        point: the mean over the seeds.
        per_seed: (S,) the figure of each seed alone, S > 1.
    """
    seeds = len(per_seed)
    error = np.std(per_seed, ddof=1) / np.sqrt(seeds)
    half = float(stdtrit(seeds - 1, (1 + LEVEL) / 2) * error)
    return Interval(
        point - math.hypot(point - interval.low, half),
        point + math.hypot(interval.high - point, half),
    )


def _acceleration(jackknife: Floats) -> float:
    """A sixth of the skewness of the figure's distribution, by the jackknife."""
    defined = jackknife[np.isfinite(jackknife)]
    if not len(defined):
        return 0.0
    influence = defined.mean() - defined
    variance = np.sum(influence**2)
    return float(np.sum(influence**3) / (6 * variance**1.5)) if variance > 0 else 0.0
