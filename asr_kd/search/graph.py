"""Graphs to search: of one transcript for alignment, of a whole language for decoding."""

import logging
from collections.abc import Sequence

import kaldifst

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.search.arrays import from_arrays, to_arrays
from asr_kd.search.context import Context
from asr_kd.search.hmm_fst import hmm_fst
from asr_kd.search.lexicon_fst import lexicon_fst
from asr_kd.search.self_loops import with_self_loops, without_symbols

_logger = logging.getLogger("asr_kd.search")


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
        phones = _compose(self._lexicon, words)
        kaldifst.arcsort(phones, "ilabel")
        models = _compose(self._context, phones)
        kaldifst.arcsort(models, "ilabel")
        return _compose(self._hmm, models)


def _compose(
    left: "kaldifst.StdVectorFst", right: "kaldifst.StdVectorFst"
) -> "kaldifst.StdVectorFst":
    # The left has states of very many arcs: to match on the right was measured to be faster.
    return kaldifst.StdVectorFst(kaldifst.compose(left, right, match_side="right"))


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
    _logger.info("context: %d models in %d states", len(context), context.fst.num_states)
    lexicon = lexicon_fst(lang, disambiguated=True, end=context.end)
    fst = kaldifst.StdVectorFst(kaldifst.compose(lexicon, grammar))
    if fst.start < 0:
        raise InputError("the language model allows no sequence of words of the lexicon")
    _logger.debug("LG: %d states", fst.num_states)
    # Kaldi's determinisation takes epsilons out in the same go.
    kaldifst.determinize_star(fst)
    _logger.debug("LG determinised: %d states", fst.num_states)
    kaldifst.minimize_encoded(fst)
    _logger.info("LG minimised: %d states", fst.num_states)
    kaldifst.arcsort(fst, "ilabel")
    fst = kaldifst.StdVectorFst(kaldifst.compose(context.fst, fst))
    _logger.info("CLG: %d states", fst.num_states)
    kaldifst.arcsort(fst, "ilabel")
    hmm = hmm_fst(lang, context, complete=False, transition_scale=transition_scale)
    fst = kaldifst.StdVectorFst(kaldifst.compose(hmm, fst))
    _logger.debug("HCLG: %d states", fst.num_states)
    kaldifst.determinize_star(fst)
    _logger.debug("HCLG determinised: %d states", fst.num_states)
    # A graph of gigabytes is not to be there twice longer than it must.
    arrays = to_arrays(fst)
    del fst
    fst = from_arrays(without_symbols(arrays, len(lang.label_set)))
    del arrays
    kaldifst.minimize_encoded(fst)
    _logger.debug("HCLG minimised: %d states", fst.num_states)
    arrays = to_arrays(fst)
    del fst
    arrays = with_self_loops(arrays, lang, self_loop_scale)
    fst = from_arrays(arrays)
    _logger.debug("HCLG with self-loops: %d states", fst.num_states)
    return fst
