"""Reference and hypothesis side by side: which words were right, replaced, left out, put in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from asr_kd.score import edit_paths
from asr_kd.score.text import Text

CORRECT, SUBSTITUTION, DELETION, INSERTION = range(4)
Method = Literal["levenshtein", "sclite"]
METHODS: tuple[Method, ...] = get_args(Method)

_RULES = {"levenshtein": edit_paths.KALDI, "sclite": edit_paths.SCLITE}
_STEPS = np.array([CORRECT, DELETION, INSERTION], np.uint8)  # by the step of an edit path


@dataclass(frozen=True, eq=False)
class Alignments:
    """The alignments of a corpus: a step for each word of either side.

    Attributes:
        utt_ids: N utterances, in the order of the reference.
        steps: (S,) `CORRECT`, `SUBSTITUTION` (a word of each side), `DELETION` (a reference word
            alone) or `INSERTION` (a hypothesis word alone), one utterance after the other.
        bounds: (N + 1,) where each utterance's steps begin and the last one's end.
    """

    utt_ids: tuple[str, ...]
    steps: NDArray[np.uint8]
    bounds: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utt_ids)

    def of(self, index: int) -> NDArray[np.uint8]:
        """The steps of one utterance."""
        return self.steps[self.bounds[index] : self.bounds[index + 1]]

    def ref_steps(self) -> NDArray[np.uint8]:
        """(R,) what became of each reference word: `CORRECT`, `SUBSTITUTION` or `DELETION`."""
        return self.steps[self.steps != INSERTION]

    def hyp_steps(self) -> NDArray[np.uint8]:
        """(H,) what each hypothesis word is: `CORRECT`, `SUBSTITUTION` or `INSERTION`."""
        return self.steps[self.steps != DELETION]

    def counts(self) -> NDArray[np.int64]:
        """(N, 4) correct words, substitutions, deletions and insertions of each utterance."""
        cells = np.repeat(np.arange(len(self)) * 4, np.diff(self.bounds))
        cells += self.steps
        return np.bincount(cells, minlength=4 * len(self)).reshape(-1, 4)


class Vocabulary(dict[str, int]):
    """Numbers for words, in the order in which they are first met."""

    def __missing__(self, word: str) -> int:
        """A new word's number."""
        self[word] = number = len(self)
        return number

    def encode(self, utterances: Iterable[Sequence[str]]) -> edit_paths.Words:
        """The words of N utterances as numbers."""
        utterances = list(utterances)
        bounds = np.concatenate([[0], np.cumsum([len(words) for words in utterances], dtype=int)])
        numbers = map(self.__getitem__, chain.from_iterable(utterances))
        return edit_paths.Words(np.fromiter(numbers, np.int32, bounds[-1]), bounds)


def align(ref: Text, hyp: Text, method: Method = "levenshtein") -> Alignments:
    """Aligns the words of each utterance at the least cost.

    Where several alignments cost the same, `levenshtein` takes Kaldi's, and `sclite` sclite's
    (`edit_paths` tells them). Words are compared as they stand: sclite's own reading of `@`,
    `word*`, `{a / b}` and of letter case is the reader's and the normaliser's business.

    Args:
        ref: reference words.
        hyp: hypothesis words, over the same utterances.
        method: `levenshtein`: every error costs 1, so that the errors are the fewest; S, D and I
            are those of Kaldi's `compute-wer`. `sclite`: a substitution costs 4, a deletion or
            insertion 3, which can give more errors in all; S, D and I are those of `sclite -s`.

    Raises:
        ValueError: if the utterances differ; `join.join` tells users which.
    """
    if ref.keys() != hyp.keys():
        raise ValueError("reference and hypothesis are not over the same utterances")
    words = Vocabulary()
    ref_words = words.encode(ref.values())
    hyp_words = words.encode(hyp[utt_id] for utt_id in ref)
    paths, bounds = edit_paths.edit_paths(ref_words, hyp_words, _RULES[method])
    alignments = Alignments(tuple(ref), _STEPS.take(paths), bounds)
    # The n-th pair has the n-th paired word of either side, whatever the utterance.
    ref_at = ref_words.ids[alignments.ref_steps() < DELETION]
    hyp_at = hyp_words.ids[alignments.hyp_steps() < DELETION]
    alignments.steps[alignments.steps < DELETION] = ref_at != hyp_at
    return alignments
