"""The n best distinct word sequences of a lattice.

Every state of the lattice keeps the n cheapest histories that lead to it, each with its cheapest
path: what follows a state costs the same after any history, so that the n best of the whole are
among them (the exact sentence-dependent algorithm of Chow and Schwartz 1989, on a lattice). Paths
that differ in time alone never meet the list, however many there are.
"""

import itertools
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import kaldifst
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_ARC = np.dtype(
    [("ilabel", "<i4"), ("olabel", "<i4"), ("graph", "<f4"), ("acoustic", "<f4"), ("next", "<i4")]
)


class Sentence(NamedTuple):
    """A word sequence with the costs of its cheapest path.

    Attributes:
        words: output labels, without epsilons.
        graph: cost of the graph's weights, the final one included.
        acoustic: negated sum of the frame scores.
    """

    words: tuple[int, ...]
    graph: float
    acoustic: float

    @property
    def cost(self) -> float:
        """Both together."""
        return self.graph + self.acoustic


@dataclass(frozen=True)
class Lattice:
    """An acyclic lattice as arrays, in which all states but the first are reached.

    Attributes:
        start: its first state.
        final: (S, 2) graph and acoustic cost of ending in each state, inf where it does not.
        source, target, word: (A,) of the arcs; word 0 is none.
        costs: (A, 2) graph and acoustic costs.
    """

    start: int
    final: Floats
    source: Ints
    target: Ints
    word: Ints
    costs: Floats

    @classmethod
    def of(cls, fst: "kaldifst.Lattice") -> "Lattice":
        """The library's lattice: by way of its file format, for Python would walk arc by arc."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lattice"
            if not fst.write(str(path)):
                raise OSError(f"{path}: cannot be written (is the disk full?)")
            data = path.read_bytes()
        position = 4
        for _ in ("vector", "lattice4"):
            position += 4 + struct.unpack_from("<i", data, position)[0]
        start, states = struct.unpack_from("<qq", data, position + 16)
        position += 40
        final, counts, pieces = np.empty((states, 2)), np.empty(states, np.int64), []
        for state in range(states):
            *final[state], count = struct.unpack_from("<ffq", data, position)
            position += 16
            counts[state] = count
            pieces.append(data[position : position + count * _ARC.itemsize])
            position += count * _ARC.itemsize
        arcs = np.frombuffer(b"".join(pieces), _ARC)
        return cls(
            start, final, np.repeat(np.arange(states), counts), arcs["next"].astype(np.int64),
            arcs["olabel"].astype(np.int64),
            np.stack([arcs["graph"], arcs["acoustic"]], axis=1).astype(np.float64),
        )  # fmt: skip

    def levels(self) -> Ints:
        """(S,) most arcs between the first state and each: all arcs lead to higher levels."""
        missing = np.bincount(self.target, minlength=len(self.final))
        first = np.searchsorted(self.source, np.arange(len(self.final) + 1))
        levels = np.zeros(len(self.final), np.int64)
        ready, level = np.array([self.start]), 0
        while len(ready):
            levels[ready] = level
            reached = self.target[_ranges(first[ready], first[ready + 1] - first[ready])[0]]
            np.subtract.at(missing, reached, 1)
            ready = np.unique(reached[missing[reached] == 0])
            level += 1
        return levels


def _ranges(firsts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """All numbers of several ranges, one after the other, and which range each is of."""
    of = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
    return firsts[of] + within, of


@dataclass
class _Histories:
    """Word sequences as numbers: 0 is the empty one, others are one and a word more."""

    parent: list[int] = field(default_factory=lambda: [0])
    word: list[int] = field(default_factory=lambda: [0])
    number: dict[tuple[int, int], int] = field(default_factory=dict)

    def longer(self, histories: Ints, words: Ints) -> Ints:
        """Each history with one word more."""
        found = np.empty(len(words), np.int64)
        for i, key in enumerate(zip(histories.tolist(), words.tolist(), strict=True)):
            number = self.number.setdefault(key, len(self.parent))
            if number == len(self.parent):
                self.parent.append(key[0])
                self.word.append(key[1])
            found[i] = number
        return found

    def spell(self, history: int) -> tuple[int, ...]:
        words = []
        while history:
            words.append(self.word[history])
            history = self.parent[history]
        return tuple(reversed(words))


class _Kept(NamedTuple):
    """Histories kept at states, those of a state side by side."""

    state: Ints
    history: Ints
    costs: Floats  # (K, 2)

    def cheapest(self, n: int) -> "_Kept":
        """The cheapest path of each history, and the n cheapest histories of each state."""
        total = self.costs.sum(axis=1)
        order = np.lexsort((total, self.history, self.state))
        state, history = self.state[order], self.history[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (state[1:] != state[:-1]) | (history[1:] != history[:-1])
        order = order[first]
        order = order[np.lexsort((total[order], self.state[order]))]
        state = self.state[order]
        rank = np.arange(len(order)) - np.searchsorted(state, state)
        order = order[rank < n]
        return _Kept(self.state[order], self.history[order], self.costs[order])


def best_sentences(lattice: Lattice, n: int, beam: float) -> list[Sentence]:
    """The cheapest distinct word sequences, best first.

    Args:
        lattice: see there.
        n: most sequences.
        beam: largest cost above the best sequence's.

    Returns:
        At least one if any path is complete; ties are ordered by words.
    """
    levels = lattice.levels()
    rest = _rest(lattice, levels)
    limit = rest[lattice.start] + beam
    if not np.isfinite(limit):
        return []
    histories = _Histories()
    # Kept histories of all states, in the order of levels; `first` and `count` say where a state's
    # are.
    first, count = np.zeros((2, len(levels)), np.int64)
    begun = _Kept(np.array([lattice.start]), np.zeros(1, np.int64), np.zeros((1, 2)))
    count[lattice.start] = 1
    history, costs, filled = begun.history, begun.costs, 1
    by_level = np.argsort(levels[lattice.target], kind="stable")
    ends = np.searchsorted(levels[lattice.target], np.arange(levels.max() + 2), sorter=by_level)
    for low, high in itertools.pairwise(ends[1:]):
        arcs = by_level[low:high]
        source = lattice.source[arcs]
        rows, of = _ranges(first[source], count[source])
        arcs = arcs[of]
        new = costs[rows] + lattice.costs[arcs]
        kept = new.sum(axis=1) + rest[lattice.target[arcs]] <= limit
        arcs, rows, new = arcs[kept], rows[kept], new[kept]
        grown = history[rows]
        said = lattice.word[arcs] != 0
        grown[said] = histories.longer(grown[said], lattice.word[arcs[said]])
        best = _Kept(lattice.target[arcs], grown, new).cheapest(n)
        states, begins, counts = np.unique(best.state, return_index=True, return_counts=True)
        first[states], count[states] = filled + begins, counts
        filled += len(best.state)
        if filled > len(history):
            history = np.concatenate([history, np.zeros(filled, np.int64)])
            costs = np.concatenate([costs, np.zeros((filled, 2))])
        history[filled - len(best.state) : filled] = best.history
        costs[filled - len(best.state) : filled] = best.costs
    return _finished(lattice, histories, (first, count), history, costs, n, limit)


def _finished(
    lattice: Lattice, histories: _Histories, where: tuple[Ints, Ints], history: Ints,
    costs: Floats, n: int, limit: float,
) -> list[Sentence]:  # fmt: skip
    """The complete ones among the kept histories."""
    final = np.flatnonzero(np.isfinite(lattice.final.sum(axis=1)))
    rows, of = _ranges(where[0][final], where[1][final])
    ended = costs[rows] + lattice.final[final[of]]
    within = ended.sum(axis=1) <= limit
    anywhere = np.zeros(within.sum(), np.int64)
    best = _Kept(anywhere, history[rows[within]], ended[within]).cheapest(n)
    sentences = [
        Sentence(histories.spell(number), graph, acoustic)
        for number, (graph, acoustic) in zip(
            best.history.tolist(), best.costs.tolist(), strict=True
        )
    ]
    return sorted(sentences, key=lambda sentence: (sentence.cost, sentence.words))


def _rest(lattice: Lattice, levels: Ints) -> Floats:
    """(S,) cost of the cheapest way from each state to an end; inf where there is none."""
    rest: Floats = lattice.final.sum(axis=1)
    total = lattice.costs.sum(axis=1)
    by_level = np.argsort(-levels[lattice.source], kind="stable")
    changes = np.flatnonzero(np.diff(levels[lattice.source][by_level])) + 1
    for arcs in np.split(by_level, changes):
        np.minimum.at(rest, lattice.source[arcs], total[arcs] + rest[lattice.target[arcs]])
    return rest


def with_sentence(sentences: Sequence[Sentence], one: Sentence, n: int) -> list[Sentence]:
    """A list of at most n that holds one certain word sequence, at the place of its cost."""
    if any(sentence.words == one.words for sentence in sentences):
        return list(sentences)
    return sorted([*sentences[: n - 1], one], key=lambda sentence: (sentence.cost, sentence.words))
