"""Kaldi's context-dependency tree: the pdf-id of a phone's state among its neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from asr_kd.io.kaldi.stream import KaldiReader

PDF_CLASS = -1
"""The key of the question after the pdf-class; other keys are positions in the context window."""
_DEEPEST = 300


@dataclass(frozen=True)
class Leaf:
    """CE: a pdf-id."""

    pdf_id: int


@dataclass(frozen=True)
class Split:
    """SE: is the value of `key` in `yes_values`?"""

    key: int
    yes_values: frozenset[int]
    yes: "Node"
    no: "Node"


@dataclass(frozen=True)
class Table:
    """TE: one branch for each value of `key`; None where there is none."""

    key: int
    branches: tuple["Node | None", ...]


Node = Leaf | Split | Table


@dataclass(frozen=True)
class ContextTree:
    """A tree.

    Attributes:
        width: phones in the context window.
        central: the position of the phone itself.
        root: of the questions.
    """

    width: int
    central: int
    root: Node

    @cached_property
    def num_pdfs(self) -> int:
        """One more than the largest pdf-id."""
        return 1 + max(_leaves(self.root, {}))

    def pdf_id(self, window: Sequence[int], pdf_class: int) -> int | None:
        """The pdf-id of a phone between its neighbours.

        Args:
            window: `width` phones; 0 where there is none.
            pdf_class: of the topology.

        Returns:
            None where the tree has no answer.
        """
        known = dict(enumerate(window)) | {PDF_CLASS: pdf_class}
        found = _leaves(self.root, known)
        return found.pop() if found else None

    def pdf_ids(self, phone: int, pdf_class: int) -> set[int]:
        """The pdf-ids that a phone's state has, whatever its neighbours."""
        return _leaves(self.root, {self.central: phone, PDF_CLASS: pdf_class})


def _leaves(root: Node, known: Mapping[int, int]) -> set[int]:
    """The pdf-ids that are left when some questions are answered."""
    found: set[int] = set()
    nodes: list[Node] = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Leaf):
            found.add(node.pdf_id)
        elif isinstance(node, Split):
            if node.key not in known:
                nodes += [node.yes, node.no]
            else:
                nodes.append(node.yes if known[node.key] in node.yes_values else node.no)
        elif node.key not in known:
            nodes += [branch for branch in node.branches if branch is not None]
        elif 0 <= known[node.key] < len(node.branches):
            branch = node.branches[known[node.key]]
            nodes += [branch] if branch is not None else []
    return found


def read_tree(reader: KaldiReader) -> ContextTree:
    """Reads the file `tree`.

    Raises:
        InputError: with file and byte, for another format and for what is no tree.
    """
    reader.expect("ContextDependency")
    width, central = reader.integer(), reader.integer()
    if not 0 <= central < width:
        reader.fail(f"position {central} in a context of {width} phones")
    if reader.expect("ToPdf", "ToLength") == "ToLength":  # files of Kaldi's first years
        _read_node(reader, width, 0)
        reader.expect("ToPdf")
    root = _read_node(reader, width, 0)
    if root is None:
        reader.fail("an empty tree")
    reader.expect("EndContextDependency")
    return ContextTree(width, central, root)


def _read_node(reader: KaldiReader, width: int, depth: int) -> Node | None:
    if depth > _DEEPEST:
        reader.fail(f"more than {_DEEPEST} questions one after the other")
    kind = reader.expect("CE", "SE", "TE", "NULL")
    if kind == "NULL":
        return None
    if kind == "CE":
        if not 0 <= (pdf_id := reader.integer()) <= np.iinfo(np.int32).max:
            reader.fail(f"pdf-id {pdf_id}")
        return Leaf(pdf_id)
    if not PDF_CLASS <= (key := reader.integer()) < width:
        reader.fail(f"a question after position {key} in a context of {width} phones")
    if kind == "TE":
        number = reader.count(2)
        reader.expect("(")
        branches = tuple(_read_node(reader, width, depth + 1) for _ in range(number))
        reader.expect(")")
        if all(branch is None for branch in branches):
            reader.fail("a table without branches")
        return Table(key, branches)
    values = frozenset(reader.integers().tolist())
    reader.expect("{")
    yes, no = (_read_node(reader, width, depth + 1) for _ in range(2))
    reader.expect("}")
    if yes is None or no is None:
        reader.fail("a question with one answer")
    return Split(key, values, yes, no)
