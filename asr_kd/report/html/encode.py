"""A test set as the JSON that is embedded in the page.

Hypotheses are kept as edits of the reference, so that a page grows with the errors of the systems
and not with their number: `0` for all right, otherwise one string of run lengths and words,
"4=X2=DI word word" (the letters are those of a CIGAR string: right, substituted, deleted,
inserted; the words are those that the reference does not have, in their order).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.report.html.model import HtmlRun, HtmlSet, HtmlSystem
from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION
from asr_kd.score.confusions import confusions

MOST_CONFUSIONS = 500
"""So many rows of each list of confused words are in the page."""

_Counts = dict[tuple[str, ...], int]
_LETTERS = {CORRECT: "=", SUBSTITUTION: "X", DELETION: "D", INSERTION: "I"}


def encode_set(test_set: HtmlSet, most_utterances: int) -> dict[str, Any]:
    """What the page's script knows of a test set.

    Args:
        test_set: the set.
        most_utterances: a set with more keeps only those in which some run errs, and of these the
            ones with the most errors.

    Returns:
        JSON-able: `total` and `erring` utterances of the set; `ids`, `ref` and each run's `edits`
        of the N that were kept, in the order of the reference; `speakers`, their names, words and
        mean errors of each system over *all* utterances, and `speaker`, the index of each
        utterance's; `confusions` over all utterances.
    """
    utt_ids = list(test_set.ref)
    for system in test_set.systems:
        for run in system.runs:
            if list(run.alignments.utt_ids) != utt_ids:
                raise ValueError(f"{system.name} {run.name}: not over the reference's utterances")
    errors = [_errors(system) for system in test_set.systems]  # (runs, N) each
    most = np.max([counts.max(axis=0) for counts in errors], axis=0) if errors else _zeros(utt_ids)
    summed = np.sum([counts.sum(axis=0) for counts in errors], axis=0) if errors else most
    kept = _kept(most, summed, most_utterances)
    return {
        "name": test_set.name,
        "mark": test_set.mark,
        "total": len(utt_ids),
        "erring": int((most > 0).sum()),
        "ids": [utt_ids[i] for i in kept],
        "ref": [" ".join(test_set.ref[utt_ids[i]]) for i in kept],
        "systems": [
            {
                "name": system.name,
                "runs": [
                    {
                        "name": run.name,
                        "seed": run.seed,
                        "edits": [_edits(run, i, utt_ids[i]) for i in kept],
                    }
                    for run in system.runs
                ],
            }
            for system in test_set.systems
        ],
        **_speakers(test_set, utt_ids, errors, kept),
        "confusions": _confusions(test_set),
    }


def to_json(data: object) -> str:
    """JSON that is safe inside a script element and in every JavaScript.

    No `<`, so neither `</script>` nor `<!--` can occur, and no U+2028 or U+2029, which were line
    ends in JavaScript's strings.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _zeros(utt_ids: Sequence[str]) -> NDArray[np.int64]:
    return np.zeros(len(utt_ids), dtype=np.int64)


def _errors(system: HtmlSystem) -> NDArray[np.int64]:
    """(runs, N) errors of each utterance."""
    counts = [run.alignments.counts()[:, 1:].sum(axis=1) for run in system.runs]
    stacked: NDArray[np.int64] = np.stack(counts)
    return stacked


def _kept(most: NDArray[np.int64], summed: NDArray[np.int64], limit: int) -> list[int]:
    """Indices of the utterances in the page, in their order."""
    if len(most) <= limit:
        return list(range(len(most)))
    erring = np.flatnonzero(most)
    worst_first = erring[np.argsort(-summed[erring], kind="stable")]
    return sorted(worst_first[:limit].tolist())


def _edits(run: HtmlRun, index: int, utt_id: str) -> str | int:
    """What makes an utterance's hypothesis out of the reference (module docstring)."""
    steps = run.alignments.of(index)
    if not steps.any():  # CORRECT is 0
        return 0
    codes: list[str] = []
    words: list[str] = []
    position = 0
    hyp = run.hyp[utt_id]
    for step, same in groupby(steps.tolist()):
        length = len(list(same))
        codes.append(f"{length if length > 1 else ''}{_LETTERS[step]}")
        if step in (SUBSTITUTION, INSERTION):
            words += hyp[position : position + length]
        if step != DELETION:
            position += length
    return " ".join(["".join(codes), *words])


def _speakers(
    test_set: HtmlSet,
    utt_ids: Sequence[str],
    errors: Sequence[NDArray[np.int64]],
    kept: Sequence[int],
) -> dict[str, Any]:
    if test_set.utt2spk is None:
        return {"speakers": None, "speaker": None}
    names = sorted({test_set.utt2spk[utt_id] for utt_id in utt_ids})
    numbers = {name: i for i, name in enumerate(names)}
    of = np.array([numbers[test_set.utt2spk[utt_id]] for utt_id in utt_ids], dtype=np.int64)

    def summed(values: NDArray[np.float64]) -> list[float]:
        return np.bincount(of, values, minlength=len(names)).round(4).tolist()

    words = np.array([len(test_set.ref[utt_id]) for utt_id in utt_ids], dtype=np.float64)
    return {
        "speakers": {
            "names": names,
            "utterances": summed(np.ones(len(utt_ids))),
            "words": summed(words),
            "errors": [summed(counts.mean(axis=0)) for counts in errors],
        },
        "speaker": [int(of[i]) for i in kept],
    }


def _confusions(test_set: HtmlSet) -> dict[str, Any]:
    """Rows of words, mean counts of each system, and how often the reference has the word."""
    found = [
        confusions(test_set.ref, [(run.hyp, run.alignments) for run in system.runs])
        for system in test_set.systems
    ]
    runs = [len(system.runs) for system in test_set.systems]
    words = Counter(word for utterance in test_set.ref.values() for word in utterance)
    lists: dict[str, tuple[list[_Counts], bool]] = {
        "pairs": ([{(*pair,): n for pair, n in one.pairs.items()} for one in found], True),
        "substituted": ([_keyed(one.substituted) for one in found], True),
        "deleted": ([_keyed(one.deleted) for one in found], True),
        "inserted": ([_keyed(one.inserted) for one in found], False),
    }
    encoded = {}
    for name, (counts, of_reference) in lists.items():
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for n, one in zip(runs, counts, strict=True):
            for key, count in one.items():
                sums[key] += count / n
        most = sorted(sums, key=lambda key: (-sums[key], key))[:MOST_CONFUSIONS]
        encoded[name] = {
            "distinct": len(sums),
            "rows": [
                [
                    *key,
                    *(round(one.get(key, 0) / n, 4) for n, one in zip(runs, counts, strict=True)),
                    *([words[key[0]]] if of_reference else []),
                ]
                for key in most
            ],
        }
    return encoded


def _keyed(counts: Mapping[str, int]) -> _Counts:
    return {(word,): count for word, count in counts.items()}
