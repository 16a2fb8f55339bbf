"""Utterances joined strictly, or as far as all have them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.join import REFERENCE, Joined, Partial, join

REF = {"u3": ["c"], "u1": ["a"], "u2": []}


def test_the_same_utterances_in_the_order_of_the_reference() -> None:
    hyp = {"u1": ["x"], "u2": ["y"], "u3": []}
    joined = join(REF, {"one": hyp, "two": REF})
    assert joined == Joined(REF, {"one": hyp, "two": REF}, None)
    assert list(joined.hyps["one"]) == list(joined.ref) == ["u3", "u1", "u2"]
    assert join(REF, {"one": hyp}, partial=True).partial is None


def test_every_missing_and_extra_utterance_is_listed_by_file() -> None:
    hyps = {"one": {"u1": ["a"], "u4": []}, "two": {**REF, "u5": []}, "three": REF}
    names = {REFERENCE: "data/text", "one": "exp/one.trn"}
    with pytest.raises(InputError) as refused:
        join(REF, hyps, names)
    counts, others = refused.value.faults[:2], refused.value.faults[2:]
    assert counts == [
        "exp/one.trn: 2 of the 3 utterances of data/text missing, 1 without a reference; complete "
        "it (without words: the id alone, in a ctm the line `WAVEFORM CHANNEL 0 0 @`), or score "
        "the 1 that all have with --partial",
        "two: 0 of the 3 utterances of data/text missing, 1 without a reference; complete it, or "
        "score the 1 that all have with --partial",
    ]
    assert others == [
        "exp/one.trn: u2: no hypothesis (it is in data/text)",
        "exp/one.trn: u3: no hypothesis (it is in data/text)",
        "exp/one.trn: u4: no reference (it is not in data/text)",
        "two: u5: no reference (it is not in data/text)",
    ]


def test_one_utterance_more_in_one_of_many_systems_is_refused() -> None:
    hyps = {f"s{i}": dict(REF) for i in range(5)}
    hyps["s3"]["extra"] = []
    with pytest.raises(InputError) as refused:
        join(REF, hyps)
    assert len(refused.value.faults) == 2
    assert all(fault.startswith("s3: ") for fault in refused.value.faults)


def test_partial_scores_what_all_have_and_says_so() -> None:
    one, two = {"u1": ["x"], "u3": [], "u9": ["z"]}, {"u1": ["y"], "u2": []}
    joined = join(REF, {"one": one, "two": two, "three": REF}, partial=True)
    assert joined.ref == {"u1": ["a"]}
    assert joined.hyps == {"one": {"u1": ["x"]}, "two": {"u1": ["y"]}, "three": {"u1": ["a"]}}
    partial = joined.partial
    assert partial == Partial(1, 3, {"one": ["u2"], "two": ["u3"]}, {"one": ["u9"]})
    assert partial.describe() == (
        "PARTIAL: 1 of 3 reference utterances are scored, those that every system has "
        "(one: 1 missing, 1 without a reference; two: 1 missing, 0 without a reference)"
    )
    assert partial.to_dict() == {
        "scored": 1, "of": 3, "missing": {"one": 1, "two": 1}, "extra": {"one": 1},
    }  # fmt: skip


def test_extra_utterances_alone_make_it_partial() -> None:
    partial = join(REF, {"one": {**REF, "u9": []}}, partial=True).partial
    assert partial == Partial(3, 3, {}, {"one": ["u9"]})


@pytest.mark.parametrize("partial", [False, True])
def test_strangers_are_one_fault_each(partial: bool) -> None:
    hyps = {"a": {"v1": [], "v2": []}, "b": {"U1": ["a"]}, "c": {}, "d": REF}
    with pytest.raises(InputError) as refused:
        join(REF, hyps, partial=partial)
    assert refused.value.faults == [
        "a: no utterance in common with the reference, other ids: 'v1' here, 'u1' there",
        "b: no utterance in common with the reference, ids differ in capital and small letters: "
        "'U1' here, 'u1' there",
        "c: no utterances",
    ]


def test_nothing_that_all_have() -> None:
    with pytest.raises(InputError, match="none of its utterances is in every"):
        join(REF, {"one": {"u1": []}, "two": {"u2": []}}, partial=True)
    with pytest.raises(InputError, match="the reference: no utterances"):
        join({}, {"one": {}}, partial=True)


IDS = st.dictionaries(st.sampled_from("abcdef"), st.just(["w"]), min_size=1)


@given(IDS, st.lists(IDS, min_size=1, max_size=3))
def test_strict_and_partial_are_of_one_mind(
    ref: dict[str, list[str]], texts: list[dict[str, list[str]]]
) -> None:
    hyps = {str(i): text for i, text in enumerate(texts)}
    try:
        strict = join(ref, hyps)
    except InputError:
        assert any(text.keys() != ref.keys() for text in texts)
    else:
        assert all(text.keys() == ref.keys() for text in texts)
        assert join(ref, hyps, partial=True) == strict
    try:
        joined = join(ref, hyps, partial=True)
    except InputError:
        assert not ref.keys() & set.intersection(*(set(text) for text in texts))
        return
    assert joined.ref.keys() == {u for u in ref if all(u in text for text in texts)}
    assert all(hyp.keys() == joined.ref.keys() for hyp in joined.hyps.values())
    assert (joined.partial is None) == all(text.keys() == ref.keys() for text in texts)
