"""C: phones in, context-dependent models out (Mohri, Pereira & Riley 2002, section 2.4)."""

from collections.abc import Sequence

import kaldifst
import numpy as np
from numpy.typing import NDArray

from asr_kd.labels.lang import Lang
from asr_kd.labels.tying import LEFT, Node
from asr_kd.search.arrays import Pieces


class Context:
    """The models of a language, and the FST that finds them for a sequence of phones.

    A model is a phone in all contexts in which its states have the same pdfs. Output labels are
    those of phones.txt, and `end` behind the last phone of an utterance. Input labels are those of
    models, from 1 on, and behind them #0, #1, …

    With right context a model comes one phone late, so that the symbols before an utterance's first
    phone and those behind it stand together. They cannot be mistaken for one another: only #0 comes
    before a phone, and behind a whole word of one phone #0 comes last.

    Args:
        lang: phones, states and their tying.

    Attributes:
        models: phone → (models, states) pdf-ids; models are numbered in this order.
        num_symbols: how many input labels mean no model but #0, #1, …
        end: output label at the end of an utterance, greater than those of phones.txt.
        fst: C, sorted by output label.
    """

    def __init__(self, lang: Lang) -> None:
        self.models: dict[str, NDArray[np.int64]] = {}
        self.end = len(lang.phones)
        self.num_symbols = lang.num_disambiguation
        labels = []
        self._num_models = 0
        for phone in lang.topology.hmms:
            pdf_ids = pdfs_in_context(lang, phone)
            self.models[phone], index = np.unique(
                pdf_ids.reshape(-1, pdf_ids.shape[-1]), axis=0, return_inverse=True
            )
            labels.append(self._num_models + 1 + index.reshape(pdf_ids.shape[:-1]))
            self._num_models += len(self.models[phone])
        self.fst = self._build(lang, np.stack(labels))

    def __len__(self) -> int:
        """Number of models."""
        return self._num_models

    def _build(self, lang: Lang, labels: NDArray[np.int64]) -> "kaldifst.StdVectorFst":
        """C from the input labels of (phone, left, right), neighbours as in `pdfs_in_context`."""
        phones = np.array([lang.phones[phone] for phone in lang.topology.hmms])
        marks = np.array([lang.phones[f"#{k}"] for k in range(lang.num_disambiguation)])
        symbols = len(self) + 1 + np.arange(self.num_symbols)
        count, lefts, rights = labels.shape
        b = np.arange(count)
        pieces = Pieces()
        if rights == 1:  # a state for each left neighbour a, in which phone b is read
            a = np.arange(lefts)[:, None]
            start, final = 0, lefts
            pieces.add(a, labels[b, a, 0], phones, 0.0, b + 1 if lefts > 1 else 0)
            pieces.add(a, 0, self.end, 0.0, final)
        else:  # a state for each phone b behind an a that waits for its right neighbour c
            states = np.arange(lefts)[:, None] * count + b
            start, final = states.size, states.size + 1
            left, middle, c = np.arange(lefts)[:, None, None], b[:, None], b
            pieces.add(states[..., None], labels[middle, left, c + 1], phones, 0.0, states[1:])
            pieces.add(states, labels[:, :, 0].T, self.end, 0.0, final)
            pieces.add(start, 0, phones, 0.0, states[0])
            pieces.add(start, 0, self.end, 0.0, final)
        everywhere = np.setdiff1d(np.arange(final + 1), final)[:, None]
        pieces.add(everywhere, symbols, marks, 0.0, everywhere)
        finals = np.full(final + 1, np.inf, np.float32)
        finals[final] = 0.0
        fst = pieces.build(start, finals)
        kaldifst.arcsort(fst, "olabel")
        return fst


def pdfs_in_context(lang: Lang, phone: str) -> NDArray[np.int64]:
    """The pdf-ids of a phone's states in all contexts.

    Returns:
        (left neighbours, right neighbours, states). Neighbour 0 is the edge of the utterance, 1 the
        topology's first phone and so on; an axis of neighbours that do not matter has length 1.
    """
    hmm = lang.topology.hmms[phone]
    if lang.tying is None:
        first = lang.topology.first_pdf[phone]
        return np.arange(first, first + hmm.num_states)[None, None]
    neighbours: list[str | None] = [None, *lang.topology.hmms]
    shape = (len(neighbours), len(neighbours) if lang.tying.right else 1)
    return np.stack(
        [_leaves(tree, np.empty(shape, np.int64), neighbours) for tree in lang.tying.trees[phone]],
        axis=-1,
    )


def _leaves(
    node: Node, pdf_ids: NDArray[np.int64], neighbours: Sequence[str | None]
) -> NDArray[np.int64]:
    """Fills (left, right) with a tree's leaves: the tree is walked once, not once a context."""
    waiting = [(node, np.ones(pdf_ids.shape, np.bool_))]
    while waiting:
        node, here = waiting.pop()
        if isinstance(node, int):
            pdf_ids[here] = node
            continue
        asked = np.array([phone in node.question.phones for phone in neighbours])
        answer = asked[:, None] if node.question.context == LEFT else asked
        waiting += [(node.yes, here & answer), (node.no, here & ~answer)]
    return pdf_ids
