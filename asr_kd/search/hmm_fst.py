"""H: one pdf-id per frame in, phones out."""

import math

import kaldifst

from asr_kd.labels.lang import Lang


def hmm_fst(
    lang: Lang, transition_scale: float = 1.0, self_loop_scale: float = 0.1
) -> "kaldifst.StdVectorFst":
    """Builds H with its self-loops.

    An arc into a state reads that state's label, so that a path reads exactly one label a frame.
    Input labels are pdf-id + 1, because 0 is epsilon; disambiguation symbols are read from nothing,
    which takes them off in composition.

    Args:
        lang: phones and topology.
        transition_scale: scale of the log-probabilities of leaving a state for one or another.
        self_loop_scale: scale of those of staying and of not staying.

    Returns:
        H, sorted by output label.
    """
    fst = kaldifst.StdVectorFst()
    root = fst.add_state()
    fst.start = root
    fst.set_final(root, 0.0)
    for phone, hmm in lang.topology.hmms.items():
        first = lang.topology.first_pdf[phone]
        states = [fst.add_state() for _ in range(hmm.num_states)]
        fst.add_arc(root, kaldifst.StdArc(first + 1, lang.phones[phone], 0.0, states[0]))
        for state, row in enumerate(hmm.transitions):
            stay = dict(row).get(state, 0.0)
            for to, prob in row:
                if to == state:
                    cost = -self_loop_scale * math.log(stay)
                else:
                    cost = -self_loop_scale * math.log(1 - stay)
                    cost -= transition_scale * math.log(prob / (1 - stay))
                leaving = to == hmm.num_states
                label, target = (0, root) if leaving else (first + to + 1, states[to])
                fst.add_arc(states[state], kaldifst.StdArc(label, 0, cost, target))
    for k in range(lang.num_disambiguation):
        fst.add_arc(root, kaldifst.StdArc(0, lang.phones[f"#{k}"], 0.0, root))
    kaldifst.arcsort(fst, "olabel")
    return fst
