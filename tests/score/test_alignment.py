import random
import re
import subprocess
from pathlib import Path
from shutil import which

import jiwer
import kaldialign
import numpy as np
import pytest

from asr_kd.score.alignment import (
    CORRECT,
    DELETION,
    INSERTION,
    METHODS,
    SUBSTITUTION,
    Method,
    Vocabulary,
    align,
)

Texts = tuple[dict[str, list[str]], dict[str, list[str]]]
LETTERS = {"C": CORRECT, "S": SUBSTITUTION, "D": DELETION, "I": INSERTION}


def corpus(seed: int, utterances: int, vocabulary: int, error_rate: float, longest: int) -> Texts:
    """References with hypotheses in which so many words were replaced, left out or doubled."""
    rng = random.Random(seed)
    ref, hyp = {}, {}
    for u in range(utterances):
        words = [f"w{rng.randrange(vocabulary)}" for _ in range(rng.randrange(longest + 1))]
        heard = []
        for word in words:
            other = f"w{rng.randrange(vocabulary)}"
            kind = rng.randrange(3) if rng.random() < error_rate else None
            heard += {None: [word], 0: [other], 1: [], 2: [word, other]}[kind]
        ref[f"s{u % 7}_{u}"], hyp[f"s{u % 7}_{u}"] = words, heard
    return ref, hyp


CORPORA = {
    "ordinary": (1, 300, 2000, 0.1, 40),
    "few words, many errors": (2, 500, 3, 0.7, 15),
    "two words": (3, 400, 2, 0.9, 12),
    "ten words": (4, 400, 10, 0.7, 30),
    "long": (5, 6, 30, 0.5, 400),
}


@pytest.mark.parametrize("name", CORPORA)
def test_levenshtein_is_kaldialigns_step_by_step(name: str) -> None:
    ref, hyp = corpus(*CORPORA[name])
    aligned = align(ref, hyp)
    for i, utt_id in enumerate(ref):
        pairs = kaldialign.align(ref[utt_id], hyp[utt_id], "*")
        expected = [
            INSERTION if r == "*" else DELETION if h == "*" else int(r != h) for r, h in pairs
        ]
        assert aligned.of(i).tolist() == expected
        counts = kaldialign.edit_distance(ref[utt_id], hyp[utt_id])
        assert aligned.counts()[i, 1:].tolist() == [counts["sub"], counts["del"], counts["ins"]]


@pytest.mark.parametrize("name", CORPORA)
def test_levenshtein_has_as_few_errors_as_jiwers(name: str) -> None:
    ref, hyp = corpus(*CORPORA[name])
    errors = align(ref, hyp).counts()[:, 1:].sum(axis=1)
    for i, utt_id in enumerate(ref):
        output = jiwer.process_words(
            [" ".join(ref[utt_id])], [" ".join(hyp[utt_id])],
            jiwer.Compose([jiwer.ReduceToListOfListOfWords()]),
            jiwer.Compose([jiwer.ReduceToListOfListOfWords()]),
        )  # fmt: skip
        assert errors[i] == output.substitutions + output.deletions + output.insertions


