"""The files that Kaldi's scoring leaves in a decode folder, for scripts that read them.

`wer_<lmwt>_<wip>` (the output of `compute-wer`), `scoring_kaldi/best_wer`, and
`scoring_kaldi/wer_details/{lmwt,wip,per_utt,per_spk,ops}`, as `steps/scoring/score_kaldi_wer.sh`
makes them. Alignments are ours: where several are equally good, Kaldi may show another one. In
`ops` equal counts are in the order of their characters' code points; Kaldi's `sort -i` passes over
all that is not ASCII.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.atomic import write_text
from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION, Alignments
from asr_kd.score.join import Partial
from asr_kd.score.text import Text

_GAP = "***"
_LETTERS = {CORRECT: "C", SUBSTITUTION: "S", DELETION: "D", INSERTION: "I"}
_OPERATIONS = {
    CORRECT: "correct", SUBSTITUTION: "substitution", DELETION: "deletion", INSERTION: "insertion",
}  # fmt: skip
_WIDEST_WORD = 16  # a longer one of `ops` sticks out of its column
_COLUMNS = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")


def write_kaldi_files(
    folder: Path,
    published: Path,
    ref: Text,
    hyp: Text,
    alignments: Alignments,
    utt2spk: Mapping[str, str] | None = None,
    partial: Partial | None = None,
    lmwt: str = "1",
    wip: str = "0.0",
) -> None:
    """Writes Kaldi's scoring files.

    Args:
        folder: where they are written: a decode folder, or the work folder of an artefact.
        published: the folder's final path; it stands in `best_wer`.
        ref, hyp: the words that were aligned.
        alignments: of `ref` and `hyp`.
        utt2spk: speakers; without them there is no `per_spk`.
        partial: what was left out, if anything; the word error rate then says `[PARTIAL]`.
        lmwt, wip: language model weight and word insertion penalty, for the names of files.
    """
    counts = alignments.counts()
    lines = _wer_lines(counts, partial)
    name = f"wer_{lmwt}_{wip}"
    details = folder / "scoring_kaldi" / "wer_details"
    write_text(folder / name, "".join(f"{line}\n" for line in lines))
    write_text(folder / "scoring_kaldi" / "best_wer", f"{lines[0]} {published / name}\n")
    write_text(details / "lmwt", f"{lmwt}\n")
    write_text(details / "wip", f"{wip}\n")
    operations: Counter[tuple[str, str, str]] = Counter()
    per_utt: list[str] = []
    for i, utt_id in enumerate(alignments.utt_ids):
        steps = alignments.of(i).tolist()
        sides = _side_by_side(ref[utt_id], hyp[utt_id], steps)
        operations.update(
            (_OPERATIONS[step], *pair) for step, pair in zip(steps, sides, strict=True)
        )
        per_utt += _utterance(utt_id, sides, steps, counts[i].tolist())
    write_text(details / "per_utt", "".join(per_utt))
    write_text(details / "ops", "".join(_operation_lines(operations)))
    if utt2spk:
        speakers = [utt2spk[utt_id] for utt_id in alignments.utt_ids]
        write_text(details / "per_spk", "".join(_speaker_lines(speakers, counts)))


def _wer_lines(counts: NDArray[np.int64], partial: Partial | None) -> list[str]:
    correct, sub, deleted, inserted = counts.sum(axis=0).tolist()
    errors, words = sub + deleted + inserted, correct + sub + deleted
    wrong, sentences = int((counts[:, 1:].sum(axis=1) > 0).sum()), len(counts)
    absent = partial.of - partial.scored if partial else 0
    return [
        f"%WER {100 * errors / words:.2f} [ {errors} / {words}, {inserted} ins, {deleted} del, "
        f"{sub} sub ]{' [PARTIAL]' if partial else ''}",
        f"%SER {100 * wrong / sentences:.2f} [ {wrong} / {sentences} ]",
        f"Scored {sentences} sentences, {absent} not present in hyp.",
    ]


def _side_by_side(
    ref: Sequence[str], hyp: Sequence[str], steps: Sequence[int]
) -> list[tuple[str, str]]:
    """The words of each step; `_GAP` where a side has none."""
    refs, hyps = iter(ref), iter(hyp)
    return [
        (
            _GAP if step == INSERTION else next(refs),
            _GAP if step == DELETION else next(hyps),
        )
        for step in steps
    ]


def _utterance(
    utt_id: str, sides: Sequence[tuple[str, str]], steps: Sequence[int], counts: Sequence[int]
) -> Iterator[str]:
    """Lines of `per_utt`: reference, hypothesis, operations, and counts of C, S, I, D."""
    columns = [(r, h, _LETTERS[step]) for (r, h), step in zip(sides, steps, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for k, name in enumerate(("ref", "hyp", "op ")):
        cells = (_centred(column[k], width) for column, width in zip(columns, widths, strict=True))
        yield f"{utt_id} {name}  {'  '.join(cells)}\n"
    correct, sub, deleted, inserted = counts
    yield f"{utt_id} #csid {correct} {sub} {inserted} {deleted}\n"


def _centred(word: str, width: int) -> str:
    right = (width - len(word)) // 2
    return " " * (width - len(word) - right) + word + " " * right


def _operation_lines(operations: Mapping[tuple[str, str, str], int]) -> Iterator[str]:
    """Lines of `ops`: by kind, the most frequent first."""
    if not operations:
        return
    width = min(_WIDEST_WORD, max(max(len(r), len(h)) for _, r, h in operations))
    digits = len(str(max(operations.values())))
    ordered = sorted(operations.items(), key=lambda item: (item[0][0], -item[1], item[0]))
    for (kind, ref_word, hyp_word), count in ordered:
        yield f"{kind:<14}{ref_word:>{width}}    {hyp_word:>{width}}    {count:>{digits}}\n"


def _speaker_lines(speakers: Sequence[str], counts: NDArray[np.int64]) -> Iterator[str]:
    """Lines of `per_spk`: counts (`raw`) and percentages (`sys`) of each speaker and of all."""
    names = sorted(set(speakers))
    width = max(15, *map(len, names))
    rows = {name: k for k, name in enumerate(names)}
    place = np.array([rows[speaker] for speaker in speakers])
    sums = np.zeros((len(names), 6), np.int64)  # utterances, C, S, D, I, wrong utterances
    wrong = counts[:, 1:].sum(axis=1) > 0
    np.add.at(sums, place, np.column_stack([np.ones(len(counts), np.int64), counts, wrong]))
    yield f"{'SPEAKER':<{width}} id  " + " ".join(f"{c:>10}" for c in _COLUMNS) + "\n"
    for name, row in [*zip(names, sums, strict=True), ("SUM", sums.sum(axis=0))]:
        sent, correct, sub, deleted, inserted, wrong_sent = row.tolist()
        words, errors = correct + sub + deleted, sub + deleted + inserted
        raw = (sent, words, correct, sub, inserted, deleted, errors, wrong_sent)
        yield f"{name:<{width}} raw " + " ".join(f"{n:>10}" for n in raw) + "\n"
        if words:
            rates = [*(100 * n / words for n in raw[2:7]), 100 * wrong_sent / sent]
            cells = [f"{sent:>10}", f"{words:>10}", *(f"{rate:>10.2f}" for rate in rates)]
            yield f"{name:<{width}} sys " + " ".join(cells) + "\n"
