"""The score of one hypothesis file: corpus, intervals, speakers; as JSON and as Kaldi's files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd import __version__
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.score.alignment import Alignments, Method, align
from asr_kd.score.bootstrap import (
    LEVEL,
    RESAMPLES,
    Floats,
    Interval,
    bca_interval,
    block_sums,
    few_drawn,
    percentile_interval,
    resampled_sums,
)
from asr_kd.score.join import Partial
from asr_kd.score.kaldi_files import write_kaldi_files
from asr_kd.score.normalise import NONE, Normalised, Normaliser
from asr_kd.score.text import Text
from asr_kd.score.wer import (
    WordErrors,
    by_speaker,
    character_errors,
    sentence_errors,
    total,
    word_errors,
)

FORMAT = "asr_kd score 2"
"""Stands in wer.json; another one where its contents change."""


@dataclass(frozen=True)
class Rate:
    """Errors over what there was to get right: characters, or utterances.

    Attributes:
        errors: wrong ones.
        of: all of the reference.
        interval: of `value`, by bootstrap.
    """

    errors: int
    of: int
    interval: Interval

    @property
    def value(self) -> float:
        """Errors over all."""
        return self.errors / self.of


@dataclass(frozen=True)
class Score:
    """What a hypothesis is worth.

    Attributes:
        corpus: counts over all utterances.
        utterances: utterance id → counts.
        speakers: speaker → counts; empty where speakers are not known.
        interval: of the word error rate, percentiles of the bootstrap.
        bca: the same, bias-corrected and accelerated.
        blocks: what the bootstrap drew, "speakers" or "utterances".
        few: what is to be known of intervals drawn from so few blocks; empty where they are enough.
        characters: character errors (`wer.character_errors`).
        sentences: utterances with any word error.
        ref, hyp: the normalised words, which were compared, and how many were changed.
        alignments: of those words.
        method: how they were aligned.
        normaliser: what was done to the words of both sides.
        utt2spk: speaker of each utterance, where known.
        partial: what was left out of the score; None where nothing was.
    """

    corpus: WordErrors
    utterances: dict[str, WordErrors]
    speakers: dict[str, WordErrors]
    interval: Interval
    bca: Interval
    blocks: str
    few: str
    characters: Rate
    sentences: Rate
    ref: Normalised = field(repr=False)
    hyp: Normalised = field(repr=False)
    alignments: Alignments = field(repr=False)
    method: Method
    normaliser: Normaliser
    utt2spk: Mapping[str, str] | None = field(repr=False)
    partial: Partial | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary, with all that is needed to compare it with another."""
        return {
            "format": FORMAT,
            **self.corpus.to_dict(),
            "utterances": len(self.utterances),
            "speakers": len(self.speakers),
            "interval": list(self.interval),
            "interval_bca": list(self.bca),
            "interval_level": LEVEL,
            "interval_by": f"bootstrap over {self.blocks}, {RESAMPLES} resamples",
            **_rate("cer", "characters", self.characters),
            **_rate("ser", "sentences", self.sentences),
            "scorer": f"asr-kd {__version__}",
            "alignment": self.method,
            "normaliser": {
                **self.normaliser.to_dict(),
                "changed": {"ref": self.ref.changed, "hyp": self.hyp.changed},
                "words": {"ref": self.ref.words, "hyp": self.hyp.words},
            },
            "not_scored": None if self.partial is None else self.partial.to_dict(),
        }

    def notes(self) -> list[str]:
        """What a reader of the word error rate has to know, a line each."""
        cer, ser = self.characters, self.sentences
        return [
            *([] if self.partial is None else [f"{self.partial.describe()}."]),
            *([f"The intervals are {self.few}, and too narrow."] if self.few else []),
            f"BCa interval of the word error rate [{100 * self.bca.low:.2f}, "
            f"{100 * self.bca.high:.2f}]%.",
            f"Character errors {_percent(cer)} of {cer.of:,} characters, spaces included; "
            f"sentence errors {_percent(ser)} of {ser.of:,} utterances.",
            f"Normaliser {self.normaliser.describe()}; words replaced, removed or put in: "
            f"reference {_changed(self.ref)}, hypotheses {_changed(self.hyp)}. "
            f"Alignment: {self.method}.",
        ]


