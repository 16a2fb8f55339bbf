"""Graphs to search: of one transcript for alignment, of a whole language for decoding."""

from collections.abc import Sequence

import kaldifst

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import from_arrays, to_arrays
from asr_kd.search.context import Context
from asr_kd.search.hmm_fst import hmm_fst
from asr_kd.search.lexicon_fst import lexicon_fst
from asr_kd.search.self_loops import with_self_loops, without_symbols


class TrainingGraphs:
    """Makes the graphs of transcripts; L, C and H are built once.

    Args:
        lang: the language.
        transition_scale: see `hmm_fst`.
        self_loop_scale: see `hmm_fst`.
    """

    def __init__(
        self, lang: Lang, transition_scale: float = 1.0, self_loop_scale: float = 0.1
    ) -> None:
        context = Context(lang)
        self._lexicon = lexicon_fst(lang, disambiguated=False, end=context.end)
        self._context = context.fst
        self._hmm = hmm_fst(
            lang,
            context,
            complete=True,
            transition_scale=transition_scale,
            self_loop_scale=self_loop_scale,
        )

    def __call__(self, word_ids: Sequence[int]) -> "kaldifst.StdVectorFst":
        """H∘C∘L∘transcript: all variants of the words, with optional silence around each."""
        words = kaldifst.make_linear_acceptor(list(word_ids))
        phones = kaldifst.compose(self._lexicon, words)
        kaldifst.arcsort(phones, "ilabel")
        models = kaldifst.compose(self._context, phones)
        kaldifst.arcsort(models, "ilabel")
        return kaldifst.StdVectorFst(kaldifst.compose(self._hmm, models))


def training_graph(lang: Lang, word_ids: Sequence[int]) -> "kaldifst.StdVectorFst":
    """The graph of one transcript; for many, keep a `TrainingGraphs`."""
    return TrainingGraphs(lang)(word_ids)


def decoding_graph(
    lang: Lang,
    grammar: "kaldifst.StdVectorFst",
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> "kaldifst.StdVectorFst":
    """HCLG: min(det(H∘C∘min(det(L∘G)))) with self-loops.

    Args:
        lang: the language.
        grammar: G, of `grammar_fst`: words in and out, #0 on its back-off arcs.
        transition_scale: see `hmm_fst`.
        self_loop_scale: see `hmm_fst`.

    Raises:
        InputError: if no word sequence is left.
    """
    context = Context(lang)
    lexicon = lexicon_fst(lang, disambiguated=True, end=context.end)
    fst = kaldifst.StdVectorFst(kaldifst.compose(lexicon, grammar))
    if fst.start < 0:
        raise InputError("the language model allows no sequence of words of the lexicon")
    # Kaldi's determinisation takes epsilons out in the same go.
    kaldifst.determinize_star(fst)
    kaldifst.minimize_encoded(fst)
    kaldifst.arcsort(fst, "ilabel")
    fst = kaldifst.StdVectorFst(kaldifst.compose(context.fst, fst))
    kaldifst.arcsort(fst, "ilabel")
    hmm = hmm_fst(lang, context, complete=False, transition_scale=transition_scale)
    fst = kaldifst.StdVectorFst(kaldifst.compose(hmm, fst))
    kaldifst.determinize_star(fst)
    fst = from_arrays(without_symbols(to_arrays(fst), len(lang.label_set)))
    kaldifst.minimize_encoded(fst)
    return from_arrays(with_self_loops(to_arrays(fst), lang, self_loop_scale))
