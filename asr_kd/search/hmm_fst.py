"""H: pdf-ids in, context-dependent models out."""

import math

import kaldifst
import numpy as np

from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import Pieces
from asr_kd.search.context import Context


def hmm_fst(
    lang: Lang,
    context: Context,
    *,
    complete: bool,
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> "kaldifst.StdVectorFst":
    """Builds H.

    An arc into a state reads that state's label, so that a path reads exactly one label a frame.
    Input labels are pdf-id + 1, because 0 is epsilon.

    Args:
        lang: topology.
        context: models, and labels of C's input.
        complete: whether H has the self-loops and reads the symbols that mean no model from
            nothing, which takes them off in composition. Otherwise it has neither the loops nor
            their costs, and reads such a symbol as a label behind those of all pdfs: a graph is
            determinised so, and `self_loops` completes it.
        transition_scale: scale of the log-probabilities of leaving a state for one or another.
        self_loop_scale: scale of those of staying and of not staying.

    Returns:
        H, sorted by output label.
    """
    root, pieces = 0, Pieces()
    num_states, label = 1, 1
    for phone, pdf_ids in context.models.items():
        hmm = lang.topology.hmms[phone]
        # All models of a phone at once: a row for each.
        models = label + np.arange(len(pdf_ids))
        states = num_states + np.arange(pdf_ids.size).reshape(pdf_ids.shape)
        if not complete:  # a state without its loop that can only be left is no state
            for state, row in enumerate(hmm.transitions):
                if {to for to, _ in row} <= {state, hmm.num_states}:
                    states[:, state] = root
        pieces.add(root, pdf_ids[:, 0] + 1, models, 0.0, states[:, 0])
        for state, row in enumerate(hmm.transitions):
            if (states[:, state] == root).all():
                continue
            stay = dict(row).get(state, 0.0)
            for to, prob in row:
                if to == state:
                    cost = -self_loop_scale * math.log(stay)
                else:
                    cost = -self_loop_scale * math.log(1 - stay) if complete else 0.0
                    cost -= transition_scale * math.log(prob / (1 - stay))
                if to == hmm.num_states:
                    pieces.add(states[:, state], 0, 0, cost, root)
                elif to != state or complete:
                    pieces.add(states[:, state], pdf_ids[:, to] + 1, 0, cost, states[:, to])
        num_states += pdf_ids.size
        label += len(pdf_ids)
    symbols = np.arange(context.num_symbols)
    read = 0 if complete else len(lang.label_set) + 1 + symbols
    pieces.add(root, read, label + symbols, 0.0, root)
    finals = np.full(num_states, np.inf, np.float32)
    finals[root] = 0.0
    fst = pieces.build(root, finals)
    kaldifst.connect(fst)
    kaldifst.arcsort(fst, "olabel")
    return fst
