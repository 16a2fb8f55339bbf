"""LibriSpeech and mini LibriSpeech (OpenSLR 12 and 31), with the lexicon of OpenSLR 11.

The sound stays where it is. As in Kaldi's recipe a "speaker" is a reader in one chapter,
`84-121123`; and no reader of the training set is in another.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from asr_kd.artefact import Artefact, hash_file, hash_json
from asr_kd.config import Config, config_dict
from asr_kd.data.corpora.openslr11 import (
    LEXICON,
    find_models,
    read_lexicon,
    read_lines,
    tell_unknown,
    write_model,
)
from asr_kd.data.corpora.resources import write_dict, write_lm_text
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.audio import audio_info
from asr_kd.io.table import write_table
from asr_kd.shards import rank_and_world

SPEAKERS = "SPEAKERS.TXT"
_ADVICE = "`asr-kd download librispeech --parts PARTS --out DIR` makes it"


class LibriSpeechConfig(Config):
    """Options of `asr-kd prepare librispeech`."""

    train: tuple[str, ...] = Field(("train-clean-100",), min_length=1)
    dev: tuple[str, ...] = Field(("dev-clean", "dev-other"), description="all become one set")
    test: tuple[str, ...] = Field(
        ("test-clean", "test-other"), description="each becomes a set of its own name"
    )
    dev_speakers: int = Field(
        0, ge=0, description="with dev=[]: readers of the training parts that are dev instead"
    )
    train_hours: PositiveFloat | None = Field(None, description="train on so much, drawn by seed")
    train_utterances: PositiveInt | None = Field(None, description="or on so many utterances")
    seed: int = Field(0, ge=0, description="draws them: more hold the fewer; and dev_speakers")
    lexicon: Path | None = Field(None, description=f"default: lexicon/{LEXICON} of the corpus")
    lm: tuple[str, ...] = Field(
        ("3-gram.pruned.3e-7",), description="models of the corpus's lm/; NAME becomes NAME.arpa"
    )
    stress: bool = Field(False, description="vowels keep their stress: AH0, AH1 and AH2")


class _Utterance(NamedTuple):
    """One line of a transcript; `speaker` is reader and chapter."""

    reader: str
    speaker: str
    file: Path
    words: str


@dataclass
class _Corpus:
    """What was read: utterances by part and id, genders by reader, and all faults."""

    parts: dict[str, dict[str, _Utterance]] = field(default_factory=dict)
    genders: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def prepare(corpus: Path | None, out: Path, config: LibriSpeechConfig, nj: int = 1) -> None:
    """Makes data directories of LibriSpeech.

    Args:
        corpus: the folder LibriSpeech, or the one that holds it.
        out: where train/, dev/, a folder of each test part, dict/, lm_train.txt and the language
            models will stand.
        config: the options.
        nj: not needed, this takes a minute for 960 hours.

    Raises:
        InputError: every part, transcript, sound file and reader that is missing or does not fit.
    """
    if corpus is None:
        raise InputError(
            f"librispeech: --corpus DIR is needed: the folder of LibriSpeech/; {_ADVICE}"
        )
    _check(config)
    top = Path(corpus).absolute()
    root = top / "LibriSpeech" if (top / "LibriSpeech").is_dir() else top
    lexicon = config.lexicon or root.parent / "lexicon" / LEXICON
    read = _Corpus()
    _read_speakers(root / SPEAKERS, read)
    for part in (*config.train, *config.dev, *config.test):
        _read_part(root / part, read)
    if not lexicon.is_file():
        read.faults.append(f"{lexicon}: no such file; {_ADVICE} with lexicon among PARTS")
    models, faults = find_models(root.parent / "lm", config.lm)
    read.faults += faults
    if read.faults:
        raise InputError(read.faults)
    pronunciations = read_lexicon(lexicon, config.stress)
    sets = _sets(config, read)
    inputs: dict[str, Path | str] = {
        "files": hash_json({
            name: {utt: [str(u.file), u.file.stat().st_size, u.words] for utt, u in utts.items()}
            for name, utts in sets.items()
        }),
        "speakers": hash_file(root / SPEAKERS),
        "lexicon": hash_file(lexicon),
        "lm": hash_json({name: [str(path), path.stat().st_size] for name, path in models.items()}),
    }  # fmt: skip
    settings = {**config_dict(config), "lexicon": None}  # where it is does not matter
    artefact = Artefact(out, "prepare", {"corpus": "librispeech", **settings}, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    for name, utterances in sets.items():
        data = DataDir(
            artefact.path / name,
            utt2spk={utt: u.speaker for utt, u in utterances.items()},
            wav={utt: str(u.file) for utt, u in utterances.items()},
            text={utt: u.words for utt, u in utterances.items()},
        )
        data.write(work / name)
        genders = {u.speaker: read.genders[u.reader] for u in utterances.values()}
        write_table(work / name / "spk2gender", genders)
        if name == "train":
            write_lm_text(work / "lm_train.txt", data.text)
        tell_unknown(name, data.text, pronunciations)
    write_dict(work / "dict", pronunciations)
    for name, path in models.items():
        write_model(path, work / f"{name}.arpa")
    artefact.publish({name: len(utterances) for name, utterances in sets.items()})


def _check(config: LibriSpeechConfig) -> None:
    faults = []
    if bool(config.dev) == bool(config.dev_speakers):
        faults.append(
            f"dev={list(config.dev)} dev_speakers={config.dev_speakers}: expected one of the two: "
            f"parts, or readers held out of train (dev=[] dev_speakers=8)"
        )
    if config.train_hours is not None and config.train_utterances is not None:
        faults.append("train_hours and train_utterances: expected one of the two")
    named = [*config.train, *config.dev, *config.test]
    faults += [f"{part}: named twice" for part in sorted(set(named)) if named.count(part) > 1]
    faults += [f"test={part}: this is the name of another set"
               for part in config.test if part in ("train", "dev", "dict")]  # fmt: skip
    if faults:
        raise InputError(faults)


def _read_speakers(path: Path, read: _Corpus) -> None:
    """Lines of `reader | gender | part | minutes | name`; those that begin with ; are comments."""
    for number, line in read_lines(path, read.faults):
        if line.startswith(";"):
            continue
        reader, gender, *_ = (*(column.strip() for column in line.split("|")), "")
        if not reader.isdigit() or gender not in ("M", "F"):
            read.faults.append(f"{path}:{number}: expected `reader | M or F | ...`")
        else:
            read.genders[reader] = gender.lower()


def _read_part(folder: Path, read: _Corpus) -> None:
    utterances: dict[str, _Utterance] = {}
    read.parts[folder.name] = utterances
    if not folder.is_dir():
        there = ", ".join(sorted(p.name for p in folder.parent.glob("*-*") if p.is_dir()))
        read.faults.append(f"{folder}: no such part; there are: {there or 'none'}; {_ADVICE}")
        return
    for chapter in sorted(folder.glob("*/*/")):
        reader, speaker = chapter.parent.name, f"{chapter.parent.name}-{chapter.name}"
        if not re.fullmatch(r"\d+-\d+", speaker):
            read.faults.append(f"{chapter}: expected folders reader/chapter, both numbers")
            continue
        if reader not in read.genders:
            read.faults.append(f"{chapter.parent}: reader {reader} is not in {SPEAKERS}")
        sound = {file.stem: file for file in chapter.glob("*.flac")}
        transcript = chapter / f"{speaker}.trans.txt"
        for number, line in read_lines(transcript, read.faults):
            utt_id, _, words = line.partition(" ")
            place = f"{transcript}:{number}: {utt_id}"
            if not re.fullmatch(rf"{speaker}-\d+", utt_id) or not words.strip():
                read.faults.append(f"{place}: expected `{speaker}-NUMBER WORDS`")
            elif utt_id in utterances:
                read.faults.append(f"{place}: stands twice")
            elif utt_id not in sound:
                read.faults.append(f"{place}: no such file {chapter / utt_id}.flac")
            else:
                utterances[utt_id] = _Utterance(reader, speaker, sound[utt_id], words.strip())
        read.faults += [f"{sound[utt]}: no transcript in {transcript.name}"
                        for utt in sorted(sound) if utt not in utterances]  # fmt: skip
    if not utterances:
        read.faults.append(f"{folder}: no utterances; expected reader/chapter/*.trans.txt")


def _sets(config: LibriSpeechConfig, read: _Corpus) -> dict[str, dict[str, _Utterance]]:
    """Set → its utterances; no reader is in two sets of which one is train."""
    sets = {
        "train": _together(read, config.train),
        "dev": _together(read, config.dev),
        **{part: read.parts[part] for part in config.test},
    }
    if config.dev_speakers:
        train = sets["train"]
        held_out = _held_out({u.reader for u in train.values()}, config, read.genders)
        for name, inside in (("dev", True), ("train", False)):
            sets[name] = {utt: u for utt, u in train.items() if (u.reader in held_out) == inside}
    readers = {name: {u.reader for u in utterances.values()} for name, utterances in sets.items()}
    if shared := [
        f"{name}: reader {reader} is in train too"
        for name in sets
        if name != "train"
        for reader in sorted(readers[name] & readers["train"], key=int)
    ]:
        raise InputError(shared)
    sets["train"] = _draw(sets["train"], config)
    return sets


def _together(read: _Corpus, parts: Sequence[str]) -> dict[str, _Utterance]:
    return {utt: u for part in parts for utt, u in read.parts[part].items()}


def _held_out(readers: set[str], config: LibriSpeechConfig, genders: Mapping[str, str]) -> set[str]:
    """Readers of both genders in turn, in the seed's order."""
    if config.dev_speakers >= len(readers):
        raise InputError(f"dev_speakers={config.dev_speakers}: only {len(readers)} train")
    order = np.random.default_rng(config.seed).permutation(sorted(readers, key=int)).tolist()
    rank: dict[str, int] = defaultdict(int)
    turn = {}
    for reader in order:
        turn[reader] = rank[genders[reader]]
        rank[genders[reader]] += 1
    return set(sorted(order, key=lambda reader: turn[reader])[: config.dev_speakers])


def _draw(train: dict[str, _Utterance], config: LibriSpeechConfig) -> dict[str, _Utterance]:
    """The part of train that is asked for, in the seed's order."""
    if config.train_hours is None and config.train_utterances is None:
        return train
    order = np.random.default_rng(config.seed).permutation(sorted(train)).tolist()
    if config.train_utterances is not None:
        if config.train_utterances > len(order):
            raise InputError(
                f"train_utterances={config.train_utterances}: there are {len(order)} in "
                f"{', '.join(config.train)}"
            )
        return {utt: train[utt] for utt in order[: config.train_utterances]}
    assert config.train_hours is not None
    seconds = 0.0
    drawn: dict[str, _Utterance] = {}
    for utt in order:
        if seconds >= 3600 * config.train_hours:
            return drawn
        drawn[utt] = train[utt]
        seconds += audio_info(train[utt].file).seconds
    if seconds < 3600 * config.train_hours:
        raise InputError(
            f"train_hours={config.train_hours:g}: there are {seconds / 3600:.4g} in "
            f"{', '.join(config.train)}"
        )
    return drawn
