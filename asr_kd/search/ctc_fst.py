"""TLG: CTC's labels of frames in, words out (Miao, Gowayyed & Metze 2015, section 3).

T is exact where theirs is not: two equal tokens in a row need a blank between them, so that every
path of labels stands for just the tokens that CTC makes of it.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import kaldifst
import numpy as np

from asr_kd.errors import InputError
from asr_kd.labels.ctc import BLANK
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.labels.topology import Topology, left_to_right
from asr_kd.search.arrays import arc_array, collect, from_arrays


def unit_language(names: Sequence[str], spellings: Mapping[str, Sequence[int]]) -> Lang:
    """The language whose phones are the labels: number of a phone = label + 1.

    Args:
        names: of all labels, the blank first.
        spellings: word → its labels, one or more.
    """
    blank, *pieces = names
    lexicon = Lexicon(
        tuple(Pronunciation(w, 1.0, tuple(names[i] for i in s)) for w, s in spellings.items()),
        (blank,),
        blank,
        tuple(pieces),
    )
    return Lang(lexicon, Topology({name: left_to_right(1) for name in names}), None, 0.5)


def ctc_graph(lang: Lang, grammar: "kaldifst.StdVectorFst") -> "kaldifst.StdVectorFst":
    """TLG: T∘min(det(L∘G)); input labels are label + 1.

    Args:
        lang: of `unit_language`.
        grammar: G, of `grammar_fst`.

    Raises:
        InputError: if no word sequence is left.
    """
    fst = kaldifst.StdVectorFst(kaldifst.compose(spelling_fst(lang), grammar))
    if fst.start < 0:
        raise InputError("the language model allows no sequence of words that units can spell")
    kaldifst.determinize_star(fst)
    kaldifst.minimize_encoded(fst)
    kaldifst.arcsort(fst, "ilabel")
    tokens = token_fst(lang, repeatable(lang))
    return kaldifst.StdVectorFst(kaldifst.compose(tokens, fst))


def repeatable(lang: Lang) -> set[int]:
    """The labels that may follow themselves in some sequence of words."""
    spellings = [
        [lang.phones[phone] - 1 for phone in entry.phones] for entry in lang.lexicon.pronunciations
    ]
    inside = {a for s in spellings for a, b in pairwise(s) if a == b}
    return inside | ({s[0] for s in spellings} & {s[-1] for s in spellings})


def spelling_fst(lang: Lang) -> "kaldifst.StdVectorFst":
    """L: tokens in, words out, in any order; #0 of back-off arcs passes through.

    Spellings that words share, or that begin others, end in symbols that tell them apart.

    Returns:
        L, sorted by output label.
    """
    fst = kaldifst.StdVectorFst()
    loop = fst.add_state()
    fst.start = loop
    fst.set_final(loop, 0.0)
    for entry, k in zip(lang.lexicon.pronunciations, lang.lexicon.disambiguation(), strict=True):
        labels = [lang.phones[phone] for phone in entry.phones]
        labels += [lang.phones[f"#{k}"]] if k else []
        source, word = loop, lang.words[entry.word]
        for label in labels[:-1]:
            state = fst.add_state()
            fst.add_arc(source, kaldifst.StdArc(label, word, 0.0, state))
            source, word = state, 0
        fst.add_arc(source, kaldifst.StdArc(labels[-1], word, 0.0, loop))
    fst.add_arc(loop, kaldifst.StdArc(lang.phones["#0"], lang.words["#0"], 0.0, loop))
    kaldifst.arcsort(fst, "olabel")
    return fst


def token_fst(lang: Lang, repeatable: Collection[int]) -> "kaldifst.StdVectorFst":
    """T: labels of frames in, tokens out.

    State 0 is free: nothing or a blank was read; state k has just read token k, and reads it again
    without a word. A token that never follows itself leaves for the free state at once, which is
    shared by all; only `repeatable` ones must remember themselves until there is a blank, which
    takes an arc for each other token.

    Returns:
        T, sorted by output label.
    """
    num_labels = len(lang.topology.hmms)
    tokens = np.arange(1, num_labels)
    free, again = np.setdiff1d(tokens, sorted(repeatable)), np.asarray(sorted(repeatable), np.int64)
    symbols = np.array([lang.phones[f"#{k}"] for k in range(lang.num_disambiguation)])
    here, there = (x.ravel() for x in np.meshgrid(again, tokens, indexing="ij"))
    other = here != there
    states = np.concatenate([[BLANK], again])
    passing, passed = (x.ravel() for x in np.meshgrid(states, symbols, indexing="ij"))
    parts = [
        ([BLANK], arc_array([BLANK + 1], 0, 0.0, BLANK)),
        (np.zeros_like(tokens), arc_array(tokens + 1, tokens + 1, 0.0, tokens)),
        (tokens, arc_array(tokens + 1, 0, 0.0, tokens)),
        (free, arc_array(np.zeros_like(free), 0, 0.0, BLANK)),
        (again, arc_array(np.full_like(again, BLANK + 1), 0, 0.0, BLANK)),
        (here[other], arc_array(there[other] + 1, there[other] + 1, 0.0, there[other])),
        (passing, arc_array(np.zeros_like(passed), passed, 0.0, passing)),
    ]
    finals = np.full(num_labels, np.inf, np.float32)
    finals[states] = 0.0
    sources = np.concatenate([np.asarray(source, np.int64) for source, _ in parts])
    fst = from_arrays(collect(BLANK, finals, sources, np.concatenate([a for _, a in parts])))
    kaldifst.arcsort(fst, "olabel")
    return fst
