"""A decoding graph as sparse matrices: what sequence training needs to sum over all its paths.

Weights are probabilities `exp(−cost)` in float64. Epsilon arcs are summed over exactly, in the log
semiring: an acyclic matrix E of them has the closure `I + E + E² + …`, which ends. (Libraries'
removal of epsilons keeps the best of two ways, as a search wants it.)

S states, N nodes, H hubs, V labels, A arcs with a label.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components

from asr_kd.errors import InputError
from asr_kd.io.kaldi.fst import Fst, read_fst
from asr_kd.labels.label_set import LabelSet

MAX_ARCS = 100_000
"""Of a graph that can be summed over: every frame of every utterance goes over all of them, and
takes 16 bytes for each node (there are about a third as many)."""


@dataclass(frozen=True)
class Denominator:
    """All paths of a graph, frame by frame.

    A node is a state together with the label of an arc into it: where a path may be when a frame
    has been read. A hub is a state that an arc with a label leaves. From frame to frame a path goes
    by epsilon arcs from a node to a hub, and by an arc from there to a node.

    Attributes:
        labels: (N,) int64 label of each node, that of the frame just read.
        starts: (N,) weight of reading the first frame into a node.
        leaving: (N,H) sum over the ways from a node to a hub; most nodes are at one of their own.
        entering: (H,N) weight of the arcs from a hub into a node.
        finals: (N,) weight of ending after a node.
    """

    labels: NDArray[np.int64]
    starts: NDArray[np.float64]
    leaving: "csr_array[np.float64]"
    entering: "csr_array[np.float64]"
    finals: NDArray[np.float64]

    @classmethod
    def read(cls, folder: Path, label_set: LabelSet, source: str) -> "Denominator":
        """Reads a graph folder (HCLG.fst, labels.json).

        Args:
            folder: output of `make-graph`.
            label_set: that of the network.
            source: where it came from, for messages.

        Raises:
            InputError: for a damaged graph, other labels, or what `of` refuses.
        """
        label_set.require_same(LabelSet.load(folder / "labels.json"), source, str(folder))
        return cls.of(read_fst(folder / "HCLG.fst"), len(label_set), str(folder))

    @classmethod
    def of(cls, graph: Fst, num_labels: int, name: str = "graph") -> "Denominator":
        """The paths of a graph whose input labels are label + 1, or 0 for epsilon.

        Args:
            graph: words on its arcs do not matter.
            num_labels: V.
            name: for messages.

        Raises:
            InputError: for a graph that is too large, that has labels beyond V or a cycle of
                epsilon arcs.
        """
        arcs, num_states = graph.arcs, len(graph.finals)
        if len(arcs) > MAX_ARCS:
            raise InputError(
                f"{name}: {len(arcs)} arcs; sequence training goes over all of them at every frame "
                f"and takes at most {MAX_ARCS} (some thousands are fast): make a graph of a "
                f"smaller language model for it (train-lm order=1, make-graph)"
            )
        if len(arcs) and arcs["ilabel"].max() > num_labels:
            raise InputError(
                f"{name}: label {arcs['ilabel'].max() - 1}, the network has {num_labels}: made "
                f"with another language folder"
            )
        sources = np.repeat(np.arange(num_states), graph.num_arcs)
        weights = np.exp(-arcs["weight"].astype(np.float64))
        silent = arcs["ilabel"] == 0
        square = (num_states, num_states)
        closure = _closure(
            csr_array((weights[silent], (sources[silent], arcs["next"][silent])), square), name
        )
        read = arcs[~silent]
        pairs = read["next"].astype(np.int64) * num_labels + (read["ilabel"] - 1)
        nodes, node_of = np.unique(pairs, return_inverse=True)
        hubs, hub_of = np.unique(sources[~silent], return_inverse=True)
        entering = csr_array((weights[~silent], (hub_of, node_of)), (len(hubs), len(nodes)))
        ways, states = closure[:, hubs], nodes // num_labels
        return cls(
            labels=nodes % num_labels,
            starts=ways[[graph.start]].toarray()[0] @ entering,
            leaving=csr_array(ways[states]),
            entering=entering,
            finals=(closure @ np.exp(-graph.finals.astype(np.float64)))[states],
        )

    def lengths(self, most: int) -> NDArray[np.bool_]:
        """Whether there is a path of 0, 1, …, `most` frames; none counts as one of 0."""
        found = np.zeros(most + 1, np.bool_)
        ends = self.finals > 0
        leaving, entering = (
            csr_array(m.T).astype(np.bool_).astype(np.float32)
            for m in (self.leaving, self.entering)
        )
        here = self.starts > 0
        for length in range(1, most + 1):
            found[length] = (here & ends).any()
            here = entering @ (leaving @ here.astype(np.float32)) > 0
        return found


def _closure(silent: "csr_array[np.float64]", name: str) -> "csr_array[np.float64]":
    """(S,S) weights of single epsilon arcs -> sums over all ways of them, those of none included.

    Raises:
        InputError: for a cycle.
    """
    size = silent.shape[0]
    if connected_components(silent, connection="strong")[0] < size or silent.diagonal().any():
        raise InputError(f"{name}: epsilon arcs go round in a circle; make the graph again")
    closure = ways = csr_array(diags_array(np.ones(size)))
    while (ways := csr_array(ways @ silent)).nnz:
        closure = csr_array(closure + ways)
    return closure
