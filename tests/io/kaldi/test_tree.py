from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.tree import ContextTree, Leaf, Node, Split, Table, read_tree

LEAVES = st.builds(Leaf, st.integers(0, 40))
NODES = st.recursive(
    LEAVES,
    lambda nodes: st.one_of(
        st.builds(Split, st.integers(-1, 2), st.frozensets(st.integers(0, 5)), nodes, nodes),
        st.builds(
            Table, st.integers(-1, 2),
            st.lists(st.none() | nodes, max_size=3).map(lambda x: (*x, Leaf(0))),
        ),
    ),
    max_leaves=12,
)  # fmt: skip


def written(kaldi: Any, node: Node | None) -> bytes:
    if node is None:
        return bytes(kaldi.tokens("NULL"))
    if isinstance(node, Leaf):
        return bytes(kaldi.tokens("CE") + kaldi.ints(node.pdf_id))
    if isinstance(node, Split):
        data = kaldi.tokens("SE") + kaldi.ints(node.key)
        data += kaldi.int_vector(sorted(node.yes_values)) + kaldi.tokens("{")
        return bytes(data + written(kaldi, node.yes) + written(kaldi, node.no) + kaldi.tokens("}"))
    data = kaldi.tokens("TE") + kaldi.ints(node.key, len(node.branches)) + kaldi.tokens("(")
    return bytes(data + b"".join(written(kaldi, b) for b in node.branches) + kaldi.tokens(")"))


def whole(kaldi: Any, root: bytes) -> bytes:
    head = kaldi.tokens("ContextDependency") + kaldi.ints(3, 1) + kaldi.tokens("ToPdf")
    return bytes(kaldi.mark + head + root + kaldi.tokens("EndContextDependency"))


def answer(node: Node | None, window: list[int], pdf_class: int) -> int | None:
    """The tree's definition, question by question."""
    if node is None or isinstance(node, Leaf):
        return node and node.pdf_id
    value = pdf_class if node.key == -1 else window[node.key]
    if isinstance(node, Split):
        return answer(node.yes if value in node.yes_values else node.no, window, pdf_class)
    return answer(node.branches[value], window, pdf_class) if value < len(node.branches) else None


def test_the_pdf_of_a_phone_among_its_neighbours(kaldi: Any) -> None:
    tree = read_tree(KaldiReader(kaldi.tree(), "tree"))
    assert (tree.width, tree.central, tree.num_pdfs) == (3, 1, 5)
    assert [tree.pdf_id([0, 1, 2], pdf_class) for pdf_class in (0, 1)] == [0, 1]
    assert tree.pdf_id([1, 2, 3], 0) == 2
    assert tree.pdf_id([3, 2, 1], 0) == 3
    assert tree.pdf_id([3, 0, 1], 0) is None
    assert tree.pdf_id([3, 9, 1], 0) is None
    assert tree.pdf_ids(2, 0) == {2, 3}
    assert tree.pdf_ids(3, 0) == {4}


@settings(max_examples=60)
@given(
    root=NODES,
    window=st.lists(st.integers(0, 5), min_size=3, max_size=3),
    pdf_class=st.integers(0, 3),
)
def test_any_tree_reads_back_and_answers(
    kaldi: Any, root: Node, window: list[int], pdf_class: int
) -> None:
    tree = read_tree(KaldiReader(whole(kaldi, written(kaldi, root)), "tree"))
    assert tree == ContextTree(3, 1, root)
    found = answer(root, window, pdf_class)
    assert tree.pdf_id(window, pdf_class) == found
    assert found is None or found in tree.pdf_ids(window[1], pdf_class)


@pytest.mark.parametrize(
    ("root", "said"),
    [
        (lambda k: k.tokens("NULL"), "an empty tree"),
        (lambda k: k.tokens("CE") + k.ints(-1), "pdf-id -1"),
        (lambda k: k.tokens("SE") + k.ints(3), "after position 3 in a context of 3 phones"),
        (lambda k: k.tokens("TE") + k.ints(1, 10**8), "100000000 elements"),
        (lambda k: k.tokens("TE") + k.ints(1, 0) + k.tokens("(", ")"), "without branches"),
        (lambda k: k.tokens("XE"), "expected CE or SE or TE or NULL, found XE"),
        (
            lambda k: (k.tokens("TE") + k.ints(1, 1) + k.tokens("(")) * 400,
            "more than 300 questions",
        ),
        (
            lambda k: k.tokens("SE") + k.ints(1) + k.int_vector([1])
            + k.tokens("{", "NULL", "NULL", "}"),
            "a question with one answer",
        ),
    ],
)  # fmt: skip
def test_what_is_no_tree(kaldi: Any, root: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"^tree: byte [0-9]+: .*{said}"):
        read_tree(KaldiReader(whole(kaldi, root(kaldi)), "tree"))


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_tree_is_refused_or_read_but_never_breaks(
    kaldi: Any, data: st.DataObject
) -> None:
    whole = bytearray(kaldi.tree())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    try:
        tree = read_tree(KaldiReader(bytes(whole[:end]), "tree"))
        tree.pdf_id([0] * min(tree.width, 9), 0)
    except InputError as error:
        assert str(error).startswith("tree: byte ")  # noqa: PT017
