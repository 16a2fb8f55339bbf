"""Questions about neighbouring phones, clustered from the data: no phonetician is asked."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from asr_kd.labels.topology import Topology
from asr_kd.labels.tree_statistics import Sums, log_likelihood
from asr_kd.labels.tying import LEFT, RIGHT, Question


def clustered_questions(
    sums: Sums, topology: Topology, silence_phones: Sequence[str], floor: NDArray[np.float64]
) -> list[Question]:
    """Questions about both neighbours.

    Phones are merged bottom up, two at a time, those first that lose least likelihood, and every
    cluster on the way is a question. What a left neighbour does to a phone shows at its end and
    what a right one does at its beginning, so that each side has a hierarchy by that state alone
    beside one by first, middle and last state. Silence and the edge of the utterance are asked
    about by themselves.

    Args:
        sums: (labels of the topology, 1 + 2D), over all contexts.
        topology: states of the phones.
        silence_phones: those that are not clustered.
        floor: (D,) least variance.

    Returns:
        Questions without duplicates, in an order that depends on the data only.
    """
    phones = [
        phone
        for phone, hmm in topology.hmms.items()
        if phone not in silence_phones
        and sums[topology.first_pdf[phone] :][: hmm.num_states, 0].all()
    ]
    silences: list[frozenset[str | None]] = [frozenset({phone}) for phone in silence_phones]
    edge = [frozenset({None}), *silences, frozenset({None, *silence_phones})]
    last = [topology.hmms[phone].num_states - 1 for phone in phones]
    first = [topology.first_pdf[phone] for phone in phones]
    places = [[f, f + n // 2, f + n] for f, n in zip(first, last, strict=True)]
    questions: dict[Question, None] = {}
    for context, facing in ((LEFT, 2), (RIGHT, 0)):
        for states in ([place[facing : facing + 1] for place in places], places):
            items = sums[np.array(states, np.int64).reshape(len(phones), -1)]
            clusters = ({phones[i] for i in cluster} for cluster in hierarchy(items, floor))
            for asked in (*edge, *clusters):
                questions[Question(context, frozenset(asked))] = None
    return list(questions)


def hierarchy(items: Sums, floor: NDArray[np.float64]) -> Iterator[tuple[int, ...]]:
    """All clusters of a bottom-up clustering, from single items to that of all.

    Args:
        items: (P, K, 1 + 2D): K Gaussians of each item, of which each is merged with its like.
        floor: (D,) least variance.
    """
    members: dict[int, tuple[int, ...]] = {i: (i,) for i in range(len(items))}
    yield from members.values()
    items = items.copy()
    own = log_likelihood(items, floor).sum(axis=-1)
    loss = np.full((len(items), len(items)), np.inf)
    for i in range(len(items)):
        loss[i, i + 1 :] = _losses(items, own, i, np.arange(i + 1, len(items)), floor)
    while len(members) > 1:
        a, b = (int(i) for i in np.unravel_index(np.argmin(loss), loss.shape))
        members[a] = (*members[a], *members.pop(b))
        yield members[a]
        items[a] += items[b]
        own[a] = log_likelihood(items[a], floor).sum()
        loss[b, :] = loss[:, b] = np.inf
        others = np.array([i for i in members if i != a], np.int64)
        losses = _losses(items, own, a, others, floor)
        loss[np.minimum(a, others), np.maximum(a, others)] = losses


def _losses(
    items: Sums, own: NDArray, i: int, others: NDArray, floor: NDArray
) -> NDArray[np.float64]:
    """What likelihood is lost if item i is merged with each of the others."""
    together = log_likelihood(items[i] + items[others], floor).sum(axis=-1)
    return np.asarray(own[i] + own[others] - together)
