"""The stages `train-units` and `encode-text`."""

import io
import logging
import re
from pathlib import Path
from typing import Self

import numpy as np
import sentencepiece
from pydantic import PositiveInt, model_validator

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir, require_no_ids
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.lexicon import SENTENCE_END, SENTENCE_START, reserved
from asr_kd.labels.units import BLANK_NAME, WORD_START, Kind, Units
from asr_kd.score.formats.lines import numbered, read_utf8
from asr_kd.score.normalise import NAMES, normaliser
from asr_kd.shards import rank_and_world

SCP = "tokens.scp"
_SHOWN = 5  # utterances of a message
_THREADS = 4  # fixed, as the sums of the training, and so the pieces, depend on it
_logger = logging.getLogger("asr_kd.labels")


class UnitsConfig(Config):
    """Configuration of the verb `train-units`.

    Attributes:
        kind: unigram (Kudo 2018), bpe (Sennrich et al. 2016), or char.
        size: V, the blank included; not for char, which has all characters of the text.
        user_symbols: parts of words that are always one unit, such as [<noise>].
        normaliser: none, plain, kaldi, english, or a YAML file of rules.
    """

    kind: Kind = "unigram"
    size: PositiveInt | None = None
    user_symbols: tuple[str, ...] = ()
    normaliser: str = "none"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.size is None) != (self.kind == "char"):
            raise ValueError(
                "kind=char takes all characters of the text: leave size out"
                if self.kind == "char"
                else f"size is needed: how many units kind={self.kind} shall make, such as size=500"
            )
        bad = [s for s in self.user_symbols if s.split() != [s] or WORD_START in s or not marks(s)]
        if bad or len(set(self.user_symbols)) < len(self.user_symbols):
            raise ValueError(
                f"user_symbols are all different, without spaces, {WORD_START}, and none of "
                f"{BLANK_NAME} <unk> <s> </s> <eps> #0 #1 ...; not {' '.join(bad or ('twice',))}"
            )
        return self


def marks(symbol: str) -> bool:
    """Whether a symbol is free: it means nothing to models, graphs or language models."""
    taken = {BLANK_NAME, SENTENCE_START, SENTENCE_END, "<unk>"}
    return not reserved(symbol) and symbol not in taken


def train_units(text: Path, out: Path, config: UnitsConfig) -> None:
    """Trains a sentencepiece model and publishes it as a folder of units.

    Args:
        text: a sentence a line, or a data directory, whose transcripts are taken.
        out: folder to publish.
        config: kind and size, user symbols, normaliser.

    Raises:
        InputError: for sentences that could not be spelled afterwards, a size that the text does
            not allow, symbols that the normaliser changes.
    """
    inputs = {"text": text}
    if config.normaliser not in NAMES:
        inputs["rules"] = Path(config.normaliser)
    ours = normaliser(config.normaliser)
    artefact = Artefact(out, "train-units", config_dict(config), inputs)
    if artefact.is_done():
        return
    changed = [s for s in config.user_symbols if ours.rewrite([s]) != [s]]
    if changed:
        what = f"the normaliser {ours.name} changes it: no text has it"
        raise InputError([f"user symbol {symbol}: {what}" for symbol in changed])
    lines = _read_sentences(text)
    words = ours.apply({at: line.split() for at, line in lines.items()}).text
    sentences = {at: " ".join(line) for at, line in words.items() if line}
    if not sentences:
        raise InputError(f"{text}: no sentence in it" + (" after the normaliser" if lines else ""))
    if faults := [f"{at}: {WORD_START} (U+2581) marks beginnings of words, and cannot be spelled"
                  for at, line in sentences.items() if WORD_START in line]:  # fmt: skip
        raise InputError(faults)
    if rank_and_world()[0] != 0:
        return
    model = _train(list(sentences.values()), config, str(text))
    units = Units(config.kind, model, ours)
    taken = [name for name in units.label_set.names[1:] if not marks(name)]
    if taken:
        raise InputError(f"{text}: holds {' '.join(taken)}, which mean something to graphs")
    units.encode_all(sentences, "what was trained")
    work = artefact.begin()
    units.write(work)
    num_tokens = sum(len(units.spell(line.split())) for line in sentences.values())
    facts = {
        "sentences": len(sentences), "words": sum(map(len, words.values())),
        "labels": len(units.label_set), "tokens": num_tokens,
    }  # fmt: skip
    _logger.info("%d %s units (blank included): %.2f a word",
                 facts["labels"], config.kind, num_tokens / facts["words"])  # fmt: skip
    artefact.publish({**facts, "label_set": units.label_set.digest})


