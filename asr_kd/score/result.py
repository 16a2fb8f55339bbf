"""The score of one hypothesis file: corpus, interval, speakers; as JSON and as a text table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.score.bootstrap import LEVEL, RESAMPLES, Interval, ratio_interval
from asr_kd.score.text import NORMALISER, Text
from asr_kd.score.wer import WordErrors, by_speaker, count_errors, total


@dataclass(frozen=True)
class Score:
    """What a hypothesis is worth.

    Attributes:
        corpus: counts over all utterances.
        utterances: utterance id → counts.
        speakers: speaker → counts; empty where speakers are not known.
        interval: of the word error rate, by bootstrap.
        blocks: what the bootstrap drew, "speakers" or "utterances".
    """

    corpus: WordErrors
    utterances: dict[str, WordErrors]
    speakers: dict[str, WordErrors]
    interval: Interval
    blocks: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary, with all that is needed to compare it with another."""
        return {
            **self.corpus.to_dict(),
            "utterances": len(self.utterances),
            "speakers": len(self.speakers),
            "interval": list(self.interval),
            "interval_level": LEVEL,
            "interval_by": f"percentile bootstrap over {self.blocks}, {RESAMPLES} resamples",
            "scorer": f"jiwer {version('jiwer')}",
            "normaliser": NORMALISER,
        }


def score(ref: Text, hyp: Text, utt2spk: Mapping[str, str] | None = None) -> Score:
    """Scores hypotheses over the same utterances as the reference.

    Args:
        ref: reference words.
        hyp: hypothesis words.
        utt2spk: speaker of each utterance. With two speakers or more the bootstrap draws speakers,
            otherwise utterances.

    Raises:
        InputError: if the reference has no words at all.
    """
    utterances = count_errors(ref, hyp)
    corpus = total(utterances.values())
    if not corpus.words:
        raise InputError("the reference has no words: a word error rate is not defined")
    speakers = by_speaker(utterances, utt2spk) if utt2spk else {}
    over_speakers = utt2spk is not None and len(speakers) > 1
    interval = ratio_interval(
        [utt2spk[utt_id] if utt2spk and over_speakers else utt_id for utt_id in utterances],
        [count.errors for count in utterances.values()],
        [count.words for count in utterances.values()],
    )
    return Score(
        corpus, utterances, speakers, interval, "speakers" if over_speakers else "utterances"
    )


def write_score(result: Score, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Writes `wer.json`, and `per_spk` where speakers are known.

    Args:
        result: the score.
        folder: an artefact's work folder.
        extra: more facts for `wer.json` (the number of partial paths).
    """
    summary = {**result.to_dict(), **(extra or {})}
    write_text(folder / "wer.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    if result.speakers:
        write_text(folder / "per_spk", per_speaker_text(result))


def per_speaker_text(result: Score) -> str:
    """A table in text: speaker, words, errors, S, D, I, word error rate in percent."""
    rows: list[tuple[str, ...]] = [("speaker", "words", "errors", "sub", "del", "ins", "wer%")]
    for name, count in [*result.speakers.items(), ("SUM", result.corpus)]:
        counts = (count.words, count.errors, count.substitutions, count.deletions, count.insertions)
        rows.append((name, *map(str, counts), f"{100 * count.wer:.2f}" if count.words else "-"))
    width = max(len(row[0]) for row in rows)
    lines = [" ".join([row[0].ljust(width), *(cell.rjust(7) for cell in row[1:])]) for row in rows]
    return "\n".join(lines) + "\n"
