"""Which errors a student inherited, which the ensemble fixed, and which of those it lost again.

All of it is told by reference word: a word of the reference is right in a hypothesis, or wrong
(replaced or left out). Words put in where the reference has none belong to no word of it and are
not in these figures.

Of the words that a student gets wrong,

    inherited   the ensemble gets wrong, too
    lost        the teacher gets wrong and the ensemble right: it was fixed, and is lost again
    own         teacher and ensemble get right

and these three add up to all of them. A student on hard labels has never heard of the ensemble: its
figures, beside the student's, say how much of what looks inherited is simply hard. Where there are
several teachers, seeds or students, every figure is the mean over all combinations of one teacher,
one ensemble and one student of one seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from asr_kd.report.comparison import Comparison
from asr_kd.report.reference_words import ReferenceWords
from asr_kd.report.statistics import (
    BASELINE,
    ENSEMBLE,
    HARD_STUDENT,
    STUDENT,
    TEACHER,
    Estimate,
    estimate,
)
from asr_kd.score.alignment import Vocabulary
from asr_kd.score.bootstrap import RESAMPLES, Floats, resampled_sums

Fate = Literal["inherited", "lost", "own", "kept"]
"""`kept`: the teacher gets it wrong, ensemble and student right."""
FATES: tuple[Fate, ...] = get_args(Fate)
_MOST_WORDS = 20
_SHARES = {  # name → part, and the whole that it is a share of
    "inherited_share": ("inherited", "{source}"),
    "same_share": ("same", "{role} inherited"),
    "kept_share": ("kept", "fixed"),
}


@dataclass(frozen=True)
class Effect:
    """What the ensemble does to its mean teacher's words; mean numbers of reference words.

    Attributes:
        teacher_wrong, ensemble_wrong: words that each gets wrong.
        fixed: wrong in the teacher, right in the ensemble.
        broken: right in the teacher, wrong in the ensemble.
    """

    teacher_wrong: float
    ensemble_wrong: float
    fixed: float
    broken: float


@dataclass(frozen=True)
class Inherited:
    """Where one role's wrong words come from; mean numbers of reference words.

    Attributes:
        role: whose.
        wrong: all that it gets wrong: `inherited + lost + own`.
        inherited: wrong in the source (the ensemble, or the teacher where there is none), too.
        same_word: of `inherited`, the very same word in its place, or none in both.
        lost: fixed by the ensemble, wrong here; None without teacher or ensemble.
        own: right in teacher and ensemble.
        kept: fixed by the ensemble, right here; None as `lost`.
        inherited_share: `inherited` of all words that the source gets wrong.
        same_share: `same_word` of `inherited`.
        kept_share: `kept / (kept + lost)`; None as `lost`. All shares are None where they would be
            shares of nothing.
    """

    role: str
    wrong: float
    inherited: float
    same_word: float
    lost: float | None
    own: float
    kept: float | None
    inherited_share: Estimate | None
    same_share: Estimate | None
    kept_share: Estimate | None


@dataclass(frozen=True)
class ShareDifference:
    """A share of student minus hard-student, paired by seed and speaker.

    Attributes:
        share: `inherited_share`, `same_share` or `kept_share`.
        role, other: student and hard-student.
        estimate: the difference.
    """

    share: str
    role: str
    other: str
    estimate: Estimate


@dataclass(frozen=True)
class Inheritance:
    """The whole picture of one test set.

    Attributes:
        words: reference words.
        source: "ensemble", or "teacher" where there is no ensemble: whose errors are inherited.
        effect: of the ensemble on its teachers; None where one of the two is not given.
        rows: one for each role that is no baseline, teacher or ensemble, in the order given.
        differences: of student and hard-student; empty where one of the two is not given.
        by_word: role → fate → reference words with the (mean) number of times, most frequent first,
            at most 20.
    """

    words: int
    source: str
    effect: Effect | None
    rows: list[Inherited]
    differences: list[ShareDifference]
    by_word: dict[str, dict[Fate, list[tuple[str, float]]]]


def inheritance(
    comparison: Comparison, resamples: int = RESAMPLES, seed: int = 0
) -> Inheritance | None:
    """Follows every reference word through teachers, ensemble and students.

    Args:
        comparison: the systems.
        resamples, seed: of the bootstrap, which draws as `Statistics` does.

    Returns:
        None where there is nobody to inherit from: neither teacher nor ensemble; or nobody who
        could: no role but the baseline, teachers and ensemble, nor both of the latter.
    """
    roles = comparison.roles
    heirs = heirs_of(comparison)
    if not {TEACHER, ENSEMBLE} & set(roles) or not (heirs or {TEACHER, ENSEMBLE} <= set(roles)):
        return None
    words = ReferenceWords(comparison)
    totals = _Totals(words, heirs, resamples, seed)
    effect = None
    if words.both:
        effect = Effect(*(totals.mean(name) for name in (TEACHER, ENSEMBLE, "fixed", "broken")))
    differences = [
        ShareDifference(share, STUDENT, HARD_STUDENT, found)
        for share in _SHARES
        if (found := totals.difference(share)) is not None
    ]
    rows = [totals.row(role) for role in heirs]
    by_word = {role: _most_frequent(words, role) for role in heirs}
    return Inheritance(words.total, words.source, effect, rows, differences, by_word)


def heirs_of(comparison: Comparison) -> list[str]:
    """The roles that may have inherited something."""
    return [role for role in comparison.roles if role not in (BASELINE, TEACHER, ENSEMBLE)]


class _Totals:
    """Sums over all words: as they are in row 0, then of each resample."""

    def __init__(
        self, words: ReferenceWords, heirs: Sequence[str], resamples: int, seed: int
    ) -> None:
        self._words, self._heirs = words, heirs
        named = [self._figures(one) for one in words.seeds]
        self._names = list(named[0])
        values = np.stack([words.block_sums(list(figures.values())) for figures in named])
        totals = np.vstack([values.sum(axis=(0, 1)), resampled_sums(values, resamples, seed)])
        self._totals = totals / len(words.seeds)

    def _figures(self, seed: str | None) -> dict[str, Floats]:
        """Name → (K,) of one seed."""
        words = self._words
        figures = words.effect(seed)
        for role in self._heirs:
            figures |= {f"{role} {name}": a for name, a in words.fates(role, seed).items()}
            figures[f"{role} same"] = words.same_word(role, seed)
        return figures

    def _samples(self, name: str) -> Floats:
        return self._totals[:, self._names.index(name)]

    def mean(self, name: str) -> float:
        """A mean number of words."""
        return float(self._samples(name)[0])

    def row(self, role: str) -> Inherited:
        """One role's."""
        fates = {
            fate: self.mean(f"{role} {fate}") if f"{role} {fate}" in self._names else None
            for fate in FATES
        }
        return Inherited(
            role=role,
            wrong=self.mean(f"{role} wrong"),
            inherited=self.mean(f"{role} inherited"),
            same_word=self.mean(f"{role} same"),
            lost=fates["lost"],
            own=self.mean(f"{role} own"),
            kept=fates["kept"],
            inherited_share=self._estimate(self._share("inherited_share", role), 0.0),
            same_share=self._estimate(self._share("same_share", role), 0.0),
            kept_share=self._estimate(self._share("kept_share", role), 0.0),
        )

    def difference(self, share: str) -> Estimate | None:
        """Student minus hard-student; None where one of them is not there or has no such share."""
        if not {STUDENT, HARD_STUDENT} <= set(self._heirs):
            return None
        mine, theirs = self._share(share, STUDENT), self._share(share, HARD_STUDENT)
        return None if mine is None or theirs is None else self._estimate(mine - theirs, -1.0)

    def _share(self, share: str, role: str) -> Floats | None:
        part, whole = _SHARES[share]
        whole = whole.format(source=self._words.source, role=role)
        if whole not in self._names:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._samples(f"{role} {part}") / self._samples(whole)

    @staticmethod
    def _estimate(samples: Floats | None, lowest: float) -> Estimate | None:
        if samples is None or not np.isfinite(samples[0]):
            return None
        return estimate(np.where(np.isfinite(samples), samples, np.nan), lowest, 1.0)


def _most_frequent(words: ReferenceWords, role: str) -> dict[Fate, list[tuple[str, float]]]:
    numbers = Vocabulary()
    ids = numbers.encode([words.words]).ids
    spellings = list(numbers)
    found: dict[Fate, list[tuple[str, float]]] = {}
    for fate, masses in mean_fates(words, role).items():
        counts = np.bincount(ids, masses, minlength=len(spellings))
        order = sorted(np.flatnonzero(counts), key=lambda k: (-counts[k], spellings[k]))
        found[fate] = [(spellings[k], float(counts[k])) for k in order[:_MOST_WORDS]]
    return found


def mean_fates(words: ReferenceWords, role: str) -> dict[Fate, Floats]:
    """Fate → (K,) means over the seeds."""
    of_seeds = [words.fates(role, seed) for seed in words.seeds]
    return {f: np.mean([one[f] for one in of_seeds], axis=0) for f in FATES if f in of_seeds[0]}
