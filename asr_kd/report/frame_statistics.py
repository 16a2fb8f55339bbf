"""The figures of frame tables: rates, errors, paired differences, shares of a loss won back.

As in `statistics`, all intervals come from one set of bootstrap resamples a data set, of seeds of
training and of speakers, the same ones for all systems; `score.bootstrap` says how.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.report.evaluations import Evaluation, FrameComparison
from asr_kd.report.statistics import Estimate, Statistics, estimate
from asr_kd.score.bootstrap import RESAMPLES, Floats, resampled_sums


@dataclass(frozen=True)
class Spread:
    """A count over several folders."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class SetFigures:
    """One role on one data set.

    Attributes:
        accuracy: mean frame accuracy.
        errors: wrong frames of a folder.
        cross_entropy: mean over frames and folders, in nats.
        label_errors: wrong frames among those of the labels asked for.
    """

    accuracy: Estimate
    errors: Spread
    cross_entropy: Estimate
    label_errors: Spread | None


@dataclass(frozen=True)
class FrameRow:
    """One role.

    Attributes:
        folders: its members and seeds.
        params: smallest and largest number of parameters of a folder.
        sets: data set → figures, where it was evaluated.
        wer: where it was decoded.
    """

    role: str
    folders: int
    params: tuple[int, int]
    sets: dict[str, SetFigures]
    wer: Estimate | None


@dataclass(frozen=True)
class FrameDifference:
    """A role minus another, paired by seed and speaker, on the data sets that both know."""

    role: str
    other: str
    accuracy: dict[str, Estimate]
    wer: Estimate | None


@dataclass(frozen=True)
class WonBack:
    """(`soft` − `hard`) / (`full` − `hard`) in frame accuracy, as the paper's table of 3% asks.

    Attributes:
        by_set: data set → share; None where the interval of `full` − `hard` reaches 0 or below,
            as there may be nothing to win back.
    """

    full: str
    hard: str
    soft: str
    by_set: dict[str, Estimate | None]


class FrameStatistics:
    """Point values and paired resamples of every role's rates on every data set.

    Args:
        comparison: the systems.
        labels: glob patterns of the labels whose errors are counted apart.
        resamples: bootstrap resamples.
        seed: of the random draws.

    Attributes:
        frames, speakers: how much data there is in each data set.
    """

    def __init__(
        self,
        comparison: FrameComparison,
        labels: Sequence[str] = (),
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.comparison = comparison
        self._labels = labels
        self.frames: dict[str, int] = {}
        self.speakers: dict[str, int] = {}
        self._rates: dict[tuple[str, str], Floats] = {}
        for data_set in comparison.sets:
            self._resample(data_set, resamples, seed)
        self._words = Statistics(comparison.decoded) if comparison.decoded else None
        self._wer = {row.role: row.wer for row in self._words.rows()} if self._words else {}

    def _resample(self, data_set: str, resamples: int, seed: int) -> None:
        """Fills `_rates`: (1+R, 2) accuracy and cross-entropy, the data as they are first."""
        roles = [r for r in self.comparison.roles if self.comparison.of(r, data_set)]
        some = self.comparison.of(roles[0], data_set)[0]
        speakers = sorted(some.by_speaker)
        seeds: Sequence[str | None] = self.comparison.seeds or [None]
        # (S, G, 1+2R): frames, then errors and cross-entropy of each role
        columns = [np.array([[[some.by_speaker[s][0]] for s in speakers]] * len(seeds))]
        for role in roles:
            members = [
                [e for e in self.comparison.of(role, data_set) if e.seed in (s, None)]
                for s in seeds
            ]
            columns.append(np.stack([_mean_member(m, speakers) for m in members]))
        values = np.concatenate(columns, axis=2).astype(np.float64)
        totals = np.vstack([values.sum(axis=(0, 1)), resampled_sums(values, resamples, seed)])
        self.frames[data_set] = int(totals[0, 0] / len(seeds))
        self.speakers[data_set] = len(speakers)
        with np.errstate(invalid="ignore", divide="ignore"):
            for i, role in enumerate(roles):
                errors, nats = totals[:, 1 + 2 * i : 3 + 2 * i].T / totals[:, 0]
                self._rates[role, data_set] = np.stack([1 - errors, nats], axis=1)

    def tested(self, data_set: str) -> bool:
        """Whether there is more than one block to draw: without, an interval is a point."""
        return self.speakers[data_set] > 1 or len(self.comparison.seeds) > 1

    def rows(self) -> list[FrameRow]:
        """One row for each role."""
        return [self._row(role) for role in self.comparison.roles]

    def _row(self, role: str) -> FrameRow:
        sets = {s: self._figures(role, s) for s in self.comparison.sets if (role, s) in self._rates}
        decoded = self.comparison.decoded.of(role) if self.comparison.decoded else []
        params = [e.params for e in self.comparison.of(role)] or [d.info["params"] for d in decoded]
        folders = [len(self.comparison.of(role, s)) for s in sets] or [len(decoded)]
        return FrameRow(role, max(folders), (min(params), max(params)), sets, self._wer.get(role))

    def _figures(self, role: str, data_set: str) -> SetFigures:
        rates = self._rates[role, data_set]
        folders = self.comparison.of(role, data_set)
        on_labels = _spread([e.errors_on(self._labels) for e in folders]) if self._labels else None
        return SetFigures(
            estimate(rates[:, 0], 0, 1), _spread([e.errors for e in folders]),
            estimate(rates[:, 1], 0), on_labels,
        )  # fmt: skip

    def difference(self, role: str, other: str) -> FrameDifference:
        """The paired difference of two roles."""
        accuracy = {
            s: estimate(self._accuracy(role, s) - self._accuracy(other, s))
            for s in self.comparison.sets
            if {(role, s), (other, s)} <= self._rates.keys()
        }
        wer = None
        if self._words and {role, other} <= self._wer.keys():
            wer = self._words.difference(role, other).wer
        return FrameDifference(role, other, accuracy, wer)

    def won_back(self, full: str, hard: str, soft: str) -> WonBack:
        """The share of `hard`'s loss of frame accuracy that `soft` wins back."""
        shares: dict[str, Estimate | None] = {}
        for s in self.comparison.sets:
            if {(full, s), (hard, s), (soft, s)} <= self._rates.keys():
                loss = self._accuracy(full, s) - self._accuracy(hard, s)
                gain = self._accuracy(soft, s) - self._accuracy(hard, s)
                with np.errstate(invalid="ignore", divide="ignore"):
                    share = estimate(gain / loss) if estimate(loss).interval.low > 0 else None
                shares[s] = share
        return WonBack(full, hard, soft, shares)

    def _accuracy(self, role: str, data_set: str) -> Floats:
        return self._rates[role, data_set][:, 0]


def _mean_member(members: Sequence[Evaluation], speakers: Sequence[str]) -> Floats:
    """(G, 2): errors and cross-entropy of each speaker, the mean over the members."""
    figures = [[member.by_speaker[s][1:] for s in speakers] for member in members]
    return np.mean(np.array(figures, dtype=np.float64), axis=0)


def _spread(counts: Sequence[int]) -> Spread:
    return Spread(float(np.median(counts)), min(counts), max(counts))
