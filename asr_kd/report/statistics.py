"""The figures of a comparison: rates, paired differences, and the share of the gain that is kept.

All come from one set of bootstrap resamples of seeds of training and of speakers, the same ones for
all systems; `score.bootstrap` says how. Frame accuracies of the share are those of the paper's
speech table: (student − single) / (ensemble − single), 86% there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr_kd.report.comparison import Comparison, Decoding
from asr_kd.score.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    block_sums,
    few_drawn,
    percentile_interval,
    resampled_sums,
)

BASELINE, TEACHER, ENSEMBLE = "baseline", "teacher", "ensemble"
HARD_STUDENT, STUDENT = "hard-student", "student"
_WORDS, _FRAMES, _SENTENCES, _CHARACTERS = range(4)  # columns
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
        folders: its members and seeds.
        frame_accuracy: None where it was not measured.
        wer: word error rate.
        ser: share of sentences with an error.
        cer: character error rate.
        operations: mean substitutions, deletions, insertions of a folder.
        params: smallest and largest number of parameters of a folder; as the next one, None where
            a folder does not say it.
        rtf: mean CPU seconds per second of speech: forward, search.
        latency_ms: smallest and largest of a folder, in milliseconds; None where one cannot stream.
        partial: partial paths, and decoded utterances, of all folders together.
        share: of the ensemble's gain in frame accuracy; None where the role has none, where there
            is no gain, or where its interval includes 0.
    """

    role: str
    folders: int
    frame_accuracy: Estimate | None
    wer: Estimate
    ser: Estimate
    cer: Estimate
    operations: tuple[float, float, float]
    params: tuple[int, int] | None
    rtf: tuple[float, float] | None
    latency_ms: tuple[float, float] | None
    partial: tuple[int, int] | None
    share: Estimate | None


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
        utterances, words, frames: how much test data there is.
        speakers: how many; 0 where they are not known.
        few: what is to be known of intervals drawn from so few blocks; empty where they are enough.
    """

    def __init__(self, comparison: Comparison, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.comparison = comparison
        self._utts = list(comparison.ref)
        self.utterances = len(self._utts)
        self.speakers, self.blocks = comparison.speakers, comparison.blocks
        measured = [d for d in comparison.decodings if d.frames]
        self._frames = {u: n for u, (n, _) in measured[0].frames.items()} if measured else {}
        sizes = block_sums(comparison.block_of, self._sizes())
        self.few = few_drawn(int(np.count_nonzero(sizes[:, _WORDS])), self.blocks)
        # (S, G, 4+4R): sizes, then what each role has wrong or right
        seeds: Sequence[str | None] = comparison.seeds or [None]
        columns = [np.broadcast_to(sizes, (len(seeds), *sizes.shape))]
        columns += [np.stack([self._mean_member(r, s) for s in seeds]) for r in comparison.roles]
        values = np.concatenate(columns, axis=2)
        point = values.sum(axis=(0, 1))
        self.words, self.frames = (int(point[c] / len(seeds)) for c in (_WORDS, _FRAMES))
        # Row 0 is the data as it is, the others are resamples.
        self._totals = np.vstack([point, resampled_sums(values, resamples, seed)])

    def _sizes(self) -> Floats:
        """(N, 4): words, frames, sentences, characters of the reference."""
        words = [len(words) for words in self.comparison.ref.values()]
        frames = [self._frames.get(utt_id, 0) for utt_id in self._utts]
        characters = self.comparison.decodings[0].characters[:, 1]
        return np.stack([words, frames, np.ones(len(words)), characters], axis=1)

    def _mean_member(self, role: str, seed: str | None) -> Floats:
        members = [d for d in self.comparison.of(role) if d.seed in (seed, None)]
        return np.mean([self._counts(member) for member in members], axis=0)

    def _counts(self, decoding: Decoding) -> Floats:
        """(G, 4): word errors, correct frames, sentences with errors, character errors."""
        errors = decoding.counts[:, 1:].sum(axis=1)
        correct = [decoding.frames.get(utt_id, (0, 0))[1] for utt_id in self._utts]
        rows = np.stack([errors, correct, errors > 0, decoding.characters[:, 0]], axis=1)
        return block_sums(self.comparison.block_of, rows)

    def _rate(self, role: str, kind: int) -> Floats:
        column = 4 + 4 * self.comparison.roles.index(role) + kind
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._totals[:, column] / self._totals[:, kind]

    def _wer(self, role: str) -> Floats:
        return self._rate(role, _WORDS)

    def _frame_accuracy(self, role: str) -> Floats | None:
        if role not in self.comparison.roles or not self.comparison.of(role)[0].frames:
            return None
        return self._rate(role, _FRAMES)

    def rows(self) -> list[Row]:
        """One row for each role."""
        return [self._row(role) for role in self.comparison.roles]

    def _row(self, role: str) -> Row:
        folders = self.comparison.of(role)
        accuracy = self._frame_accuracy(role)
        operations = np.sum([folder.counts[:, 1:].sum(axis=0) for folder in folders], axis=0)
        info = [folder.info for folder in folders]
        params = [one["params"] for one in info if one.get("params") is not None]
        rtf = [(one["rtf"]["forward"], one["rtf"]["search"]) for one in info if "rtf" in one]
        latency = [one["latency_ms"] for one in info if one.get("latency_ms") is not None]
        partial = [(one["partial"], one["utterances"]) for one in info if "partial" in one]
        return Row(
            role=role,
            folders=len(folders),
            frame_accuracy=None if accuracy is None else estimate(accuracy, 0, 1),
            wer=estimate(self._wer(role), 0),
            ser=estimate(self._rate(role, _SENTENCES), 0, 1),
            cer=estimate(self._rate(role, _CHARACTERS), 0),
            operations=tuple((operations / len(folders)).tolist()),
            params=(min(params), max(params)) if len(params) == len(folders) else None,
            rtf=tuple(np.mean(rtf, axis=0).tolist()) if len(rtf) == len(folders) else None,
            latency_ms=(min(latency), max(latency)) if len(latency) == len(folders) else None,
            partial=tuple(np.sum(partial, axis=0).tolist()) if partial else None,
            share=self._share(role),
        )

    def gain(self) -> Estimate | None:
        """The ensemble's gain in frame accuracy over its mean member."""
        ensemble, teacher = self._frame_accuracy(ENSEMBLE), self._frame_accuracy(TEACHER)
        return None if ensemble is None or teacher is None else estimate(ensemble - teacher)

    def _share(self, role: str) -> Estimate | None:
        own, gain = self._frame_accuracy(role), self.gain()
        ensemble, teacher = self._frame_accuracy(ENSEMBLE), self._frame_accuracy(TEACHER)
        if role in (BASELINE, TEACHER, ENSEMBLE) or own is None or gain is None:
            return None
        if ensemble is None or teacher is None or gain.interval.low <= 0:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            return estimate((own - teacher) / (ensemble - teacher))

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
