"""Decision trees as data: what they answer, their file, and languages that have them."""

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.labels.tying import LEFT, RIGHT, Node, Question, Split, Tying

LEXICON = Lexicon((Pronunciation("ONE", 1.0, ("A", "B")),), ("SIL",), "SIL", ("A", "B"))
LANG = Lang.build(LEXICON, states=2, silence_states=1, oov="<UNK>", silence_prob=0.5)
B_LEFT = Question(LEFT, frozenset({"B", None}))
A_RIGHT = Question(RIGHT, frozenset({"A"}))
TREES: dict[str, tuple[Node, ...]] = {
    "SIL": (0,), "A": (Split(B_LEFT, 1, Split(A_RIGHT, 4, 3)), 2), "B": (5, 6),
}  # fmt: skip
TYING = Tying(True, TREES)

phones = st.sampled_from(["A", "B", "SIL", "é", "<UNK>"])
questions = st.builds(
    Question, st.sampled_from([LEFT, RIGHT]), st.frozensets(st.none() | phones, max_size=4)
)
shapes = st.recursive(
    st.none(), lambda inner: st.tuples(questions, inner, inner), max_leaves=6
)  # fmt: skip


@st.composite
def tyings(draw: st.DrawFn) -> Tying:
    """Trees of any shape whose leaves are numbered in any order."""
    forest = draw(
        st.dictionaries(phones, st.lists(shapes, min_size=1, max_size=3), min_size=1, max_size=3)
    )

    def count(shape: Any) -> int:
        return 1 if shape is None else count(shape[1]) + count(shape[2])

    total = sum(count(shape) for roots in forest.values() for shape in roots)
    numbers = iter(draw(st.permutations(range(total))))

    def node(shape: Any) -> Node:
        return next(numbers) if shape is None else Split(shape[0], node(shape[1]), node(shape[2]))

    return Tying(True, {phone: tuple(map(node, roots)) for phone, roots in forest.items()})


def answer(stored: dict[str, Any], left: str | None, phone: str, right: str | None, s: int) -> int:
    """Reads a leaf from the JSON form, independently of the classes."""
    node = stored["trees"][phone][s]
    while isinstance(node, list):
        context, asked = stored["questions"][node[0]]
        node = node[1] if {LEFT: left, RIGHT: right}[context] in asked else node[2]
    assert isinstance(node, int)
    return node


@given(tying=tyings())
@settings(max_examples=30)
def test_the_file_says_what_the_trees_say(tying: Tying, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("tree") / "tree.json"
    tying.save(path)
    assert Tying.load(path) == tying
    stored = json.loads(path.read_text())
    for phone, trees in tying.trees.items():
        for s in range(len(trees)):
            for left in (None, "A", "B", "never seen"):
                for right in (None, "é", "SIL"):
                    expected = answer(stored, left, phone, right, s)
                    assert tying.pdf_id(left, phone, right, s) == expected
    states = [(phone, s) for phone, trees in tying.trees.items() for s in range(len(trees))]
    for pdf_id, label in enumerate(tying.monophone_label.tolist()):
        phone, s = states[label]
        assert pdf_id in leaves_of(stored["trees"][phone][s])


def leaves_of(node: Any) -> list[int]:
    """The pdf-ids below a node of the JSON form."""
    return leaves_of(node[1]) + leaves_of(node[2]) if isinstance(node, list) else [node]


def ints(node: Node) -> list[int]:
    """The pdf-ids below a node."""
    return ints(node.yes) + ints(node.no) if isinstance(node, Split) else [node]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.text(string.printable, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=100)
def test_damage_is_refused_by_name_or_does_not_matter(data: Any, tmp_path_factory: Any) -> None:
    stored = TYING.to_dict()
    at: Any = stored
    while True:  # walks down to a place and puts something else there
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
            at[key] = data.draw(values)
            break
        at = at[key]
    path = tmp_path_factory.mktemp("tree") / "tree.json"
    path.write_text(json.dumps(stored))
    try:
        loaded = Tying.load(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        leaves = [x for roots in loaded.trees.values() for root in roots for x in ints(root)]
        assert sorted(leaves) == list(range(loaded.num_pdfs))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"format": "asr_kd.tree/9"}, "asr_kd.tree/9"),
        ({"right": 1}, "right is 1"),
        ({"right": False}, r"question about neighbour \+1"),
        ({"questions": [[-1, ["B"]], [2, ["A"]]]}, r"question about neighbour \+2"),
        ({"questions": [[-1, ["B"]]]}, "question 1 of 1"),
        ({"questions": [[-1, [7]], [1, ["A"]]]}, "7, which is no phone"),
        ({"trees": {"A": [0, 0]}}, "pdf-id 0 has 2 leaves"),
        ({"trees": {"A": [0, 5]}}, r"pdf-ids \[5\] of 2 leaves"),
        ({"trees": {"A": [0, True]}}, "node True"),
        ({"trees": {"A": [[0, 1]]}}, "expected a pdf-id or"),
        ({"trees": {"A": [0], "B": []}}, "B: no state"),
        ({"trees": {}}, "no phone"),
    ],
)
def test_faults_are_told(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(TYING.to_dict() | change))
    with pytest.raises(InputError, match=fault) as error:
        Tying.load(path)
    assert all(str(path) in line for line in error.value.faults)


