"""Tying: which context-dependent states of phones share one pdf, as told by decision trees.

Each state of each phone has a tree of its own, whose questions are about the neighbouring phones
(Young, Odell & Woodland 1994, "Tree-based state tying for high accuracy acoustic modelling",
section 3). A tree gives every context a leaf, whether it was seen in training or not.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import hash_json
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.topology import Topology

TREE = "tree.json"
KIND = "tied-states"
LEFT, RIGHT = -1, 1
_FORMAT = "asr_kd.tree/1"


@dataclass(frozen=True)
class Question:
    """Whether a neighbouring phone is in a set.

    Attributes:
        context: LEFT or RIGHT, the neighbour that is asked about.
        phones: the set; None in it is the edge of the utterance.
    """

    context: int
    phones: frozenset[str | None]


@dataclass(frozen=True)
class Split:
    """An inner node of a tree."""

    question: Question
    yes: "Node"
    no: "Node"


Node: TypeAlias = Split | int
"""A split, or a leaf: its pdf-id."""


@dataclass(frozen=True)
class Tying:
    """Decision trees of the states of all phones. Every leaf is a pdf of its own.

    Attributes:
        right: whether the right neighbour matters too (triphones); otherwise left biphones.
        trees: phone → one tree for each HMM state, in the topology's order of phones.

    Raises:
        InputError: all faults: leaves that are not 0, 1, … num_pdfs - 1, each once, or questions
            about neighbours that do not matter.
    """

    right: bool
    trees: Mapping[str, tuple[Node, ...]]

    def __post_init__(self) -> None:
        leaves = Counter(leaf for _, _, leaf in self._leaves())
        faults = [f"pdf-id {leaf} has {n} leaves" for leaf, n in leaves.items() if n > 1]
        if wrong := [leaf for leaf in leaves if not 0 <= leaf < len(leaves)]:
            faults.append(f"pdf-ids {wrong[:3]} of {len(leaves)} leaves: numbers from 0 expected")
        contexts = {LEFT, RIGHT} if self.right else {LEFT}
        asked = {split.question.context for split in self._splits()}
        faults += [f"question about neighbour {c:+d}" for c in sorted(asked - contexts)]
        faults += [f"{phone}: no state" for phone, trees in self.trees.items() if not trees]
        if not self.trees:
            faults.append("no phone")
        if faults:
            raise InputError(faults)

    def pdf_id(self, left: str | None, phone: str, right: str | None, state: int) -> int:
        """The pdf of a state of a phone between two others; None is the utterance's edge."""
        node = self.trees[phone][state]
        while isinstance(node, Split):
            neighbour = left if node.question.context == LEFT else right
            node = node.yes if neighbour in node.question.phones else node.no
        return node

    @cached_property
    def num_pdfs(self) -> int:
        """Number of leaves."""
        return sum(1 for _ in self._leaves())

    @cached_property
    def monophone_label(self) -> NDArray[np.int32]:
        """(num_pdfs,) for each pdf the label, phone and state, of the topology's own label set."""
        first, count = {}, 0
        for phone, trees in self.trees.items():
            first[phone] = count
            count += len(trees)
        labels = np.empty(self.num_pdfs, np.int32)
        for phone, state, leaf in self._leaves():
            labels[leaf] = first[phone] + state
        return labels

    def label_set(self, topology: Topology) -> LabelSet:
        """One label for each pdf, such as `AH_1.27`: phone, HMM state, pdf-id.

        The kind holds a digest of the trees: equal label sets mean the same pdfs.

        Raises:
            InputError: if the trees are of other phones or states than the topology.
        """
        ours = [(phone, len(trees)) for phone, trees in self.trees.items()]
        theirs = [(phone, hmm.num_states) for phone, hmm in topology.hmms.items()]
        if ours != theirs:
            differing = sorted({phone for phone, _ in set(ours) ^ set(theirs)})
            raise InputError(
                f"the trees are of other phones or numbers of states than the topology ("
                f"{', '.join(differing[:3]) or 'in another order'}); make the language folder again"
            )
        names = {leaf: f"{phone}_{state}.{leaf}" for phone, state, leaf in self._leaves()}
        kind = f"{KIND} {hash_json(self.to_dict())[:16]}"
        return LabelSet(kind, tuple(names[leaf] for leaf in range(self.num_pdfs)))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: a table of questions; a node is a pdf-id or [question, yes, no]."""
        numbers: dict[Question, int] = {}

        def plain(node: Node) -> Any:
            if not isinstance(node, Split):
                return node
            number = numbers.setdefault(node.question, len(numbers))
            return [number, plain(node.yes), plain(node.no)]

        trees = {phone: [plain(root) for root in roots] for phone, roots in self.trees.items()}
        questions = [[q.context, _sorted(q.phones)] for q in numbers]
        return {"format": _FORMAT, "right": self.right, "questions": questions, "trees": trees}

    def save(self, path: Path) -> None:
        """Writes `tree.json`, atomically."""
        write_text(path, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Tying":
        """Reads `tree.json`.

        Raises:
            InputError: naming the file if it is missing, damaged or no set of trees.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise ValueError(f"format {stored['format']!r}, expected {_FORMAT!r}")
            if type(stored["right"]) is not bool:
                raise ValueError(f"right is {stored['right']!r}, expected true or false")
            questions = [_question(*entry) for entry in stored["questions"]]
            trees = {
                phone: tuple(_node(root, questions) for root in roots)
                for phone, roots in stored["trees"].items()
            }
            return cls(stored["right"], trees)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; expected decision trees") from None
        except InputError as error:
            raise InputError([f"{path}: {fault}" for fault in error.faults]) from None
        except RecursionError:
            raise InputError(f"{path}: damaged: nested too deeply") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a set of decision trees: {error}") from None

    def _leaves(self) -> Iterator[tuple[str, int, int]]:
        """Phone, state and pdf-id of all leaves, in the order of the trees."""
        for phone, roots in self.trees.items():
            for state, root in enumerate(roots):
                yield from ((phone, state, node) for node in _nodes(root) if isinstance(node, int))

    def _splits(self) -> Iterator[Split]:
        for roots in self.trees.values():
            for root in roots:
                yield from (node for node in _nodes(root) if isinstance(node, Split))


def _nodes(root: Node) -> Iterator[Node]:
    """A node before those below it, those of yes before those of no."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Split):
            waiting += [node.no, node.yes]


def _sorted(phones: frozenset[str | None]) -> list[str | None]:
    edge: list[str | None] = [None] if None in phones else []
    return [*sorted(phone for phone in phones if phone is not None), *edge]


def _question(context: Any, phones: Any) -> Question:
    if type(context) is not int or not isinstance(phones, list):
        raise ValueError(f"question {[context, phones]}: expected a neighbour and phones")
    if wrong := [phone for phone in phones if phone is not None and not isinstance(phone, str)]:
        raise ValueError(f"question about {wrong[0]!r}, which is no phone")
    return Question(context, frozenset(phones))


def _node(stored: Any, questions: list[Question]) -> Node:
    if type(stored) is int:
        return stored
    if not isinstance(stored, list) or len(stored) != 3:
        raise ValueError(f"node {stored!r}: expected a pdf-id or [question, yes, no]")
    number, yes, no = stored
    if type(number) is not int or not 0 <= number < len(questions):
        raise ValueError(f"question {number!r} of {len(questions)}")
    return Split(questions[number], _node(yes, questions), _node(no, questions))
