"""Growing decision trees: at each step the split that makes the training data most likely."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.labels.topology import Topology
from asr_kd.labels.tree_statistics import ContextStatistics, log_likelihood
from asr_kd.labels.tying import LEFT, RIGHT, Node, Question, Split, Tying

_ROUNDING = 1e-9  # of a leaf's log-likelihood


class Grown(NamedTuple):
    """Trees, and what they gain.

    Attributes:
        tying: the trees.
        before: log-likelihood of all frames with one Gaussian for each state, in nats.
        after: with one for each leaf.
    """

    tying: Tying
    before: float
    after: float


@dataclass
class _Leaf:
    """A leaf while trees grow: the rows of statistics that reach it, and its split once made."""

    rows: NDArray[np.int64]
    log_like: float
    split: "tuple[Question, _Leaf, _Leaf] | None" = None


class _Grower:
    """Finds the best split of a leaf."""

    def __init__(
        self,
        stats: ContextStatistics,
        phones: Sequence[str],
        questions: Sequence[Question],
        min_frames: float,
        floor: NDArray[np.float64],
    ) -> None:
        self._sums = stats.sums
        self._min_frames, self._floor = min_frames, floor
        symbols = [*phones, None]  # the edge comes last
        self._sides = []
        for context, neighbour in ((LEFT, stats.keys.left), (RIGHT, stats.keys.right)):
            asked = [question for question in questions if question.context == context]
            member = np.array([[s in q.phones for s in symbols] for q in asked], np.float64)
            if asked:
                self._sides.append((asked, member, neighbour))

    def leaf(self, rows: NDArray[np.int64]) -> _Leaf:
        total = self._sums[rows].sum(axis=0)
        return _Leaf(rows, float(log_likelihood(total, self._floor)))

    def best(self, leaf: _Leaf) -> tuple[float, Question, NDArray[np.bool_]] | None:
        """Gain, question, and which of the leaf's rows say yes; None if no split may be made."""
        sums = self._sums[leaf.rows]
        total = sums.sum(axis=0)
        found: tuple[float, Question, NDArray[np.bool_]] | None = None
        if total[0] < 2 * self._min_frames or len(leaf.rows) < 2:
            return None
        for asked, member, neighbour in self._sides:
            answers = member[:, neighbour[leaf.rows]]
            yes = answers @ sums
            no = total - yes
            allowed = np.flatnonzero(np.minimum(yes[:, 0], no[:, 0]) >= self._min_frames)
            if not len(allowed):
                continue
            both = log_likelihood(yes[allowed], self._floor)
            both += log_likelihood(no[allowed], self._floor)
            gain = both - leaf.log_like
            # Questions that part what was seen alike gain alike but for rounding, which the order
            # of adding up decides: the first of them is taken, so that it does not.
            rounding = _ROUNDING * abs(leaf.log_like)
            i = int(np.argmax(gain >= gain.max() - rounding))
            if gain[i] > rounding + (found[0] if found is not None else 0.0):
                found = float(gain[i]), asked[allowed[i]], answers[allowed[i]] > 0
        return found


def grow_trees(
    stats: ContextStatistics,
    topology: Topology,
    questions: Sequence[Question],
    *,
    leaves: int,
    min_frames: float,
    floor: NDArray[np.float64],
    right: bool,
) -> Grown:
    """Greedy splitting, the split of greatest gain in all trees first.

    The gain is that of log-likelihood with one diagonal Gaussian for each leaf (Young, Odell &
    Woodland 1994, section 3.2). It ends at the wanted number of leaves, or when no split gains and
    leaves both sides enough frames. States whose contexts are all alike stay whole: those of
    silence do if the statistics keep no contexts of theirs.

    Args:
        stats: of all states in their contexts, as `PhonePaths` numbers phones.
        topology: whose states get trees.
        questions: those about the right neighbour are left out unless `right`.
        leaves: wanted in all trees together; at least one for each state.
        min_frames: least frames of a leaf, unless a state has fewer altogether; above 0.
        floor: (D,) least variance.
        right: whether trees may ask about the right neighbour.

    Raises:
        InputError: for fewer leaves than states.
    """
    states = [(p, s) for p, hmm in topology.hmms.items() for s in range(hmm.num_states)]
    if leaves < len(states):
        raise InputError(
            f"leaves: {leaves} asked for, but the phones have {len(states)} states; expected more"
        )
    asked = [question for question in questions if right or question.context == LEFT]
    grower = _Grower(stats, list(topology.hmms), asked, min_frames, floor)
    bounds = np.searchsorted(stats.keys.label, np.arange(len(states) + 1))
    roots = [grower.leaf(np.arange(a, b)) for a, b in pairwise(bounds)]
    before = sum(root.log_like for root in roots)
    # The order of coming into being decides between equal gains.
    candidates: list[tuple[float, int, _Leaf, Question, NDArray[np.bool_]]] = []
    born = 0

    def consider(leaf: _Leaf) -> None:
        nonlocal born
        born += 1
        if (best := grower.best(leaf)) is not None:
            heapq.heappush(candidates, (-best[0], born, leaf, *best[1:]))

    for root in roots:
        consider(root)
    count, gained = len(roots), 0.0
    while candidates and count < leaves:
        loss, _, leaf, question, answers = heapq.heappop(candidates)
        halves = (grower.leaf(leaf.rows[answers]), grower.leaf(leaf.rows[~answers]))
        leaf.split = (question, *halves)
        count, gained = count + 1, gained - loss
        for half in halves:
            consider(half)
    trees: dict[str, tuple[Node, ...]] = {}
    numbered = 0

    def node(leaf: _Leaf) -> Node:
        nonlocal numbered
        if leaf.split is None:
            numbered += 1
            return numbered - 1
        question, yes, no = leaf.split
        return Split(question, node(yes), node(no))

    for (phone, _), root in zip(states, roots, strict=True):
        trees[phone] = (*trees.get(phone, ()), node(root))
    return Grown(Tying(right, trees), before, before + gained)