def test_a_tree_without_bottom_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    deep = "[0, 0, " * 100_000 + "1" + "]" * 100_000
    text = json.dumps(TYING.to_dict() | {"trees": {"A": ["HERE"]}})
    path.write_text(text.replace('"HERE"', deep))
    with pytest.raises(InputError, match="nested too deeply"):
        Tying.load(path)


def test_label_sets_are_equal_only_where_pdfs_mean_the_same() -> None:
    labels = TYING.label_set(LANG.topology)
    assert labels.names == ("SIL_0.0", "A_0.1", "A_1.2", "A_0.3", "A_0.4", "B_0.5", "B_1.6")
    assert Tying(True, dict(TREES)).label_set(LANG.topology).digest == labels.digest
    other = {**TREES, "A": (Split(B_LEFT, 1, Split(replace(A_RIGHT, context=LEFT), 4, 3)), 2)}
    asked = Tying(True, other).label_set(LANG.topology)
    assert asked.names == labels.names
    assert asked.digest != labels.digest
    names = LANG.topology.label_set().names
    assert [names[k] for k in TYING.monophone_label] == [n.split(".")[0] for n in labels.names]
    with pytest.raises(InputError, match=r"than the topology \(SIL\)"):
        Tying(True, {**TREES, "SIL": (0, 7)}).label_set(LANG.topology)
    with pytest.raises(InputError, match="in another order"):
        Tying(True, dict(reversed(TREES.items()))).label_set(LANG.topology)


def test_language_folder_with_trees(tmp_path: Path) -> None:
    lang = replace(LANG, tying=TYING)
    lang.write(tmp_path)
    read = Lang.read(tmp_path)
    assert read == lang
    assert read.label_set == TYING.label_set(LANG.topology)
    assert read.phones == LANG.phones
    assert [read.pdf_id("SIL", "A", right, 0) for right in ("A", "B", None)] == [4, 3, 3]
    assert [LANG.pdf_id("SIL", "A", right, 1) for right in ("A", "B", None)] == [2, 2, 2]
    (tmp_path / "tree.json").unlink()
    with pytest.raises(InputError, match=r"label sets differ.*7 tied-states"):
        Lang.read(tmp_path)


def test_contexts_share_transitions() -> None:
    lang = replace(LANG, tying=TYING)
    counts = {(1, 1): 50, (3, 3): 30, (4, 4): 10, (1, 2): 5, (4, 2): 5, (2, 2): 7, (2, 5): 20,
              (2, -1): 3, (6, 6): 1, (6, -1): 4}  # fmt: skip
    shared = {(1, 1): 90, (1, 2): 10, (2, 2): 7, (2, 3): 20, (2, -1): 3, (4, 4): 1, (4, -1): 4}
    assert lang.trained(counts) == LANG.topology.trained(shared)
    assert LANG.trained(shared) == LANG.topology.trained(shared)
    stay = dict(lang.trained(counts).hmms["A"].transitions[0])[0]
    assert stay == pytest.approx((90 + 7.5) / 110)
    assert dict(lang.trained(counts).hmms["B"].transitions[1])[1] == pytest.approx(8.5 / 15)
    assert np.array_equal(LANG.monophone_label, np.arange(5))
