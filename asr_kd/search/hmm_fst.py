"""H: pdf-ids in, context-dependent models out."""

import math
from collections.abc import Sequence

import kaldifst

from asr_kd.labels.lang import Lang
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
    fst = kaldifst.StdVectorFst()
    root = fst.add_state()
    fst.start = root
    fst.set_final(root, 0.0)
    scale = self_loop_scale if complete else 0.0
    for label, (phone, pdf_ids) in enumerate(context.models, start=1):
        rows = lang.topology.hmms[phone].transitions
        # A state that can only be left needs no state of the graph if its loop is still to come.
        states = [
            root if not complete and _only_leaves(state, row, len(rows)) else fst.add_state()
            for state, row in enumerate(rows)
        ]
        fst.add_arc(root, kaldifst.StdArc(pdf_ids[0] + 1, label, 0.0, states[0]))
        for state, row in enumerate(rows):
            if states[state] == root:
                continue
            stay = dict(row).get(state, 0.0)
            for to, prob in row:
                if to == state:
                    if not complete:
                        continue
                    cost = -scale * math.log(stay)
                else:
                    cost = -scale * math.log(1 - stay)
                    cost -= transition_scale * math.log(prob / (1 - stay))
                leaving = to == len(rows)
                read, target = (0, root) if leaving else (pdf_ids[to] + 1, states[to])
                fst.add_arc(states[state], kaldifst.StdArc(read, 0, cost, target))
    num_labels = len(lang.label_set)
    for k in range(context.num_symbols):
        read = 0 if complete else num_labels + 1 + k
        fst.add_arc(root, kaldifst.StdArc(read, len(context.models) + 1 + k, 0.0, root))
    kaldifst.arcsort(fst, "olabel")
    return fst


def _only_leaves(state: int, row: Sequence[tuple[int, float]], num_states: int) -> bool:
    return {to for to, _ in row} <= {state, num_states}
