"""What became of each reference word in every system: arrays over all words of a test set.

R reference words stand one after the other, utterance after utterance. Where a role has several
members of one seed, an array of it is their mean: the share of them that get a word wrong. Products
of such shares are then the mean over all combinations of members.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from asr_kd.report.comparison import Comparison, Decoding
from asr_kd.report.statistics import ENSEMBLE, TEACHER
from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, Vocabulary
from asr_kd.score.bootstrap import Floats, block_sums

LEFT_OUT = -1
Numbers = NDArray[np.int64]


def blocks_of(comparison: Comparison) -> list[Hashable]:
    """What the bootstrap draws: each utterance's speaker, if there are two or more, or itself."""
    speakers = comparison.utt2spk or {}
    if len(set(speakers.values())) > 1:
        return [speakers[utt_id] for utt_id in comparison.ref]
    return list(comparison.ref)


class ReferenceWords:
    """The words of one comparison.

    Attributes:
        comparison: the systems.
        seeds: of training; one None where there are none.
        vocabulary: word → its number, in all texts.
        ref: (R,) the reference words' numbers.
        source: whose errors are inherited, "ensemble", or "teacher" where there is no ensemble.
        both: whether there are teachers and an ensemble.

    Raises:
        ValueError: for alignments that are not over the comparison's reference.
    """

    def __init__(self, comparison: Comparison) -> None:
        if any(d.alignments.utt_ids != tuple(comparison.ref) for d in comparison.decodings):
            raise ValueError("alignments are not over the utterances of the reference")
        self.comparison = comparison
        self.seeds: Sequence[str | None] = comparison.seeds or [None]
        self.vocabulary = Vocabulary()
        encoded = self.vocabulary.encode(comparison.ref.values())
        self.ref = encoded.ids
        self._bounds = encoded.bounds
        self.source = ENSEMBLE if ENSEMBLE in comparison.roles else TEACHER
        self.both = {TEACHER, ENSEMBLE} <= set(comparison.roles)
        self._wrong = {id(d): self._is_wrong(d) for d in comparison.decodings}
        self._heard: dict[int, Numbers] = {}

    def _is_wrong(self, decoding: Decoding) -> NDArray[np.bool_]:
        wrong: NDArray[np.bool_] = decoding.alignments.ref_steps() != CORRECT
        if len(wrong) != len(self.ref):
            raise ValueError("alignments are not over the words of the reference")
        return wrong

    def members(self, role: str, seed: str | None) -> list[Decoding]:
        """The role's members of one seed."""
        return [d for d in self.comparison.of(role) if d.seed in (seed, None)]

    def wrong(self, decoding: Decoding) -> NDArray[np.bool_]:
        """(R,) whether a system gets a word wrong."""
        return self._wrong[id(decoding)]

    def heard(self, decoding: Decoding) -> Numbers:
        """(R,) number of the word that stands in a reference word's place, or `LEFT_OUT`."""
        if id(decoding) not in self._heard:
            steps = decoding.alignments.steps
            hyp = self.vocabulary.encode(decoding.hyp[utt_id] for utt_id in self.comparison.ref).ids
            at = (np.cumsum(steps != DELETION) - 1)[steps != INSERTION]
            numbers = np.full(len(self.ref), LEFT_OUT, np.int64)
            said = decoding.alignments.ref_steps() != DELETION
            numbers[said] = hyp[at[said]]
            self._heard[id(decoding)] = numbers
        return self._heard[id(decoding)]

    def mean_wrong(self, role: str, seed: str | None) -> Floats:
        """(R,) share of the role's members of one seed that get a word wrong."""
        return np.mean([self.wrong(d) for d in self.members(role, seed)], axis=0)

    def effect(self, seed: str | None) -> dict[str, Floats]:
        """(R,) each: wrong in teachers and ensemble; fixed and broken by the ensemble."""
        found = {role: self.mean_wrong(role, seed) for role in (TEACHER, ENSEMBLE)
                 if role in self.comparison.roles}  # fmt: skip
        if self.both:
            found["fixed"] = found[TEACHER] * (1 - found[ENSEMBLE])
            found["broken"] = (1 - found[TEACHER]) * found[ENSEMBLE]
        return found

    def fates(self, role: str, seed: str | None) -> dict[str, Floats]:
        """(R,) each: what became of a word in a role that may have inherited errors.

        Returns:
            `wrong`, and its parts `inherited`, `lost` and `own`; `kept`; without both teachers and
            an ensemble, neither `lost` nor `kept`.
        """
        effect = self.effect(seed)
        wrong, source = self.mean_wrong(role, seed), effect[self.source]
        found = {"wrong": wrong, "inherited": source * wrong}
        if self.both:
            found["lost"] = effect["fixed"] * wrong
            found["own"] = (1 - effect[TEACHER]) * (1 - effect[ENSEMBLE]) * wrong
            found["kept"] = effect["fixed"] * (1 - wrong)
        else:
            found["own"] = (1 - source) * wrong
        return found

    def same_word(self, role: str, seed: str | None) -> Floats:
        """(R,) share of pairs of members that have the same wrong word in a word's place."""
        pairs = [
            self.wrong(mine) & (self.heard(mine) == self.heard(theirs))
            for mine in self.members(role, seed)
            for theirs in self.members(self.source, seed)
        ]
        return np.mean(pairs, axis=0)

    def block_sums(self, columns: Sequence[Floats]) -> Floats:
        """(G, C) sums of C arrays (R,) over the blocks of the bootstrap."""
        utterance = np.repeat(np.arange(len(self._bounds) - 1), np.diff(self._bounds))
        count = len(self._bounds) - 1
        sums = [np.bincount(utterance, column, minlength=count) for column in columns]
        return block_sums(blocks_of(self.comparison), np.stack(sums, axis=1))