def _read_sentences(text: Path) -> dict[str, str]:
    """Place → sentence."""
    if text.is_dir():
        transcripts = DataDir.read(text, require=("text",)).text
        return {f"{text / 'text'}: {utt_id}": line for utt_id, line in transcripts.items()}
    require_no_ids(text)
    return {f"{text}:{number}": line for number, line in numbered(read_utf8(text)) if line.split()}


def _train(sentences: list[str], config: UnitsConfig, source: str) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=config.kind,
            # All characters: a limit that no text reaches.
            vocab_size=config.size or 1 << 21,
            hard_vocab_limit=config.size is not None,
            character_coverage=1.0,
            normalization_rule_name="identity",
            user_defined_symbols=list(config.user_symbols),
            unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
            # Longer ones would be skipped without a word.
            max_sentence_length=max(10, *(len(line.encode()) + 1 for line in sentences)),
            num_threads=_THREADS,
            minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        message = str(error)
        if most := re.search(r"too high.*<= (\d+)", message):
            raise InputError(
                f"{source}: size={config.size} is more than the text has pieces for; it allows "
                f"size={most[1]} or less for kind={config.kind}"
            ) from None
        if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
            raise InputError(
                f"{source}: size={config.size} is too small for the characters of the text; "
                f"size={least[1]} is the least"
            ) from None
        raise InputError(f"{source}: sentencepiece cannot be trained: {message}") from None
    return model.getvalue()


def encode_text(data: Path, units: Path, out: Path) -> None:
    """Publishes transcripts as labels: what CTC training reads in place of an alignment.

    tokens.scp and tokens.ark (int32, by utterance id), labels.json and the units' other files. An
    utterance without words has no tokens: all its frames are blank. One without frames has no place
    in a data directory; `make-feats` names it and leaves it out.

    Args:
        data: data or feature directory with transcripts.
        units: output of `train-units`.
        out: folder to publish.

    Raises:
        InputError: every transcript that cannot be encoded, with the characters at fault.
    """
    artefact = Artefact(out, "encode-text", {}, {"data": data, "units": units})
    if artefact.is_done():
        return
    faults: list[str] = []
    try:
        spelling = Units.read(units)
    except InputError as error:
        faults += error.faults
    try:
        source = DataDir.read(data, require=("text",))
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    spoken = {utt_id: source.text[utt_id] for utt_id in source.utt_ids}
    tokens = spelling.encode_all(spoken, str(data / "text"))
    if rank_and_world()[0] != 0:
        return
    work = artefact.begin()
    with ArkWriter(work / "tokens.ark", published=artefact.path / "tokens.ark") as writer:
        for utt_id, labels in tokens.items():
            writer.write(utt_id, np.asarray(labels, np.int32))
    write_table(work / SCP, writer.scp)
    spelling.write(work)
    counts = [len(labels) for labels in tokens.values()]
    wordless = [utt_id for utt_id, labels in tokens.items() if not labels]
    facts = {
        "encoded": len(counts), "tokens": sum(counts), "longest": max(counts),
        "wordless": len(wordless), "label_set": spelling.label_set.digest,
    }  # fmt: skip
    named = " ".join(wordless[:_SHOWN]) + (" ..." if len(wordless) > _SHOWN else "")
    _logger.info("%d utterances, %d tokens; %d utterances without words%s", facts["encoded"],
                 facts["tokens"], len(wordless), f": {named}" if wordless else "")  # fmt: skip
    artefact.publish(facts)