@pytest.mark.skipif(not which("sctk"), reason="needs NIST's sctk (Debian: apt-get install sctk)")
@pytest.mark.parametrize("name", CORPORA)
def test_sclite_is_the_real_one_step_by_step(name: str, tmp_path: Path) -> None:
    ref, hyp = corpus(*CORPORA[name])
    for file, text in (("ref", ref), ("hyp", hyp)):
        lines = [f"{' '.join(words)} ({utt_id})\n" for utt_id, words in text.items()]
        (tmp_path / file).write_text("".join(lines))
    output = subprocess.run(
        ["sctk", "sclite", "-r", "ref", "trn", "-h", "hyp", "trn", "-i", "spu_id", "-s",
         "-o", "sgml", "stdout"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    theirs = {
        utt_id: [LETTERS[letter] for letter in re.findall(r"(?:^|:)([CSDI]),", path)]
        for utt_id, path in re.findall(r'<PATH id="\((\S+)\)".*\n(.*)\n</PATH>', output)
    }
    assert theirs.keys() == ref.keys()
    aligned = align(ref, hyp, "sclite")
    assert {utt_id: aligned.of(i).tolist() for i, utt_id in enumerate(ref)} == theirs


# Printed by sclite 2.10 of Debian's sctk 2.4.10 (-s -o sgml): more errors than the fewest; three
# substitutions that cost as much as a right word, two deletions and two insertions; a tie of place.
SCLITE_SAYS = [
    ("c c c c a a", "a a b c", "DDDDCCII"),
    ("a a b", "b c c", "SSS"),
    ("a", "b c", "IS"),
]


@pytest.mark.parametrize(("ref", "hyp", "path"), SCLITE_SAYS)
def test_what_sclite_says(ref: str, hyp: str, path: str) -> None:
    aligned = align({"u": ref.split()}, {"u": hyp.split()}, "sclite")
    assert aligned.of(0).tolist() == [LETTERS[letter] for letter in path]


def test_methods_differ_in_the_number_of_errors() -> None:
    ref, hyp = ({"u": list(words)} for words in ("ccccaa", "aabc"))
    assert align(ref, hyp, "levenshtein").counts().tolist() == [[1, 3, 2, 0]]
    assert align(ref, hyp, "sclite").counts().tolist() == [[2, 0, 4, 2]]


@pytest.mark.parametrize("method", METHODS)
def test_planted_alignments(method: Method) -> None:
    ref = {"u1": list("abc"), "u2": list("def"), "u3": ["x"], "u4": [], "u5": []}
    hyp = {"u1": list("axc"), "u2": list("dfy"), "u3": [], "u4": ["y"], "u5": []}
    aligned = align(ref, hyp, method)
    assert aligned.utt_ids == tuple(ref)
    assert len(aligned) == 5
    assert aligned.of(0).tolist() == [CORRECT, SUBSTITUTION, CORRECT]
    assert aligned.of(1).tolist() == [CORRECT, DELETION, CORRECT, INSERTION]
    assert [aligned.of(i).tolist() for i in (2, 3, 4)] == [[DELETION], [INSERTION], []]
    assert aligned.counts().tolist() == [
        [2, 1, 0, 0], [2, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0],
    ]  # fmt: skip
    assert aligned.ref_steps().tolist() == [0, 1, 0, 0, 2, 0, 2]
    assert aligned.hyp_steps().tolist() == [0, 1, 0, 0, 0, 3, 3]


def test_nothing_to_align() -> None:
    aligned = align({}, {})
    assert len(aligned) == 0
    assert aligned.counts().shape == (0, 4)


def test_order_is_the_references() -> None:
    aligned = align({"b": ["x"], "a": ["y", "z"]}, {"a": ["y"], "b": []})
    assert aligned.utt_ids == ("b", "a")
    assert aligned.counts().tolist() == [[0, 0, 1, 0], [1, 0, 1, 0]]


def test_other_utterances() -> None:
    with pytest.raises(ValueError, match="not over the same utterances"):
        align({"a": []}, {"b": []})


def test_words_are_numbered_as_they_come() -> None:
    vocabulary = Vocabulary()
    first = vocabulary.encode([["b", "a"], [], ["b"]])
    second = vocabulary.encode([("c", "a")])
    assert first.ids.tolist() == [0, 1, 0]
    assert first.bounds.tolist() == [0, 2, 2, 3]
    assert second.ids.tolist() == [2, 1]
    assert list(vocabulary) == ["b", "a", "c"]


def test_every_word_of_both_sides_has_its_step() -> None:
    ref, hyp = corpus(*CORPORA["few words, many errors"])
    for method in METHODS:
        aligned = align(ref, hyp, method)
        counts = aligned.counts()
        assert counts[:, :3].sum(axis=1).tolist() == [len(words) for words in ref.values()]
        heard = counts[:, [CORRECT, SUBSTITUTION, INSERTION]].sum(axis=1)
        assert heard.tolist() == [len(hyp[utt_id]) for utt_id in ref]
        assert np.array_equal(np.bincount(aligned.steps), counts.sum(axis=0))
