"""Self-loops of HMM states, added to a graph that was determinised and minimised without them."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.fst import Fst
from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import arc_array, collect


def without_symbols(graph: Fst, num_labels: int) -> Fst:
    """A graph in which labels behind those of all V pdfs are epsilon."""
    arcs = graph.arcs.copy()
    arcs["ilabel"][arcs["ilabel"] > num_labels] = 0
    return replace(graph, arcs=arcs)


def with_self_loops(graph: Fst, lang: Lang, scale: float) -> Fst:
    """Lets every state that was entered by a label last for more frames.

    A state entered by arcs of several labels becomes a state for each of them, from which epsilon
    arcs lead to the former one.

    Args:
        graph: input labels are pdf-id + 1 of the state that an arc leads into, or epsilon.
        lang: the topology, and the phone and state of each pdf.
        scale: of the log-probabilities of staying and of not staying.
    """
    stay, leave = _costs(lang, scale)
    sources = np.repeat(np.arange(len(graph.finals)), graph.num_arcs)
    # Labels that cannot stay are like no label.
    entered = np.where(np.isfinite(stay), np.arange(len(stay)), 0)[graph.arcs["ilabel"]]
    base = len(stay)
    keys = graph.arcs["next"].astype(np.int64) * base + entered
    # The start is entered by no label.
    pairs, index = np.unique(np.append(keys, graph.start * base), return_inverse=True)
    states, labels = pairs // base, pairs % base
    several = (np.bincount(states, minlength=len(graph.finals)) > 1)[states] & (labels > 0)
    ids = np.where(several, len(graph.finals) - 1 + np.cumsum(several), states)
    finals = np.append(graph.finals, np.full(several.sum(), np.inf, np.float32))
    label_of = np.zeros(len(finals), np.int64)
    label_of[ids] = labels
    arcs = graph.arcs.copy()
    arcs["next"] = ids[index[:-1]]
    arcs["weight"] += leave[label_of[sources]]
    loops = np.flatnonzero(label_of)
    apart = ids[several]
    return collect(
        graph.start,
        finals + leave[label_of],
        np.concatenate([sources, loops, apart]),
        np.concatenate(
            [
                arcs,
                arc_array(label_of[loops], 0, stay[label_of[loops]], loops),
                arc_array(0, 0, leave[label_of[apart]], states[several]),
            ]
        ),
    )


def _costs(lang: Lang, scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(V + 1,) cost of staying, inf where a state cannot, and of leaving, for each input label."""
    states = [
        -scale * np.array([_log(dict(row).get(state, 0.0)), _log(1 - dict(row).get(state, 0.0))])
        for hmm in lang.topology.hmms.values()
        for state, row in enumerate(hmm.transitions)
    ]
    costs = np.vstack([[np.inf, 0.0], np.stack(states)[lang.monophone_label]])
    return costs[:, 0].astype(np.float32), costs[:, 1].astype(np.float32)


def _log(prob: float) -> float:
    return math.log(prob) if prob > 0 else -math.inf
