"""Graphs to search: of one transcript for alignment, of a whole language for decoding."""

from collections.abc import Sequence

import kaldifst

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.search.hmm_fst import hmm_fst
from asr_kd.search.lexicon_fst import lexicon_fst


class TrainingGraphs:
    """Makes the graphs of transcripts; L and H are built once.

    Args:
        lang: the language.
        transition_scale: see `hmm_fst`.
        self_loop_scale: see `hmm_fst`.
    """

    def __init__(
        self, lang: Lang, transition_scale: float = 1.0, self_loop_scale: float = 0.1
    ) -> None:
        self._lexicon = lexicon_fst(lang, disambiguated=False)
        self._hmm = hmm_fst(lang, transition_scale, self_loop_scale)

    def __call__(self, word_ids: Sequence[int]) -> "kaldifst.StdVectorFst":
        """H∘L∘transcript: all variants of the words, with optional silence around each."""
        words = kaldifst.make_linear_acceptor(list(word_ids))
        phones = kaldifst.compose(self._lexicon, words)
        kaldifst.arcsort(phones, "ilabel")
        return kaldifst.StdVectorFst(kaldifst.compose(self._hmm, phones))


def training_graph(lang: Lang, word_ids: Sequence[int]) -> "kaldifst.StdVectorFst":
    """The graph of one transcript; for many, keep a `TrainingGraphs`."""
    return TrainingGraphs(lang)(word_ids)


def decoding_graph(
    lang: Lang,
    grammar: "kaldifst.StdVectorFst",
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> "kaldifst.StdVectorFst":
    """HCLG without context (C is the identity): H∘min(det(L∘G)).

    Args:
        lang: the language.
        grammar: G, of `grammar_fst`: words in and out, #0 on its back-off arcs.
        transition_scale: see `hmm_fst`.
        self_loop_scale: see `hmm_fst`.

    Raises:
        InputError: if no word sequence is left.
    """
    fst = kaldifst.StdVectorFst(kaldifst.compose(lexicon_fst(lang, disambiguated=True), grammar))
    if fst.start < 0:
        raise InputError("the language model allows no sequence of words of the lexicon")
    # Kaldi's determinisation takes epsilons out in the same go.
    kaldifst.determinize_star(fst)
    kaldifst.minimize_encoded(fst)
    kaldifst.arcsort(fst, "ilabel")
    hmm = hmm_fst(lang, transition_scale, self_loop_scale)
    return kaldifst.StdVectorFst(kaldifst.compose(hmm, fst))
