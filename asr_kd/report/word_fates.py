"""Each error that a student inherited, lost or made itself, word by word, with its place."""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from asr_kd.report.comparison import Comparison
from asr_kd.report.inheritance import Fate, heirs_of, mean_fates
from asr_kd.report.reference_words import ReferenceWords
from asr_kd.report.statistics import ENSEMBLE, TEACHER


@dataclass(frozen=True)
class WordFate:
    """One reference word that a role gets wrong, or that the ensemble fixed and it kept.

    Attributes:
        role: whose.
        utt_id: where.
        index: of the word in its utterance, from 0.
        word: the reference word.
        heard: what stands in its place in the role's first hypothesis that gets it wrong, or in its
            first if all are right; empty where the word was left out.
        fate: the most frequent one over seeds and members.
        wrong: share of the role's hypotheses that get it wrong.
        teacher_wrong, ensemble_wrong: the same of these; None where there is no such role.
    """

    role: str
    utt_id: str
    index: int
    word: str
    heard: str
    fate: Fate
    wrong: float
    teacher_wrong: float | None
    ensemble_wrong: float | None


def word_fates(comparison: Comparison) -> Iterator[WordFate]:
    """Word by word: role after role, each in the order of the reference."""
    words = ReferenceWords(comparison)
    utt_ids = list(comparison.ref)
    sources = {
        role: np.mean([words.mean_wrong(role, seed) for seed in words.seeds], axis=0)
        for role in (TEACHER, ENSEMBLE)
        if role in comparison.roles
    }
    for role in heirs_of(comparison) if sources else ():
        fates = mean_fates(words, role)
        own = np.mean([words.mean_wrong(role, seed) for seed in words.seeds], axis=0)
        members = comparison.of(role)
        first = np.argmax([words.wrong(member) for member in members], axis=0)
        heard = [words.heard(member) for member in members]
        masses = np.stack(list(fates.values()))
        names, most = list(fates), masses.argmax(axis=0)
        for k in np.flatnonzero(masses.any(axis=0)).tolist():
            yield WordFate(
                role=role,
                utt_id=utt_ids[words.utterances[k]],
                index=int(words.indices[k]),
                word=words.words[k],
                heard=heard[first[k]][k],
                fate=names[most[k]],
                wrong=float(own[k]),
                teacher_wrong=float(sources[TEACHER][k]) if TEACHER in sources else None,
                ensemble_wrong=float(sources[ENSEMBLE][k]) if ENSEMBLE in sources else None,
            )


def fates_csv(comparisons: Iterable[Comparison]) -> str:
    """`word_fates` of each test set as CSV, with a header line."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["set", "scored", "of", *(field.name for field in fields(WordFate))])
    for comparison in comparisons:
        for one in word_fates(comparison):
            cells = [f"{v:.4g}" if isinstance(v, float) else v for v in vars(one).values()]
            writer.writerow([comparison.name, *comparison.counted, *cells])
    return file.getvalue()
