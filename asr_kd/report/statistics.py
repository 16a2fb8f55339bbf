"""The figures of a comparison: rates, paired differences, and the share of the gain that is kept.

All come from one set of bootstrap resamples of seeds of training and of speakers, the same ones for
all systems; `score.bootstrap` says how. Frame accuracies of the share are those of the paper's
speech table: (student − single) / (ensemble − single), 86% there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.report.systems import Comparison, Decoding
from asr_kd.score.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    block_sums,
    percentile_interval,
    resampled_sums,
)

BASELINE, TEACHER, ENSEMBLE = "baseline", "teacher", "ensemble"
HARD_STUDENT, STUDENT = "hard-student", "student"
PAIRS = ((STUDENT, HARD_STUDENT), (STUDENT, TEACHER), (ENSEMBLE, TEACHER))


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval."""

    value: float
    interval: Interval

    @property
    def inside_noise(self) -> bool:
        """Whether the interval includes 0."""
        return self.interval.holds(0.0)


@dataclass(frozen=True)
class Row:
    """One role: means over its members and seeds.

    Attributes:
        frame_accuracy: None where it was not measured.
        operations: mean substitutions, deletions, insertions of a folder.
        params: smallest and largest number of parameters of a folder.
        rtf: mean CPU seconds per second of speech: forward, search.
        partial: partial paths, and decoded utterances, of all folders together.
        share: of the ensemble's gain in frame accuracy; None where the role has none.
        share_defined: False where the gain's interval includes 0, or where there is no gain.
    """

    role: str
    folders: int
    frame_accuracy: Estimate | None
    wer: Estimate
    operations: tuple[float, float, float]
    params: tuple[int, int]
    rtf: tuple[float, float]
    partial: tuple[int, int]
    share: Estimate | None
    share_defined: bool


@dataclass(frozen=True)
class Difference:
    """A role minus another, paired by seed and speaker."""

    role: str
    other: str
    wer: Estimate
    frame_accuracy: Estimate | None


class Statistics:
    """Point values and paired resamples of every role's rates.

    Args:
        comparison: the systems.
        resamples: bootstrap resamples.
        seed: of the random draws.

    Attributes:
        blocks: what is drawn beside seeds, "speakers" or "utterances".
        utterances, words, frames, speakers: how much test data there is.
    """

    def __init__(self, comparison: Comparison, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.comparison = comparison
        utt2spk = comparison.utt2spk
        self._utts = sorted(comparison.decodings[0].errors)
        self.utterances = len(self._utts)
        self.speakers = len({utt2spk[utt_id] for utt_id in self._utts})
        self.blocks = "speakers" if self.speakers > 1 else "utterances"
        self._block_of = [utt2spk[u] if self.speakers > 1 else u for u in self._utts]
        measured = [d for d in comparison.decodings if d.frames]
        self._frames = {u: n for u, (n, _) in measured[0].frames.items()} if measured else {}
        sizes = self._sums(
            [
                (count.words, self._frames.get(utt_id, 0))
                for utt_id, count in ((u, comparison.decodings[0].errors[u]) for u in self._utts)
            ]
        )
        # (S, G, C): words, frames, then errors and correct frames of each role
        seeds: Sequence[str | None] = comparison.seeds or [None]
        columns = [np.broadcast_to(sizes, (len(seeds), *sizes.shape))]
        columns += [np.stack([self._mean_member(r, s) for s in seeds]) for r in comparison.roles]
        values = np.concatenate(columns, axis=2)
        point = values.sum(axis=(0, 1))
        self.words, self.frames = (int(n / len(seeds)) for n in point[:2])
        # Row 0 is the data as it is, the others are resamples.
        self._totals = np.vstack([point, resampled_sums(values, resamples, seed)])

    def _sums(self, rows: Sequence[tuple[int, int]]) -> Floats:
        return block_sums(self._block_of, rows)

    def _mean_member(self, role: str, seed: str | None) -> Floats:
        members = [d for d in self.comparison.of(role) if d.seed in (seed, None)]
        return np.mean([self._counts(member) for member in members], axis=0)

    def _counts(self, decoding: Decoding) -> Floats:
        return self._sums(
            [
                (decoding.errors[utt_id].errors, decoding.frames.get(utt_id, (0, 0))[1])
                for utt_id in self._utts
            ]
        )

    def _column(self, role: str) -> int:
        return 2 + 2 * self.comparison.roles.index(role)

    def _wer(self, role: str) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._totals[:, self._column(role)] / self._totals[:, 0]

    def _frame_accuracy(self, role: str) -> Floats | None:
        if role not in self.comparison.roles or not self.comparison.of(role)[0].frames:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._totals[:, self._column(role) + 1] / self._totals[:, 1]

    def rows(self) -> list[Row]:
        """One row for each role."""
        return [self._row(role) for role in self.comparison.roles]

    def _row(self, role: str) -> Row:
        folders = self.comparison.of(role)
        accuracy = self._frame_accuracy(role)
        counts = [count for folder in folders for count in folder.errors.values()]
        operations = np.sum([(c.substitutions, c.deletions, c.insertions) for c in counts], axis=0)
        rtf = np.mean(
            [(f.info["rtf"]["forward"], f.info["rtf"]["search"]) for f in folders], axis=0
        )
        params = [folder.info["params"] for folder in folders]
        share, defined = self._share(role)
        return Row(
            role=role,
            folders=len(folders),
            frame_accuracy=None if accuracy is None else estimate(accuracy, 0, 1),
            wer=estimate(self._wer(role), 0),
            operations=tuple((operations / len(folders)).tolist()),
            params=(min(params), max(params)),
            rtf=tuple(rtf.tolist()),
            partial=tuple(sum(f.info[k] for f in folders) for k in ("partial", "utterances")),
            share=share,
            share_defined=defined,
        )

    def gain(self) -> Estimate | None:
        """The ensemble's gain in frame accuracy over its mean member."""
        ensemble, teacher = self._frame_accuracy(ENSEMBLE), self._frame_accuracy(TEACHER)
        return None if ensemble is None or teacher is None else estimate(ensemble - teacher)

    def _share(self, role: str) -> tuple[Estimate | None, bool]:
        own, gain = self._frame_accuracy(role), self.gain()
        ensemble, teacher = self._frame_accuracy(ENSEMBLE), self._frame_accuracy(TEACHER)
        if role in (BASELINE, TEACHER, ENSEMBLE) or own is None or gain is None:
            return None, False
        if ensemble is None or teacher is None or gain.interval.low <= 0:
            return None, False
        with np.errstate(invalid="ignore", divide="ignore"):
            return estimate((own - teacher) / (ensemble - teacher)), True

    def differences(self) -> list[Difference]:
        """Paired differences of the pairs that are there."""
        roles = self.comparison.roles
        return [self.difference(a, b) for a, b in PAIRS if a in roles and b in roles]

    def difference(self, role: str, other: str) -> Difference:
        """The paired difference of two roles."""
        mine, theirs = self._frame_accuracy(role), self._frame_accuracy(other)
        accuracy = None if mine is None or theirs is None else estimate(mine - theirs)
        return Difference(role, other, estimate(self._wer(role) - self._wer(other)), accuracy)


def estimate(samples: Floats, lowest: float = -np.inf, highest: float = np.inf) -> Estimate:
    """The figure of the data as they are, row 0 of (1+R,), with the interval of R resamples.

    Args:
        samples: (1+R,).
        lowest, highest: what can happen; the interval ends there.
    """
    return Estimate(float(samples[0]), percentile_interval(samples[1:], lowest, highest))
