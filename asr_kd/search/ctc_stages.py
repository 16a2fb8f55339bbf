"""The stage `make-ctc-graph`."""

import logging
from collections.abc import Sequence
from pathlib import Path

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.errors import InputError
from asr_kd.io.atomic import replacing, write_text
from asr_kd.labels.lexicon import reserved
from asr_kd.labels.units import Units
from asr_kd.search.arrays import num_arcs
from asr_kd.search.ctc_fst import ctc_graph, unit_language
from asr_kd.search.grammar_fst import NO_WORDS, grammar_fst
from asr_kd.search.ngram import NgramModel
from asr_kd.search.stages import ARPA, GRAPH
from asr_kd.search.unit_lm import in_units, require_units
from asr_kd.shards import rank_and_world

_logger = logging.getLogger("asr_kd.search")


class CtcGraphConfig(Config):
    """Configuration of the verb `make-ctc-graph`.

    Attributes:
        open_vocabulary: whether the language model is one of units, whose sequences may spell any
            word; else it is one of words, and only its words are recognised.
    """

    open_vocabulary: bool = False


def make_ctc_graph(units: Path, lm: Path, out: Path, config: CtcGraphConfig) -> None:
    """Publishes TLG, or TG, as a graph folder like `make-graph`'s, the units' files beside it.

    Words are spelled as the units spell them, normalised first; those that normalise to nothing or
    have characters that the units lack are left out, and named.

    Args:
        units: output of `train-units` or `encode-text`.
        lm: ARPA file, or output of `train-lm`: of words, or with --units.
        out: graph folder.
        config: of what the language model is.

    Raises:
        InputError: for faults of the inputs, a model of other units, or one without a word that
            the units can spell.
    """
    artefact = Artefact(out, "make-ctc-graph", config_dict(config), {"units": units, "lm": lm})
    if artefact.is_done():
        return
    faults: list[str] = []
    try:
        spelling = Units.read(units)
    except InputError as error:
        faults += error.faults
    try:
        model = NgramModel.read_arpa(lm / ARPA if lm.is_dir() else lm)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    if config.open_vocabulary:
        require_units(lm, model, spelling)
    elif in_units(model):
        raise InputError(f"{lm}: a language model of units: say open_vocabulary=true")
    if rank_and_world()[0] != 0:
        return
    names = spelling.label_set.names
    if config.open_vocabulary:
        spellings: dict[str, Sequence[int]] = {name: [i] for i, name in enumerate(names) if i}
    else:
        spellings = word_spellings(model, spelling)
    if not spellings.keys() & set(model.words):
        what = "unit" if config.open_vocabulary else "word that the units can spell"
        raise InputError(f"{lm}: the language model has not one {what}")
    lang = unit_language(names, spellings)
    graph = ctc_graph(lang, grammar_fst(lang, model, spelled=True))
    work = artefact.begin()
    with replacing(work / GRAPH) as temporary:
        if not graph.write(str(temporary)):
            raise OSError(f"{out / GRAPH}: cannot be written (is the disk full?)")
    symbols = "".join(f"{word} {number}\n" for word, number in lang.words.items())
    write_text(work / "words.txt", symbols)
    spelling.write(work)
    facts = {"states": graph.num_states, "arcs": num_arcs(graph), "words": len(spellings)}
    _logger.info("graph: %d states, %d arcs; %d %s", facts["states"], facts["arcs"],
                 facts["words"], "units" if config.open_vocabulary else "words")  # fmt: skip
    artefact.publish(facts)


def word_spellings(model: NgramModel, units: Units) -> dict[str, Sequence[int]]:
    """The words of a language model that the units can spell, with their labels."""
    spellings: dict[str, Sequence[int]] = {}
    for word in model.words:
        if word in NO_WORDS or reserved(word):
            continue
        try:
            labels = units.encode(word)
        except InputError:
            continue
        if labels:
            spellings[word] = labels
    return spellings
