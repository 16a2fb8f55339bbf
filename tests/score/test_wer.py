import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.score.alignment import align
from asr_kd.score.wer import (
    WordErrors,
    by_speaker,
    character_errors,
    count_errors,
    sentence_errors,
    total,
)

WORDS = st.lists(st.sampled_from(["a", "b", "c", "A"]), max_size=8)


def slow_distance(ref: list[str], hyp: list[str]) -> int:
    """Levenshtein by its definition."""
    if not ref or not hyp:
        return len(ref) + len(hyp)
    return min(
        slow_distance(ref[:-1], hyp) + 1,
        slow_distance(ref, hyp[:-1]) + 1,
        slow_distance(ref[:-1], hyp[:-1]) + (ref[-1] != hyp[-1]),
    )


def table_distance(ref: list[str], hyp: list[str]) -> int:
    row = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        last, row[0] = row[0], i
        for j, h in enumerate(hyp, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (r != h))
    return row[-1]


def test_planted_counts() -> None:
    ref = {"u1": ["the", "cat", "sat"], "u2": ["on", "the", "mat"], "u3": ["x"], "u4": []}
    hyp = {"u1": ["the", "dog", "sat"], "u2": ["on", "mat", "now"], "u3": [], "u4": ["y", "z"]}
    counts = count_errors(ref, hyp)
    assert counts["u1"] == WordErrors(substitutions=1, words=3)
    assert counts["u2"].errors == 2
    assert counts["u3"] == WordErrors(deletions=1, words=1)
    assert counts["u4"] == WordErrors(insertions=2, words=0)
    assert math.isnan(counts["u4"].wer)
    assert counts["u4"].to_dict()["wer"] is None


def test_order_of_hypotheses_does_not_matter() -> None:
    ref = {"u1": ["a"], "u2": ["b"]}
    assert total(count_errors(ref, {"u2": ["b"], "u1": ["a"]}).values()).errors == 0


def test_corpus_wer_is_not_the_mean_of_utterances() -> None:
    counts = count_errors({"long": ["w"] * 9, "short": ["w"]}, {"long": ["w"] * 9, "short": ["v"]})
    assert total(counts.values()).wer == 1 / 10  # the mean of the utterances would be 1/2


@given(st.lists(st.tuples(WORDS.filter(lambda w: len(w) < 6), WORDS), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_counts_are_a_minimal_alignment(pairs: list[tuple[list[str], list[str]]]) -> None:
    ref = {str(i): pair[0] for i, pair in enumerate(pairs)}
    hyp = {str(i): pair[1] for i, pair in enumerate(pairs)}
    for utt_id, errors in count_errors(ref, hyp).items():
        assert errors.words == len(ref[utt_id])
        assert errors.insertions - errors.deletions == len(hyp[utt_id]) - len(ref[utt_id])
        assert errors.errors == table_distance(ref[utt_id], hyp[utt_id])


def test_the_reference_distance_itself() -> None:
    rng = random.Random(0)
    for _ in range(20):
        ref, hyp = (rng.choices("abc", k=rng.randrange(6)) for _ in range(2))
        assert table_distance(ref, hyp) == slow_distance(ref, hyp)


def test_long_corpus_against_the_slow_distance() -> None:
    rng = random.Random(1)
    ref = {str(i): rng.choices("abcdefgh", k=rng.randrange(20)) for i in range(60)}
    hyp = {u: [w for w in words if rng.random() > 0.2] + ["h"] for u, words in ref.items()}
    assert total(count_errors(ref, hyp).values()).errors == sum(
        table_distance(ref[u], hyp[u]) for u in ref
    )


def test_words_are_compared_as_they_stand() -> None:
    # Case counts, and so does a no-break space, which some tools would cut at.
    assert count_errors({"u": ["Aa"]}, {"u": ["aA"]})["u"].substitutions == 1
    assert count_errors({"u": ["a\u00a0b"]}, {"u": ["a", "b"]})["u"].errors == 2


def test_speakers() -> None:
    counts = {"u1": WordErrors(1, 0, 0, 5), "u2": WordErrors(0, 2, 0, 5), "u3": WordErrors(words=3)}
    spk = by_speaker(counts, {"u1": "s2", "u2": "s2", "u3": "s1"})
    assert list(spk) == ["s1", "s2"]
    assert spk["s2"] == WordErrors(1, 2, 0, 10)
    assert total(spk.values()) == total(counts.values())


LETTERS = st.lists(st.text("aé😀b", min_size=1, max_size=4), max_size=4)


@given(st.lists(st.tuples(LETTERS, LETTERS), max_size=4))
@settings(max_examples=60, deadline=None)
def test_characters_and_sentences(pairs: list[tuple[list[str], list[str]]]) -> None:
    ref = {str(i): pair[0] for i, pair in enumerate(pairs)}
    hyp = {str(i): pair[1] for i, pair in reversed(list(enumerate(pairs)))}
    counts = character_errors(ref, hyp)
    assert counts.shape == (len(pairs), 2)
    wrong = sentence_errors(align(ref, hyp))
    for utt_id, (errors, characters), one in zip(ref, counts.tolist(), wrong, strict=True):
        sides = [list(" ".join(side[utt_id])) for side in (ref, hyp)]
        assert errors == table_distance(*sides)
        assert characters == len(sides[0])
        assert one == (list(ref[utt_id]) != list(hyp[utt_id]))


def test_words_run_together_are_a_character_error() -> None:
    assert character_errors({"u": ["a", "b"]}, {"u": ["ab"]}).tolist() == [[1, 3]]
    assert character_errors({"u": []}, {"u": ["ab"]}).tolist() == [[2, 0]]
