"""The label set of a Kaldi system: its pdf-ids, in Kaldi's order."""

import re
from collections.abc import Mapping

from asr_kd.artefact import hash_json
from asr_kd.io.kaldi.transitions import TransitionModel
from asr_kd.io.kaldi.tree import ContextTree, Leaf, Node, Split
from asr_kd.labels.label_set import LabelSet

KIND = "kaldi-pdfs"
_SHOWN = 3
_POSITION = re.compile(r"(.+)_[BEIS]")


def kaldi_labels(model: TransitionModel, tree: ContextTree, phones: Mapping[int, str]) -> LabelSet:
    """One label for each pdf-id, such as `AH_1.27`: phones, HMM states, pdf-id.

    Variants of a phone by its position in the word (`AH_B`, `AH_E`, ...) are told as one. The kind
    holds a digest of the tree and the transition-states: equal label sets mean the same pdfs.

    Args:
        model: transition model.
        tree: its tree.
        phones: number → name, of all phones of the model.
    """
    bases = _without_position(set(phones.values()))
    users: dict[int, set[tuple[str, int]]] = {}
    for phone, state, forward, loop in model.states.tolist():
        for pdf_id in (forward, loop):
            users.setdefault(pdf_id, set()).add((bases[phones[phone]], state))
    names = []
    for pdf_id in range(max(model.num_pdfs, tree.num_pdfs)):
        own = users.get(pdf_id, {("unused", 0)})
        names.append(
            f"{_list(sorted({phone for phone, _ in own}))}_"
            f"{_list(sorted({str(state) for _, state in own}))}.{pdf_id}"
        )
    return LabelSet(f"{KIND} {_digest(model, tree)[:16]}", tuple(names))


def tree_faults(model: TransitionModel, tree: ContextTree) -> list[str]:
    """How a tree differs from the one that a transition model was made with."""
    pdfs: dict[tuple[int, int], tuple[set[int], set[int]]] = {}
    for phone, state, forward, loop in model.states.tolist():
        both = pdfs.setdefault((phone, state), (set(), set()))
        both[0].add(forward)
        both[1].add(loop)
    faults = []
    for (phone, state), own in pdfs.items():
        hmm_state = model.topology.states(phone)[state]
        for found, pdf_class in zip(own, (hmm_state.pdf_class, hmm_state.loop_class), strict=True):
            if found != (expected := tree.pdf_ids(phone, pdf_class)):
                faults.append(
                    f"phone {phone}, HMM state {state}: pdfs {sorted(found)} in the model, "
                    f"{sorted(expected)} in the tree"
                )
                break
    return faults


def _list(parts: list[str]) -> str:
    more = [f"+{len(parts) - _SHOWN}"] if len(parts) > _SHOWN else []
    return "/".join([*parts[:_SHOWN], *more])


def _without_position(names: set[str]) -> dict[str, str]:
    """Name → name without `_B`, `_E`, `_I` or `_S`, where all four stand in the table."""
    bases = {}
    for name in names:
        match = _POSITION.fullmatch(name)
        if match and all(f"{match[1]}_{mark}" in names for mark in "BEIS"):
            bases[name] = match[1]
    return {name: bases.get(name, name) for name in names}


def _digest(model: TransitionModel, tree: ContextTree) -> str:
    return hash_json([model.states.tolist(), tree.width, tree.central, _plain(tree.root)])


def _plain(node: Node | None) -> object:
    """A tree as nested lists."""
    if node is None or isinstance(node, Leaf):
        return node and node.pdf_id
    if isinstance(node, Split):
        return [node.key, sorted(node.yes_values), _plain(node.yes), _plain(node.no)]
    return [node.key, [_plain(branch) for branch in node.branches]]
