from typing import Any

import pytest

from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model
from asr_kd.io.kaldi.tree import ContextTree, Leaf, Split, read_tree
from asr_kd.labels.kaldi_pdfs import kaldi_labels, tree_faults

PHONES = {1: "SIL", 2: "A", 3: "B"}


@pytest.fixture
def model(kaldi: Any) -> TransitionModel:
    return read_transition_model(KaldiReader(kaldi.mark + kaldi.transitions(), "final.mdl"))


@pytest.fixture
def tree(kaldi: Any) -> ContextTree:
    return read_tree(KaldiReader(kaldi.tree(), "tree"))


def test_a_label_says_phone_state_and_pdf(model: TransitionModel, tree: ContextTree) -> None:
    labels = kaldi_labels(model, tree, PHONES)
    assert labels.names == ("SIL_0.0", "SIL_1.1", "A_0.2", "A_0.3", "B_0.4")


def test_variants_by_position_in_the_word_are_one_phone(
    model: TransitionModel, tree: ContextTree
) -> None:
    positions = {1: "AH_B", 2: "AH_E", 3: "AH_I", 4: "AH_S"}
    labels = kaldi_labels(model, tree, positions)
    assert labels.names == ("AH_0.0", "AH_1.1", "AH_0.2", "AH_0.3", "AH_0.4")
    labels = kaldi_labels(model, tree, {1: "AH_B", 2: "AH_E", 3: "AH_I", 4: "X"})
    assert labels.names[0] == "AH_B_0.0"


def test_another_tree_is_another_label_set(
    kaldi: Any, model: TransitionModel, tree: ContextTree
) -> None:
    """Even where the names are the same: A's two pdfs, the other way round."""
    labels = kaldi_labels(model, tree, PHONES)
    assert labels == kaldi_labels(model, tree, PHONES)
    other = ContextTree(3, 1, Split(0, frozenset([1]), Leaf(3), Leaf(2)))
    swapped = kaldi_labels(model, other, PHONES)
    assert swapped.names == labels.names
    assert swapped.digest != labels.digest


def test_a_tree_that_belongs_to_the_model(model: TransitionModel, tree: ContextTree) -> None:
    assert tree_faults(model, tree) == []


def test_a_tree_of_another_model_is_named(kaldi: Any, tree: ContextTree) -> None:
    states = (*kaldi.STATES[:3], (3, 0, 4))
    data = kaldi.mark + kaldi.transitions(states)
    other = read_transition_model(KaldiReader(data, "final.mdl"))
    assert tree_faults(other, tree) == [
        "phone 2, HMM state 0: pdfs [2] in the model, [2, 3] in the tree"
    ]
