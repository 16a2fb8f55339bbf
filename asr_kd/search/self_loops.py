"""Self-loops of HMM states, added to a graph that was determinised and minimised without them."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.fst import Fst
from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import Pieces


def without_symbols(graph: Fst, num_labels: int) -> Fst:
    """A graph in which labels behind those of all V pdfs are epsilon."""
    arcs = graph.arcs.copy()
    arcs["ilabel"][arcs["ilabel"] > num_labels] = 0
    return replace(graph, arcs=arcs)


def with_self_loops(graph: Fst, lang: Lang, scale: float) -> Fst:
    """Lets every state that was entered by a label last for more frames.

    A state entered by arcs of several labels gets a state for each of them before it, from which
    epsilon arcs lead to it.

    Args:
        graph: input labels are pdf-id + 1 of the state that an arc leads into, or epsilon.
        lang: the topology, and the phone and state of each pdf.
        scale: of the log-probabilities of staying and of not staying.
    """
    stay, leave = _costs(lang, scale)
    num_states, arcs = len(graph.finals), graph.arcs.copy()
    # Labels that cannot stay are like no label, by which the start is entered too.
    entering = np.where(np.isfinite(stay), np.arange(len(stay)), 0).astype(np.int32)
    entering = entering[arcs["ilabel"]]
    label = np.zeros(num_states, np.int32)
    label[arcs["next"]] = entering
    label[graph.start] = 0
    mixed = np.zeros(num_states, np.bool_)
    mixed[arcs["next"][label[arcs["next"]] != entering]] = True
    label[mixed] = 0
    moved = np.flatnonzero(mixed[arcs["next"]] & (entering > 0))
    pairs, index = np.unique(
        arcs["next"][moved].astype(np.int64) * len(stay) + entering[moved], return_inverse=True
    )
    before = num_states + np.arange(len(pairs))
    label = np.append(label, (pairs % len(stay)).astype(np.int32))
    arcs["next"][moved] = before[index]
    arcs["weight"] += np.repeat(leave[label[:num_states]], graph.num_arcs)
    pieces = Pieces()
    pieces.add_arcs(np.repeat(np.arange(num_states, dtype=np.int32), graph.num_arcs), arcs)
    pieces.add(before, 0, 0, leave[label[before]], pairs // len(stay))
    lasting = np.flatnonzero(label)
    pieces.add(lasting, label[lasting], 0, stay[label[lasting]], lasting)
    finals = np.append(graph.finals, np.full(len(pairs), np.inf, np.float32))
    return pieces.arrays(graph.start, finals + leave[label])


def _costs(lang: Lang, scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(V + 1,) cost of staying, inf where a state cannot, and of leaving, for each input label."""
    stay, leave = [], []
    for hmm in lang.topology.hmms.values():
        for state, row in enumerate(hmm.transitions):
            prob = dict(row).get(state, 0.0)
            stay.append(-scale * math.log(prob) if prob > 0 else math.inf)
            leave.append(-scale * math.log(1 - prob))
    label = lang.monophone_label
    return (
        np.append(np.inf, np.array(stay)[label]).astype(np.float32),
        np.append(0.0, np.array(leave)[label]).astype(np.float32),
    )
