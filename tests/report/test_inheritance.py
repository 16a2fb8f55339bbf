import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from asr_kd.report.comparison import Comparison, Decoding
from asr_kd.report.inheritance import FATES, Inherited, inheritance
from asr_kd.report.sources import Source
from asr_kd.report.word_fates import fates_csv, word_fates
from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, align

Said = list[tuple[str, str | None, dict[str, str]]]  # role, seed, utterance → words


def compared(ref: Mapping[str, str], said: Said, utt2spk: dict[str, str] | None) -> Comparison:
    words = {utt: text.split() for utt, text in ref.items()}
    decodings = []
    for role, seed, texts in said:
        hyp = {utt: texts[utt].split() for utt in ref}
        source = Source(role, seed, "", Path("h"), Path("r"), None, "file", "text", {}, Path("h"))
        empty = np.zeros((len(ref), 2), np.int64)
        decodings.append(Decoding(role, seed, source, hyp, align(words, hyp), empty, 0, {}))
    return Comparison("test", words, "r", 0, decodings, utt2spk, None)


REF = {"a-1": "one two three four", "a-2": "five", "b-1": "six seven", "b-2": "eight nine"}
PLANTED: Said = [
    ("teacher", None, {"a-1": "x two three x", "a-2": "x", "b-1": "six x", "b-2": "eight nine"}),
    ("ensemble", None, {"a-1": "x two y four", "a-2": "five", "b-1": "six seven", "b-2": "eight nine"}),  # noqa: E501
    ("hard-student", None, {"a-1": "z two three z", "a-2": "z", "b-1": "six seven", "b-2": "z nine"}),  # noqa: E501
    ("student", None, {"a-1": "x two y four", "a-2": "", "b-1": "six seven", "b-2": "eight x nine oh"}),  # noqa: E501
]  # fmt: skip
UTT2SPK = {utt: utt[0] for utt in REF}


def test_planted() -> None:
    found = inheritance(compared(REF, PLANTED, UTT2SPK))
    assert found is not None
    assert (found.words, found.source) == (9, "ensemble")
    assert found.effect is not None
    # The teacher lacks one, four, five, seven; the ensemble one, and three, which it broke.
    assert found.effect.teacher_wrong == 4
    assert found.effect.ensemble_wrong == 2
    assert found.effect.fixed == 3
    assert found.effect.broken == 1
    rows = {row.role: row for row in found.rows}
    assert list(rows) == ["hard-student", "student"]
    assert _counts(rows["student"]) == (3, 2, 2, 1, 0, 2)  # words put in are nobody's
    assert _counts(rows["hard-student"]) == (4, 1, 0, 2, 1, 1)
    student = rows["student"]
    assert student.inherited_share is not None
    assert student.inherited_share.value == 1
    assert student.kept_share is not None
    assert student.kept_share.value == pytest.approx(2 / 3)
    # Speaker a lost one of two fixed words, b none of one: the ends of what can be drawn.
    assert list(student.kept_share.interval) == pytest.approx([0.5, 1])
    differences = {d.share: d.estimate.value for d in found.differences}
    assert differences["inherited_share"] == pytest.approx(1 - 1 / 2)
    assert differences["kept_share"] == pytest.approx(2 / 3 - 1 / 3)
    assert differences["same_share"] == 1
    assert found.by_word["student"] == {
        "inherited": [("one", 1), ("three", 1)], "lost": [("five", 1)], "own": [],
        "kept": [("four", 1), ("seven", 1)],
    }  # fmt: skip


def _counts(row: Inherited) -> tuple[float | None, ...]:
    return row.wrong, row.inherited, row.same_word, row.lost, row.own, row.kept


def test_every_planted_word_is_told() -> None:
    comparison = compared(REF, PLANTED, UTT2SPK)
    told = [
        (one.utt_id, one.index, one.word, one.heard, one.fate)
        for one in word_fates(comparison)
        if one.role == "student"
    ]
    assert told == [
        ("a-1", 0, "one", "x", "inherited"),
        ("a-1", 2, "three", "y", "inherited"),
        ("a-1", 3, "four", "four", "kept"),
        ("a-2", 0, "five", "", "lost"),
        ("b-1", 1, "seven", "seven", "kept"),
    ]
    rows = list(csv.DictReader(io.StringIO(fates_csv([comparison]))))
    assert len(rows) == len(list(word_fates(comparison)))
    assert rows[-1] == {
        "set": "test", "scored": "4", "of": "4", "role": "student", "utt_id": "b-1", "index": "1",
        "word": "seven", "heard": "seven",
        "fate": "kept", "wrong": "0", "teacher_wrong": "1", "ensemble_wrong": "0",
    }  # fmt: skip


def random_texts(rng: np.random.Generator, ref: Mapping[str, str]) -> dict[str, str]:
    texts = {}
    for utt, text in ref.items():
        words: list[str] = []
        for word in text.split():
            kind = rng.choice(4, p=[0.6, 0.2, 0.1, 0.1])
            words += [[word], [str(rng.choice(["x", "y"]))], [], [word, "x"]][kind]
        texts[utt] = " ".join(words)
    return texts


def slow_marks(comparison: Comparison, decoding: Decoding) -> list[str | None]:
    """What stands in each reference word's place: the word itself, another one, or None."""
    marks: list[str | None] = []
    for i, utt in enumerate(comparison.ref):
        words, hyp = iter(comparison.ref[utt]), iter(decoding.hyp[utt])
        for step in decoding.alignments.of(i):
            heard = None if step == DELETION else next(hyp)
            if step != INSERTION:
                assert (heard == next(words)) == (step == CORRECT)
                marks.append(heard)
    return marks


