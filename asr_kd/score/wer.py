"""Word errors by jiwer: per utterance, per speaker, and over a corpus.

The word error rate of a corpus is its errors over its reference words, never the mean of the
utterances' rates.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jiwer

from asr_kd.score.text import Text

# The words are cut already: nothing may be stripped, merged or lower-cased behind our back.
_AS_THEY_STAND = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])


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


def count_errors(ref: Text, hyp: Text) -> dict[str, WordErrors]:
    """Counts the word errors of each utterance by a minimal alignment (all errors cost 1).

    Args:
        ref: reference words.
        hyp: hypothesis words, over the same utterances.

    Returns:
        Utterance id → counts, in the order of `ref`.

    Raises:
        ValueError: if the utterances differ; `text.mismatches` tells users which.
    """
    if ref.keys() != hyp.keys():
        raise ValueError("reference and hypothesis are not over the same utterances")
    if not ref:
        return {}
    aligned = jiwer.process_words(
        [" ".join(ref[utt_id]) for utt_id in ref],
        [" ".join(hyp[utt_id]) for utt_id in ref],
        _AS_THEY_STAND,
        _AS_THEY_STAND,
    )
    return {
        utt_id: _count(chunks, len(ref[utt_id]))
        for utt_id, chunks in zip(ref, aligned.alignments, strict=True)
    }


def _count(chunks: Iterable[jiwer.AlignmentChunk], words: int) -> WordErrors:
    substitutions = deletions = insertions = 0
    for chunk in chunks:
        if chunk.type == "substitute":
            substitutions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "delete":
            deletions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "insert":
            insertions += chunk.hyp_end_idx - chunk.hyp_start_idx
    return WordErrors(substitutions, deletions, insertions, words)


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
