"""The stages `prepare-lang`, `train-lm` and `make-graph`."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import kaldifst
from pydantic import Field, NonNegativeFloat, PositiveInt

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import require_no_ids
from asr_kd.errors import InputError
from asr_kd.io.atomic import replacing, write_text
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START, Lexicon, reserved
from asr_kd.labels.topology import Topology
from asr_kd.labels.units import Units
from asr_kd.score.formats.lines import numbered, read_utf8
from asr_kd.search.arrays import num_arcs
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.graph import decoding_graph
from asr_kd.search.lexicon_fst import lexicon_fst
from asr_kd.search.ngram import NgramModel
from asr_kd.search.smoothing import Smoothing, estimate
from asr_kd.search.unit_lm import unit_sentences
from asr_kd.shards import rank_and_world

ARPA = "lm.arpa"
GRAPH = "HCLG.fst"
_logger = logging.getLogger("asr_kd.search")


class LangConfig(Config):
    """Configuration of the verb `prepare-lang`.

    Attributes:
        states: HMM states of a phone.
        silence_states: HMM states of a silence phone.
        silence_prob: probability of silence before, between and after words.
        oov: the word that stands for words outside the lexicon, where the lexicon has it.
    """

    states: PositiveInt = 3
    silence_states: PositiveInt = 5
    silence_prob: Annotated[float, Field(gt=0, lt=1)] = 0.5
    oov: str = "<UNK>"


class LmConfig(Config):
    """Configuration of the verb `train-lm`.

    Attributes:
        order: length of the longest n-grams.
        smoothing: witten-bell for little text, kneser-ney for more.
    """

    order: PositiveInt = 2
    smoothing: Smoothing = "witten-bell"


class GraphConfig(Config):
    """Configuration of the verb `make-graph`.

    Attributes:
        transition_scale: weight of the log-probabilities of a state's successors.
        self_loop_scale: weight of those of staying in a state and of leaving it.
    """

    transition_scale: NonNegativeFloat = 1.0
    self_loop_scale: NonNegativeFloat = 0.1


def prepare_lang(dictionary: Path, out: Path, config: LangConfig) -> None:
    """Makes a language folder from a Kaldi dictionary folder.

    Raises:
        InputError: every fault of the dictionary, with file and line.
    """
    artefact = Artefact(out, "prepare-lang", config_dict(config), {"dict": dictionary})
    if artefact.is_done():
        return
    lang = Lang.build(
        Lexicon.read(dictionary),
        config.states,
        config.silence_states,
        config.oov,
        config.silence_prob,
    )
    if rank_and_world()[0] != 0:
        return
    work = artefact.begin()
    lang.write(work)
    _write_fst(lexicon_fst(lang, disambiguated=False), work / "L.fst")
    _write_fst(lexicon_fst(lang, disambiguated=True), work / "L_disambig.fst")
    facts = {
        "words": len(lang.lexicon.words),
        "pronunciations": len(lang.lexicon.pronunciations),
        "phones": len(lang.topology.hmms),
        "labels": len(lang.label_set),
        "oov": lang.oov,
    }
    _logger.info("language: %s", ", ".join(f"{name} {value}" for name, value in facts.items()))
    artefact.publish(facts)


def train_lm(
    text: Path,
    out: Path,
    config: LmConfig,
    lang: Path | None = None,
    units: Path | None = None,
) -> None:
    """Estimates an n-gram model from text and publishes it as lm.arpa.

    Args:
        text: a sentence a line.
        out: folder to publish.
        config: order and smoothing.
        lang: language folder; all its words become possible, and words outside it stand for its
            unknown word.
        units: output of `train-units`: the model is one of units, all of which become possible.

    Raises:
        InputError: for words that cannot be in a model, or be spelled in the units, or, where the
            language has no unknown word, that are not in the lexicon; with file and line.
    """
    if lang is not None and units is not None:
        raise InputError("give --lang for a model of words, or --units for one of units, not both")
    given = {"lang": lang, "units": units}
    inputs = {"text": text} | {name: path for name, path in given.items() if path is not None}
    artefact = Artefact(out, "train-lm", config_dict(config), inputs)
    if artefact.is_done():
        return
    require_no_ids(text)
    spelling = Units.read(units) if units is not None else None
    if spelling is not None:
        sentences, words = unit_sentences(text, spelling), list(spelling.label_set.names[1:])
    else:
        language = Lang.read(lang) if lang is not None else None
        sentences = list(_sentences(text, language))
        words = language.lexicon.words if language is not None else []
    model = estimate(sentences, config.order, config.smoothing, words)
    if rank_and_world()[0] != 0:
        return
    work = artefact.begin()
    model.write_arpa(work / ARPA)
    if spelling is not None:
        spelling.label_set.save(work / "labels.json")
    counts = [len(level) for level in model.ngrams]
    _logger.info("language model of %d sentences: n-grams %s", len(sentences), counts)
    artefact.publish({"sentences": len(sentences), "ngrams": counts})


def _sentences(path: Path, lang: Lang | None) -> Iterator[list[str]]:
    known = set(lang.lexicon.words) if lang is not None else None
    faults, found = [], []
    for number, line in numbered(read_utf8(path)):
        words = line.split()
        for i, word in enumerate(words):
            if reserved(word) or word in (SENTENCE_START, SENTENCE_END):
                faults.append(f"{path}:{number}: {word} is reserved: put no marks around sentences")
            elif known is not None and word not in known:
                if lang is not None and lang.oov is not None:
                    words[i] = lang.oov
                else:
                    faults.append(f"{path}:{number}: {word!r} is not in the lexicon")
        if words:
            found.append(words)
    if not found:
        faults.append(f"{path}: no sentence in it")
    if faults:
        raise InputError(faults)
    yield from found


def make_graph(
    lang: Path, lm: Path, out: Path, config: GraphConfig, transitions: Path | None = None
) -> None:
    """Makes the decoding graph: HCLG.fst, words.txt, labels.json.

    Args:
        lang: output of `prepare-lang`.
        lm: ARPA file, or output of `train-lm`.
        out: graph folder.
        config: scales.
        transitions: alignment or flat-start folder whose transition probabilities are used; without
            it those that the language folder began with.

    Raises:
        InputError: for faults of the inputs, or a language model without a word of the lexicon.
    """
    inputs = {"lang": lang, "lm": lm}
    inputs |= {"transitions": transitions} if transitions is not None else {}
    artefact = Artefact(out, "make-graph", config_dict(config), inputs)
    if artefact.is_done():
        return
    language = with_transitions(Lang.read(lang), transitions, str(lang))
    model = NgramModel.read_arpa(lm / ARPA if lm.is_dir() else lm)
    if rank_and_world()[0] != 0:
        return
    _logger.info("language model: n-grams %s", [len(level) for level in model.ngrams])
    grammar = grammar_fst(language, model)
    _logger.info("G: %d states", grammar.num_states)
    del model  # of gigabytes, where it is large
    graph = decoding_graph(language, grammar, config.transition_scale, config.self_loop_scale)
    work = artefact.begin()
    _write_fst(graph, work / GRAPH)
    symbols = "".join(f"{word} {number}\n" for word, number in language.words.items())
    write_text(work / "words.txt", symbols)
    language.label_set.save(work / "labels.json")
    facts = {"states": graph.num_states, "arcs": num_arcs(graph)}
    _logger.info("graph: %d states, %d arcs, %d labels",
                 facts["states"], facts["arcs"], len(language.label_set))  # fmt: skip
    artefact.publish(facts)


def with_transitions(lang: Lang, folder: Path | None, source: str) -> Lang:
    """The language with the transition probabilities that an alignment folder counted.

    Raises:
        InputError: if that folder is of other phones or states. Transitions of a phone's state are
            shared by all its contexts, so that those of any tying, or of none, will do.
    """
    if folder is None:
        return lang
    topology = Topology.load(folder / "topo.json")
    lang.topology.label_set().require_same(topology.label_set(), source, str(folder))
    return replace(lang, topology=topology)


def _write_fst(fst: "kaldifst.StdVectorFst", path: Path) -> None:
    with replacing(path) as temporary:
        if not fst.write(str(temporary)):
            raise OSError(f"{path}: cannot be written (is the disk full?)")
