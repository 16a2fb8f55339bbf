"""Reference and hypothesis side by side: which words were right, replaced, left out, put in."""

from dataclasses import dataclass
from typing import Literal, get_args

import jiwer
import numpy as np
from numpy.typing import NDArray

from asr_kd.score.text import Text

CORRECT, SUBSTITUTION, DELETION, INSERTION = range(4)
Method = Literal["levenshtein", "sclite"]
METHODS: tuple[Method, ...] = get_args(Method)


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

    def counts(self) -> NDArray[np.int64]:
        """(N, 4) correct words, substitutions, deletions and insertions of each utterance."""
        counts = np.zeros((len(self), 4), dtype=np.int64)
        rows = np.repeat(np.arange(len(self)), np.diff(self.bounds))
        np.add.at(counts, (rows, self.steps), 1)
        return counts


def align(ref: Text, hyp: Text, method: Method = "levenshtein") -> Alignments:
    """Aligns the words of each utterance.

    Args:
        ref: reference words.
        hyp: hypothesis words, over the same utterances.
        method: `levenshtein` (every error costs 1) or `sclite` (its weights and tie-breaking).

    Raises:
        ValueError: if the utterances differ; `text.mismatches` tells users which.
    """
    if ref.keys() != hyp.keys():
        raise ValueError("reference and hypothesis are not over the same utterances")
    if method != "levenshtein":
        raise NotImplementedError(method)
    as_they_stand = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    codes = {"equal": CORRECT, "substitute": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}
    steps: list[int] = []
    bounds = [0]
    if ref:
        output = jiwer.process_words(
            [" ".join(ref[u]) for u in ref], [" ".join(hyp[u]) for u in ref],
            as_they_stand, as_they_stand,
        )  # fmt: skip
        for chunks in output.alignments:
            for c in chunks:
                length = max(c.ref_end_idx - c.ref_start_idx, c.hyp_end_idx - c.hyp_start_idx)
                steps += [codes[c.type]] * length
            bounds.append(len(steps))
    return Alignments(tuple(ref), np.array(steps, np.uint8), np.array(bounds, np.int64))
