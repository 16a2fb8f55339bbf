"""What became of each reference word in every system: arrays over the words that one gets wrong.

K words of the reference, in its order, are wrong in at least one system; the others belong to
nobody's errors. Where a role has several members of one seed, an array of it is their mean: the
share of them that get a word wrong. Products of such shares are then the mean over all combinations
of members.
"""

from collections.abc import Sequence
from functools import cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from asr_kd.report.comparison import Comparison, Decoding
from asr_kd.report.statistics import ENSEMBLE, TEACHER
from asr_kd.score.alignment import CORRECT, DELETION, INSERTION
from asr_kd.score.bootstrap import Floats, block_sums


class ReferenceWords:
    """The words of one comparison that a system gets wrong.

    Attributes:
        comparison: the systems.
        seeds: of training; one None where there are none.
        total: reference words, right ones included.
        words: (K,) the words.
        utterances: (K,) number of each word's utterance, from 0.
        indices: (K,) its number in the utterance, from 0.
        source: whose errors are inherited, "ensemble", or "teacher" where there is no ensemble.
        both: whether there are teachers and an ensemble.

    Raises:
        ValueError: for alignments that are not over the comparison's reference.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.seeds: Sequence[str | None] = comparison.seeds or [None]
        self.source = ENSEMBLE if ENSEMBLE in comparison.roles else TEACHER
        self.both = {TEACHER, ENSEMBLE} <= set(comparison.roles)
        lengths = np.array([len(words) for words in comparison.ref.values()], np.int64)
        self.total = int(lengths.sum())
        wrong = [self._is_wrong(decoding) for decoding in comparison.decodings]
        self._at = np.flatnonzero(np.any(wrong, axis=0))
        self._wrong = {id(d): w[self._at] for d, w in zip(comparison.decodings, wrong, strict=True)}
        self.utterances = np.repeat(np.arange(len(lengths)), lengths)[self._at]
        self.indices = self._at - (np.cumsum(lengths) - lengths)[self.utterances]
        ref = list(chain.from_iterable(comparison.ref.values()))
        self.words = [ref[k] for k in self._at.tolist()]
        # Many figures are made of these.
        self.heard = cache(self._said)
        self.mean_wrong = cache(self._mean_wrong)
        self.effect = cache(self._effect)

    def _is_wrong(self, decoding: Decoding) -> NDArray[np.bool_]:
        if decoding.alignments.utt_ids != tuple(self.comparison.ref):
            raise ValueError("alignments are not over the utterances of the reference")
        wrong: NDArray[np.bool_] = decoding.alignments.ref_steps() != CORRECT
        if len(wrong) != self.total:
            raise ValueError("alignments are not over the words of the reference")
        return wrong

    def members(self, role: str, seed: str | None) -> list[Decoding]:
        """The role's members of one seed."""
        return [d for d in self.comparison.of(role) if d.seed in (seed, None)]

    def wrong(self, decoding: Decoding) -> NDArray[np.bool_]:
        """(K,) whether a system gets a word wrong."""
        return self._wrong[id(decoding)]

    def _said(self, decoding: Decoding) -> NDArray[np.object_]:
        """(K,) the word that stands in each reference word's place; empty where there is none."""
        steps = decoding.alignments.steps
        hyp = list(chain.from_iterable(decoding.hyp[utt_id] for utt_id in self.comparison.ref))
        hyp.append("")  # at -1
        places = np.cumsum(steps != DELETION) - 1
        places[steps == DELETION] = -1
        return np.array([hyp[k] for k in places[steps != INSERTION][self._at].tolist()], object)

    def _mean_wrong(self, role: str, seed: str | None) -> Floats:
        """(K,) share of the role's members of one seed that get a word wrong."""
        return np.mean([self.wrong(d) for d in self.members(role, seed)], axis=0)

    def _effect(self, seed: str | None) -> dict[str, Floats]:
        """(K,) each: wrong in teachers and ensemble; fixed and broken by the ensemble."""
        roles = [role for role in (TEACHER, ENSEMBLE) if role in self.comparison.roles]
        found = {role: self.mean_wrong(role, seed) for role in roles}
        if self.both:
            found["fixed"] = found[TEACHER] * (1 - found[ENSEMBLE])
            found["broken"] = (1 - found[TEACHER]) * found[ENSEMBLE]
        return found

    def fates(self, role: str, seed: str | None) -> dict[str, Floats]:
        """(K,) each: what became of a word in a role that may have inherited errors.

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
        """(K,) share of pairs of members that have the same wrong word in a word's place."""
        pairs = [
            self.wrong(mine) & (self.heard(mine) == self.heard(theirs))
            for mine in self.members(role, seed)
            for theirs in self.members(self.source, seed)
        ]
        return np.mean(pairs, axis=0)

    def block_sums(self, columns: Sequence[Floats]) -> Floats:
        """(G, C) sums of C arrays (K,) over the blocks of the bootstrap."""
        count = len(self.comparison.ref)
        sums = [np.bincount(self.utterances, column, minlength=count) for column in columns]
        return block_sums(self.comparison.block_of, np.stack(sums, axis=1))