def test_several_teachers_seeds_and_students_against_a_slow_count() -> None:
    rng = np.random.default_rng(3)
    ref = {f"s{i // 3}-{i}": " ".join(rng.choice(list("abcde"), 6)) for i in range(18)}
    members: list[tuple[str, str | None]] = [("teacher", s) for s in ("1", "1", "1", "2", "2", "2")]
    members += [("ensemble", "1"), ("ensemble", "2"), ("student", "1"), ("student", "1")]
    members += [("student", "2"), ("student", "2"), ("hard-student", None), ("gmm", None)]
    said = [(role, seed, random_texts(rng, ref)) for role, seed in members]
    comparison = compared(ref, said, {utt: utt.split("-")[0] for utt in ref})
    found = inheritance(comparison, resamples=50)
    assert found is not None
    assert [row.role for row in found.rows] == ["student", "hard-student", "gmm"]
    words = [word for text in ref.values() for word in text.split()]
    marks = {id(d): slow_marks(comparison, d) for d in comparison.decodings}
    for row in found.rows:
        counts = dict.fromkeys(("wrong", "inherited", "same", "lost", "own", "kept"), 0.0)
        for seed in ("1", "2"):
            of = {r: [d for d in comparison.of(r) if d.seed in (seed, None)]
                  for r in ("teacher", "ensemble", row.role)}  # fmt: skip
            combinations = list(product(*of.values()))
            for combination in combinations:
                for k, word in enumerate(words):
                    t, e, s = (marks[id(d)][k] for d in combination)
                    part = 1 / len(combinations) / 2
                    counts["wrong"] += part * (s != word)
                    counts["inherited"] += part * (s != word and e != word)
                    counts["same"] += part * (s != word and e == s)
                    counts["lost"] += part * (s != word and e == word and t != word)
                    counts["own"] += part * (s != word and e == word and t == word)
                    counts["kept"] += part * (s == word and e == word and t != word)
        assert _counts(row) == pytest.approx(tuple(counts.values()))
        assert row.lost is not None
        assert row.wrong == pytest.approx(row.inherited + row.lost + row.own)
        for fate in FATES:
            listed = sum(number for _, number in found.by_word[row.role][fate])
            assert listed == pytest.approx(counts[fate])
    told = list(word_fates(comparison))
    assert told
    places = {(utt, i): k for k, (utt, i) in enumerate(
        (utt, i) for utt, text in ref.items() for i in range(len(text.split())))}  # fmt: skip
    for one in told:
        k = places[one.utt_id, one.index]
        own = [marks[id(d)][k] for d in comparison.of(one.role)]
        wrong = [mark for mark in own if mark != one.word]
        assert one.word == words[k]
        assert one.wrong == pytest.approx(len(wrong) / len(own))
        assert one.heard == (([*wrong, own[0]][0]) or "")


def test_without_an_ensemble_errors_come_from_the_teacher() -> None:
    found = inheritance(compared(REF, [s for s in PLANTED if s[0] != "ensemble"], None))
    assert found is not None
    assert found.source == "teacher"
    assert found.effect is None
    rows = {row.role: row for row in found.rows}
    # one and five are wrong in the teacher, too; three is not.
    assert _counts(rows["student"]) == (3, 2, 1, None, 1, None)
    assert rows["student"].kept_share is None
    assert {d.share for d in found.differences} == {"inherited_share", "same_share"}
    assert [one.ensemble_wrong for one in word_fates(compared(REF, PLANTED[:1] + PLANTED[3:], None))] == [None] * 3  # noqa: E501  # fmt: skip


def test_without_a_teacher_nothing_is_known_to_be_fixed() -> None:
    found = inheritance(compared(REF, PLANTED[1:], None))
    assert found is not None
    rows = {row.role: row for row in found.rows}
    assert _counts(rows["student"]) == (3, 2, 2, None, 1, None)


def test_ensemble_alone_beside_its_teachers() -> None:
    found = inheritance(compared(REF, PLANTED[:2], None))
    assert found is not None
    assert found.effect is not None
    assert found.effect.fixed == 3
    assert found.rows == []


@pytest.mark.parametrize("roles", [("student", "hard-student"), ("teacher",), ("ensemble",)])
def test_nobody_to_inherit_from_or_nobody_to_inherit(roles: tuple[str, ...]) -> None:
    comparison = compared(REF, [s for s in PLANTED if s[0] in roles], None)
    assert inheritance(comparison) is None
    if roles == ("student", "hard-student"):
        assert list(word_fates(comparison)) == []


def test_shares_of_nothing_are_none() -> None:
    right = [(role, seed, REF) for role, seed, _ in PLANTED]
    found = inheritance(compared(REF, right, UTT2SPK))
    assert found is not None
    assert found.effect is not None
    assert found.effect.fixed == 0
    for row in found.rows:
        assert row.inherited_share is row.same_share is row.kept_share is None
    assert found.differences == []


def test_alignments_of_other_utterances_are_refused() -> None:
    comparison = compared(REF, PLANTED, None)
    shuffled = replace(comparison, ref=dict(reversed(list(comparison.ref.items()))))
    with pytest.raises(ValueError, match="utterances of the reference"):
        inheritance(shuffled)
