from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.score.alignment import INSERTION, SUBSTITUTION, align
from asr_kd.score.confusions import confusions

WORDS = st.lists(st.sampled_from(["a", "b", "c", "ä", "<b>"]), max_size=8)


def test_planted_errors() -> None:
    ref = {"u1": ["the", "cat", "sat", "on", "the", "mat"], "u2": ["the", "cat"]}
    hyp = {"u1": ["the", "hat", "sat", "the", "rat", "now"], "u2": ["a", "hat", "now", "now"]}
    found = confusions(ref, [(hyp, align(ref, hyp))])
    assert list(found.pairs.items()) == [
        (("cat", "hat"), 2), (("mat", "rat"), 1), (("the", "a"), 1),
    ]  # fmt: skip
    assert list(found.substituted.items()) == [("cat", 2), ("mat", 1), ("the", 1)]
    assert found.deleted == {"on": 1}
    assert found.inserted == {"now": 3}


def test_seeds_are_summed() -> None:
    ref = {"u": ["a", "b"]}
    runs = [{"u": ["a", "c"]}, {"u": ["c", "c"]}, {"u": ["a", "b"]}]
    found = confusions(ref, [(hyp, align(ref, hyp)) for hyp in runs])
    assert found.pairs == {("b", "c"): 2, ("a", "c"): 1}
    assert not found.deleted
    assert not found.inserted


def test_nothing_wrong() -> None:
    found = confusions({"u": []}, [({"u": []}, align({"u": []}, {"u": []}))])
    assert not any([found.pairs, found.substituted, found.deleted, found.inserted])


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_counts_of_a_plain_walk(pairs: list[tuple[list[str], list[str]]]) -> None:
    ref = {str(i): pair[0] for i, pair in enumerate(pairs)}
    hyp = {str(i): pair[1] for i, pair in enumerate(pairs)}
    aligned = align(ref, hyp)
    replaced, deleted, inserted = Counter(), Counter(), Counter()
    for i, utt_id in enumerate(ref):
        left, right = iter(ref[utt_id]), iter(hyp[utt_id])
        for step in aligned.of(i):
            if step == INSERTION:
                inserted[next(right)] += 1
            elif step <= SUBSTITUTION:
                pair = next(left), next(right)
                replaced[pair] += pair[0] != pair[1]
            else:
                deleted[next(left)] += 1
    found = confusions(ref, [(hyp, aligned)])
    assert list(found.pairs.items()) == sorted(
        (+replaced).items(), key=lambda item: (-item[1], item[0])
    )
    assert found.deleted == deleted
    assert found.inserted == inserted
    assert sum(found.substituted.values()) == aligned.counts()[:, SUBSTITUTION].sum()
    for counts in (found.substituted, found.deleted, found.inserted):
        assert list(counts.items()) == sorted(counts.items(), key=lambda item: (-item[1], item[0]))
