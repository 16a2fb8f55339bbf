"""Phones and neighbours of planted paths, and the label sequences that are none."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.labels.phone_path import PhonePaths
from asr_kd.labels.tying import LEFT, Question, Split, Tying

LEXICON = Lexicon((Pronunciation("ONE", 1.0, ("A", "B")),), ("SIL",), "SIL", ("A", "B"))
LANG = Lang.build(LEXICON, states=3, silence_states=5, oov="<UNK>", silence_prob=0.5)
TYING = Tying(False, {
    "SIL": (10, 9, 8, 7, 6), "A": (5, Split(Question(LEFT, frozenset({"B"})), 4, 11), 3),
    "B": (2, 1, 0),
})  # fmt: skip


@given(
    st.lists(st.sampled_from(["SIL", "A", "B"]), min_size=1, max_size=8),
    st.integers(0, 1000),
    st.booleans(),
)
@settings(max_examples=60)
def test_planted_phones_are_found(phones: list[str], seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    lang = replace(LANG, tying=TYING) if tied else LANG
    names = list(LANG.topology.hmms)
    pdf_ids, expected = [], []
    for i, phone in enumerate(phones):
        left = phones[i - 1] if i else None
        right = phones[i + 1] if i + 1 < len(phones) else None
        state = 0
        while state < LANG.topology.hmms[phone].num_states:
            pdf_ids.append(lang.pdf_id(left, phone, right, state))
            label = LANG.topology.first_pdf[phone] + state
            neighbours = [3 if n is None else names.index(n) for n in (left, right)]
            expected.append([label, *neighbours])
            ways = LANG.topology.hmms[phone].transitions[state]
            state = int(rng.choice([to for to, _ in ways], p=[p for _, p in ways]))
    paths = PhonePaths(lang)
    assert paths.phones == ("SIL", "A", "B")
    assert np.array(paths.contexts(np.array(pdf_ids, np.int32))).T.tolist() == expected


def test_a_phone_of_one_state_that_follows_itself() -> None:
    lang = Lang.build(LEXICON, states=1, silence_states=1, oov="<UNK>", silence_prob=0.5)
    tree = Split(Question(LEFT, frozenset({"A"})), 3, 1)
    tied = replace(lang, tying=Tying(False, {"SIL": (0,), "A": (tree,), "B": (2,)}))
    first, second = tied.pdf_id(None, "A", None, 0), tied.pdf_id("A", "A", None, 0)
    pdf_ids = np.array([first, first, second, second, second], np.int32)
    edge, a = 3, 1
    assert PhonePaths(tied).contexts(pdf_ids).left.tolist() == [edge, edge, a, a, a]
    assert PhonePaths(tied).contexts(pdf_ids).right.tolist() == [a, a, edge, edge, edge]
    steps = {(first, first): 1000, (first, second): 1000, (second, second): 2000, (second, -1): 0}
    ((to, stays), _) = tied.trained(steps).hmms["A"].transitions[0]
    assert to == 0
    assert stays == pytest.approx(0.75, abs=1e-3)  # 3000 of 4000 steps; the others leave
    # States apart from their contexts do not tell.
    alike = PhonePaths(lang).contexts(tied.monophone_label[pdf_ids])
    assert alike.left.tolist() == alike.right.tolist() == [edge] * 5


def test_a_state_that_changes_its_label() -> None:
    a0, a1, a2 = 5, 4, 3
    PhonePaths(replace(LANG, tying=TYING)).contexts(np.array([a0, a1, a2], np.int32))
    labels = np.array([a0, a1, 11, a2], np.int32)  # both are A_1, one behind B
    with pytest.raises(InputError, match=r"no transition leads from A_1 \(frame 1\) to A_1"):
        PhonePaths(replace(LANG, tying=TYING)).contexts(labels)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ("A_0 A_2", "no transition leads from A_0 (frame 0) to A_2"),
        ("A_0 A_1 A_2 B_1 B_2", "no transition leads from A_2 (frame 2) to B_1"),
        ("A_0 A_1 B_0 B_1 B_2", "no transition leads from A_1 (frame 1) to B_0"),
        ("A_1 A_2", "begins inside a phone, with A_1"),
        ("A_0 A_1", "ends inside a phone, with A_1"),
        ("", "labels of shape (0,)"),
    ],
)
def test_what_is_no_path_is_told(names: str, fault: str) -> None:
    labels = [LANG.label_set.names.index(name) for name in names.split()]
    with pytest.raises(InputError, match=re.escape(fault)):
        PhonePaths(LANG).contexts(np.array(labels, np.int32))


def test_labels_of_a_larger_set() -> None:
    for labels in ([0, 11], [-1, 0]):
        with pytest.raises(InputError, match="of a language of 11"):
            PhonePaths(LANG).contexts(np.array(labels, np.int32))
