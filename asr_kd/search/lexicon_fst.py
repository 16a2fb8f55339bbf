"""L: phones in, words out, with optional silence around words (Mohri, Pereira & Riley 2002)."""

import math

import kaldifst
import numpy as np

from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import Pieces


def lexicon_fst(lang: Lang, disambiguated: bool, end: int = 0) -> "kaldifst.StdVectorFst":
    """Builds L.

    Args:
        lang: lexicon, symbol tables and the probability of silence.
        disambiguated: whether pronunciations end in the symbols that make L∘G determinisable, and
            back-off arcs of G (#0) pass through.
        end: input label behind the last phone of an utterance, as C wants it; 0 for none.

    Returns:
        L, sorted by output label for composition with a grammar or transcript.
    """
    start, between, pause, stop, num_states = 0, 1, 2, 3 if end else 1, 4 if end else 3
    no_silence, with_silence = -math.log(1 - lang.silence_prob), -math.log(lang.silence_prob)
    silence = lang.phones[lang.lexicon.optional_silence]
    # Source, labels, cost and target of every arc: a number for all of them beside one another.
    arcs: list[tuple[int, int, int, float, int]] = []

    def chain(source: int, ilabels: list[int], olabel: int, cost: float, target: int) -> None:
        nonlocal num_states
        for ilabel in ilabels[:-1]:
            arcs.append((source, ilabel, olabel, cost, num_states))
            source, olabel, cost = num_states, 0, 0.0
            num_states += 1
        arcs.append((source, ilabels[-1], olabel, cost, target))

    arcs.append((start, 0, 0, no_silence, between))
    arcs.append((start, 0, 0, with_silence, pause))
    # Silence may also be a word's pronunciation: its own symbol, the last one, tells them apart.
    own = [lang.phones[f"#{lang.num_disambiguation - 1}"]] if disambiguated else []
    chain(pause, [silence, *own], 0, 0.0, between)
    entries = lang.lexicon.pronunciations
    marks = lang.lexicon.disambiguation() if disambiguated else [0] * len(entries)
    for entry, k in zip(entries, marks, strict=True):
        phones = [lang.phones[phone] for phone in entry.phones]
        if k:
            phones.append(lang.phones[f"#{k}"])
        word, cost = lang.words[entry.word], -math.log(entry.prob)
        chain(between, phones, word, cost + no_silence, between)
        chain(between, phones, word, cost + with_silence, pause)
    if disambiguated:
        arcs.append((between, lang.phones["#0"], lang.words["#0"], 0.0, between))
    if end:
        arcs.append((between, end, 0, 0.0, stop))
    pieces = Pieces()
    pieces.add(*(np.array(column) for column in zip(*arcs, strict=True)))
    finals = np.full(num_states, np.inf, np.float32)
    finals[stop] = 0.0
    fst = pieces.build(start, finals)
    kaldifst.arcsort(fst, "olabel")
    return fst
