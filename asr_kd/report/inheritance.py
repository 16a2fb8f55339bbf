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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from asr_kd.report.statistics import Estimate
from asr_kd.score.alignment import Alignments
from asr_kd.score.bootstrap import RESAMPLES
from asr_kd.score.text import Text

Fate = Literal["inherited", "lost", "own", "kept"]
"""`kept`: the teacher gets it wrong, ensemble and student right."""


@dataclass(frozen=True)
class Member:
    """One hypothesis of one role.

    Attributes:
        role: its row.
        seed: of training; None where it is the same for all seeds.
        hyp: its words.
        alignments: of the reference with `hyp`, utterances in the order of the reference.
    """

    role: str
    seed: str | None
    hyp: Text
    alignments: Alignments


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
        inherited: wrong in the ensemble, too (in the teacher, where there is no ensemble).
        same_word: of `inherited`, the very same word in its place, or none in both.
        lost: fixed by the ensemble, wrong here; None without teacher or ensemble.
        own: right in teacher and ensemble.
        kept: fixed by the ensemble, right here; None as `lost`.
        inherited_share: `inherited` of all words that the ensemble (the teacher) gets wrong; None
            where there are none.
        kept_share: `kept / (kept + lost)`; None as `lost`, or where the ensemble fixed nothing.
    """

    role: str
    wrong: float
    inherited: float
    same_word: float
    lost: float | None
    own: float
    kept: float | None
    inherited_share: Estimate | None
    kept_share: Estimate | None


@dataclass(frozen=True)
class WordFate:
    """One reference word that a role gets wrong, or that the ensemble fixed and it kept.

    Attributes:
        role: whose.
        utt_id: where.
        index: of the word in its utterance, from 0.
        word: the reference word.
        fate: the most frequent of its fates over seeds and members.
        wrong: share of the role's hypotheses that get it wrong.
        teacher_wrong, ensemble_wrong: the same of these; None where there is no such role.
        heard: what stands in its place in the role's first hypothesis that gets it wrong (in its
            first for `kept`); empty where the word was left out.
    """

    role: str
    utt_id: str
    index: int
    word: str
    fate: Fate
    wrong: float
    teacher_wrong: float | None
    ensemble_wrong: float | None
    heard: str


@dataclass(frozen=True)
class Inheritance:
    """The whole picture.

    Attributes:
        words: reference words.
        source: "ensemble", or "teacher" where there is no ensemble: what errors are inherited from.
        effect: of the ensemble on its teachers; None where one of the two is not given.
        rows: one for each role that is no baseline, teacher or ensemble, in the order given.
        differences: (figure, role, other, estimate): `inherited_share` and `kept_share` of student
            minus hard-student, paired; empty where one of the two is not given.
        fates: role → word by word, in the order of the reference.
        by_word: role → fate → reference words with the (mean) number of times, most frequent first,
            at most 20.
    """

    words: int
    source: str
    effect: Effect | None
    rows: list[Inherited]
    differences: list[tuple[str, str, str, Estimate]]
    fates: dict[str, list[WordFate]]
    by_word: dict[str, dict[Fate, list[tuple[str, float]]]]


def inheritance(
    ref: Text,
    members: Sequence[Member],
    utt2spk: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Inheritance | None:
    """Follows every reference word through teachers, ensemble and students.

    Args:
        ref: reference words.
        members: of all roles, over the utterances of `ref` and in their order; each role has all
            seeds or none, as `compare` demands.
        utt2spk: speakers, whom the bootstrap then draws if there are two or more; else utterances.
        resamples, seed: of the bootstrap.

    Returns:
        None where there is neither teacher nor ensemble, or no other role than these and the
        baseline and not both of the two.

    Raises:
        ValueError: for alignments that are not over `ref`.
    """
    raise NotImplementedError


def fates_csv(found: Inheritance) -> str:
    """All `fates` as CSV with a header line: role, utterance, word index, word, fate, ..."""
    raise NotImplementedError
