"""L: phones in, words out, with optional silence around words (Mohri, Pereira & Riley 2002)."""

import math

import kaldifst

from asr_kd.labels.lang import Lang


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
    fst = kaldifst.StdVectorFst()
    start, between, pause = fst.add_state(), fst.add_state(), fst.add_state()
    fst.start = start
    stop = between
    if end:
        stop = fst.add_state()
        fst.add_arc(between, kaldifst.StdArc(end, 0, 0.0, stop))
    fst.set_final(stop, 0.0)
    no_silence, with_silence = -math.log(1 - lang.silence_prob), -math.log(lang.silence_prob)
    silence = lang.phones[lang.lexicon.optional_silence]

    def chain(source: int, labels: list[tuple[int, int]], target: int, cost: float) -> None:
        for ilabel, olabel in labels[:-1]:
            state = fst.add_state()
            fst.add_arc(source, kaldifst.StdArc(ilabel, olabel, cost, state))
            source, cost = state, 0.0
        fst.add_arc(source, kaldifst.StdArc(*labels[-1], cost, target))

    fst.add_arc(start, kaldifst.StdArc(0, 0, no_silence, between))
    fst.add_arc(start, kaldifst.StdArc(0, 0, with_silence, pause))
    # Silence may also be a word's pronunciation: its own symbol, the last one, tells them apart.
    own = [(lang.phones[f"#{lang.num_disambiguation - 1}"], 0)] if disambiguated else []
    chain(pause, [(silence, 0), *own], between, 0.0)
    for entry, k in zip(lang.lexicon.pronunciations, lang.lexicon.disambiguation(), strict=True):
        phones = [lang.phones[phone] for phone in entry.phones]
        if disambiguated and k:
            phones.append(lang.phones[f"#{k}"])
        labels = [(phone, 0) for phone in phones]
        labels[0] = (phones[0], lang.words[entry.word])
        cost = -math.log(entry.prob)
        chain(between, labels, between, cost + no_silence)
        chain(between, labels, pause, cost + with_silence)
    if disambiguated:
        backoff = kaldifst.StdArc(lang.phones["#0"], lang.words["#0"], 0.0, between)
        fst.add_arc(between, backoff)
    kaldifst.arcsort(fst, "olabel")
    return fst
