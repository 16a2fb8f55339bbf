"""Word, character and sentence errors: per utterance, per speaker, and over a corpus.

The error rate of a corpus is its errors over its reference words (characters, utterances), never
the mean of the utterances' rates.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jiwer
import numpy as np
from numpy.typing import NDArray

from asr_kd.score.alignment import Alignments, Method, align
from asr_kd.score.text import Text

# Words are cut already: nothing may be stripped, merged or lower-cased behind our back.
_AS_THEY_STAND = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
_AT_ONCE = 10_000  # utterances; bounds the memory of jiwer's alignments


@dataclass(frozen=True)
class WordErrors:
    """Counts of one utterance, one speaker or one corpus.

    Attributes:
        substitutions: reference words with another word in their place.
        deletions: reference words with nothing in their place.
        insertions: hypothesis words where the reference has none.
        words: reference words.
    """

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors per reference word; NaN where the reference has no words."""
        return self.errors / self.words if self.words else math.nan

    def __add__(self, other: "WordErrors") -> "WordErrors":
        """The counts of both together."""
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `wer` is None where it is not defined."""
        return {
            "wer": self.wer if self.words else None,
            "errors": self.errors,
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "words": self.words,
        }


def count_errors(ref: Text, hyp: Text, method: Method = "levenshtein") -> dict[str, WordErrors]:
    """Counts the word errors of each utterance.

    Args:
        ref: reference words.
        hyp: hypothesis words, over the same utterances.
        method: of alignment.

    Returns:
        Utterance id → counts, in the order of `ref`.

    Raises:
        ValueError: if the utterances differ; `join` tells users which.
    """
    return word_errors(align(ref, hyp, method))


def word_errors(alignments: Alignments) -> dict[str, WordErrors]:
    """Utterance id → counts of an alignment."""
    return {
        utt_id: WordErrors(s, d, i, c + s + d)
        for utt_id, (c, s, d, i) in zip(
            alignments.utt_ids, alignments.counts().tolist(), strict=True
        )
    }


def character_errors(ref: Text, hyp: Text) -> NDArray[np.int64]:
    """Counts the character errors of each utterance, by jiwer.

    Characters are Unicode code points of the words with single spaces between them; a space counts
    as any other, so that words run together are an error.

    Args:
        ref: reference words.
        hyp: hypothesis words, over the same utterances.

    Returns:
        (N, 2) errors and reference characters, in the order of `ref`.
    """
    refs = [" ".join(words) for words in ref.values()]
    hyps = [" ".join(hyp[utt_id]) for utt_id in ref]
    counts = np.zeros((len(refs), 2), dtype=np.int64)
    counts[:, 1] = [len(text) for text in refs]
    wrong = [i for i, (one, other) in enumerate(zip(refs, hyps, strict=True)) if one != other]
    for start in range(0, len(wrong), _AT_ONCE):
        rows = wrong[start : start + _AT_ONCE]
        output = jiwer.process_characters(
            [refs[i] for i in rows], [hyps[i] for i in rows], _AS_THEY_STAND, _AS_THEY_STAND
        )
        counts[rows, 0] = [_length(chunks) for chunks in output.alignments]
    return counts


def _length(chunks: Iterable[jiwer.AlignmentChunk]) -> int:
    """Characters that differ."""
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type != "equal"
    )


def sentence_errors(alignments: Alignments) -> NDArray[np.int64]:
    """(N,) 1 where an utterance has any word error, else 0."""
    counts = alignments.counts()
    return (counts[:, 1:].sum(axis=1) > 0).astype(np.int64)


def total(counts: Iterable[WordErrors]) -> WordErrors:
    """The counts of all together."""
    return sum(counts, WordErrors())


def by_speaker(
    counts: Mapping[str, WordErrors], utt2spk: Mapping[str, str]
) -> dict[str, WordErrors]:
    """Sums the counts of each speaker's utterances; speakers are sorted."""
    speakers: dict[str, WordErrors] = {}
    for utt_id, errors in counts.items():
        speaker = utt2spk[utt_id]
        speakers[speaker] = speakers.get(speaker, WordErrors()) + errors
    return dict(sorted(speakers.items()))