def score(
    ref: Text,
    hyp: Text,
    utt2spk: Mapping[str, str] | None = None,
    method: Method = "levenshtein",
    normaliser: Normaliser = NONE,
    partial: Partial | None = None,
    called: str = "the reference",
) -> Score:
    """Scores hypotheses over the same utterances as the reference.

    Args:
        ref: reference words.
        hyp: hypothesis words.
        utt2spk: speaker of each utterance. With two speakers or more the bootstrap draws speakers,
            otherwise utterances.
        method: of alignment.
        normaliser: applied to both sides first.
        partial: what joining them left out, for the reports.
        called: what errors call the reference.

    Raises:
        InputError: if the (normalised) reference has no words at all.
    """
    sides = normaliser.apply(ref), normaliser.apply(hyp)
    alignments = align(sides[0].text, sides[1].text, method)
    utterances = word_errors(alignments)
    corpus = total(utterances.values())
    if not corpus.words:
        why = f" after the normaliser {normaliser.name}" if sides[0].words else ""
        raise InputError(f"{called} has no words{why}: a word error rate is not defined")
    speakers = by_speaker(utterances, utt2spk) if utt2spk else {}
    over_speakers = utt2spk is not None and len(speakers) > 1
    characters = character_errors(sides[0].text, sides[1].text)
    wrong = sentence_errors(alignments)
    counts = np.column_stack([
        [count.errors for count in utterances.values()],
        [count.words for count in utterances.values()],
        characters,
        wrong,
        np.ones_like(wrong),
    ])  # fmt: skip
    blocks = [utt2spk[u] if utt2spk and over_speakers else u for u in utterances]
    sums = block_sums(blocks, counts)
    (wer, cer, ser), bca = _intervals(sums)
    return Score(
        corpus=corpus,
        utterances=utterances,
        speakers=speakers,
        interval=wer,
        bca=bca,
        blocks="speakers" if over_speakers else "utterances",
        few=few_drawn(
            int(np.count_nonzero(sums[:, 1])), "speakers" if over_speakers else "utterances"
        ),
        characters=Rate(int(characters[:, 0].sum()), int(characters[:, 1].sum()), cer),
        sentences=Rate(int(wrong.sum()), len(wrong), ser),
        ref=sides[0],
        hyp=sides[1],
        alignments=alignments,
        method=method,
        normaliser=normaliser,
        utt2spk=utt2spk,
        partial=partial,
    )


def _intervals(sums: Floats) -> tuple[list[Interval], Interval]:
    """Of each pair of columns of (G, C) sums of blocks, errors and what they are of.

    Returns:
        Percentile intervals of all pairs, of one draw of blocks, and the BCa interval of the first.
    """
    totals, whole = resampled_sums(sums[None]), sums.sum(axis=0)
    without = whole - sums
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = totals[:, ::2] / totals[:, 1::2]
        bca = bca_interval(drawn[:, 0], float(whole[0] / whole[1]), without[:, 0] / without[:, 1])
    return [percentile_interval(column) for column in drawn.T], bca


def _rate(name: str, of: str, rate: Rate) -> dict[str, Any]:
    return {
        name: rate.value,
        f"{name}_interval": list(rate.interval),
        f"{of.removesuffix('s')}_errors": rate.errors,
        of: rate.of,
    }


def _percent(rate: Rate) -> str:
    low, high = (100 * end for end in rate.interval)
    return f"{100 * rate.value:.2f}% [{low:.2f}, {high:.2f}]"


def _changed(side: Normalised) -> str:
    """More may be put in than there were."""
    return f"{side.changed:,} (of {side.words:,} before)"


def write_score(
    result: Score,
    folder: Path,
    published: Path,
    extra: Mapping[str, Any] | None = None,
    lmwt: str = "1",
    wip: str = "0.0",
) -> None:
    """Writes `wer.json` and the files that Kaldi's scoring writes.

    Args:
        result: the score.
        folder: an artefact's work folder.
        published: where that will stand; Kaldi's `best_wer` says it.
        extra: more facts for `wer.json` (the number of partial paths).
        lmwt, wip: language model weight and word insertion penalty, for the names of Kaldi's files.
    """
    summary = {**result.to_dict(), **(extra or {})}
    write_text(folder / "wer.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    write_kaldi_files(
        folder,
        published,
        result.ref.text,
        result.hyp.text,
        result.alignments,
        result.utt2spk,
        result.partial,
        lmwt,
        wip,
    )
