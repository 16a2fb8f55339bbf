"""CMU AN4 (census): both distributions, `.sph` audio and ready-made `.mfc` features."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from asr_kd.artefact import Artefact, hash_file, hash_json
from asr_kd.config import Config, config_dict
from asr_kd.data.corpora.resources import SETS, write_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.atomic import write_bytes, write_text
from asr_kd.io.sphinx import read_mfc
from asr_kd.shards import rank_and_world

MFC_SPEC = {"kind": "external", "name": "an4-mfc", "dim": 13, "frame_shift_ms": 10.0}
_NO_WORDS = {"<s>", "</s>", "<sil>"}
_logger = logging.getLogger("asr_kd.data")


class An4Config(Config):
    """Options of `asr-kd prepare an4`."""

    source: Literal["auto", "sph", "mfc"] = Field(
        "auto", description="audio in wav/ or features in feat/; auto takes audio where it is"
    )
    splits: Path | None = Field(
        None, description="folder of {train,dev,test}.speakers; default: the official test list"
    )
    dev_speakers: int = Field(
        7, ge=1, description="speakers held out of the official training list as dev"
    )


@dataclass(frozen=True)
class _Utterance:
    speaker: str
    set: str
    file: Path
    words: str


def prepare(corpus: Path | None, out: Path, config: An4Config, nj: int = 1) -> None:
    """Makes data directories of AN4.

    Args:
        corpus: folder that holds etc/ and wav/ or feat/.
        out: where {train,dev,test}/, dict/ and lm.arpa will stand.
        config: the options.
        nj: not needed, this takes a second.

    Raises:
        InputError: every file, transcript and speaker that is missing.
    """
    if corpus is None:
        raise InputError(
            "an4: --corpus DIR is needed: the folder that holds etc/ and wav/ or feat/"
        )
    corpus = Path(corpus).absolute()
    utterances = _utterances(corpus, config)
    inputs: dict[str, Path | str] = {
        "files": hash_json({utt: [str(u.file), u.file.stat().st_size, u.set, u.words]
                            for utt, u in utterances.items()}),
        "dictionary": hash_file(corpus / "etc/an4.dic"),
        "lm": hash_file(corpus / "etc/an4.ug.lm"),
    }  # fmt: skip
    artefact = Artefact(out, "prepare", {"corpus": "an4", **config_dict(config)}, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    for name in SETS:
        _write_set(work / name, artefact.path / name,
                   {utt: u for utt, u in utterances.items() if u.set == name})  # fmt: skip
    write_dict(work / "dict", _read_dictionary(corpus / "etc/an4.dic"))
    write_bytes(work / "lm.arpa", (corpus / "etc/an4.ug.lm").read_bytes())
    artefact.publish({name: sum(u.set == name for u in utterances.values()) for name in SETS})


def _write_set(folder: Path, final: Path, utterances: dict[str, _Utterance]) -> None:
    data = DataDir(
        final,
        utt2spk={utt: u.speaker for utt, u in utterances.items()},
        text={utt: u.words for utt, u in utterances.items()},
    )
    if all(u.file.suffix == ".sph" for u in utterances.values()):
        replace(data, wav={utt: str(u.file) for utt, u in utterances.items()}).write(folder)
        return
    num_frames, faults = {}, []
    with ArkWriter(folder / "feats.ark", published=final / "feats.ark") as ark:
        for utt_id in data.utt_ids:
            try:
                feats = read_mfc(utterances[utt_id].file)
            except InputError as error:
                faults += [f"{utt_id}: {fault}" for fault in error.faults]
                continue
            num_frames[utt_id] = len(feats)
            ark.write(utt_id, feats)
        if faults:
            raise InputError(faults)
    write_text(folder / "feature.json", json.dumps(MFC_SPEC, indent=2) + "\n")
    replace(data, feats=ark.scp, num_frames=num_frames).write(folder)


def _utterances(corpus: Path, config: An4Config) -> dict[str, _Utterance]:
    """Joins the lists: utterance id → speaker, set, file and words."""
    is_audio = config.source == "sph" or (config.source == "auto" and (corpus / "wav").is_dir())
    folder, suffix = ("wav", ".sph") if is_audio else ("feat", ".mfc")
    faults = [
        f"{path}: no such file; is --corpus the folder that holds etc/?"
        for path in (corpus / "etc" / f"an4{end}" for end in (".dic", ".ug.lm"))
        if not path.is_file()
    ]
    found: dict[str, _Utterance] = {}
    for part in ("train", "test"):
        if part == "test" and not (corpus / "etc/an4_test.fileids").exists():
            continue
        words, bad_lines = _read_transcription(corpus / f"etc/an4_{part}.transcription")
        faults += bad_lines
        list_file = corpus / f"etc/an4_{part}.fileids"
        for number, line in enumerate(_lines(list_file), start=1):
            path = Path(line.strip())
            utt = f"{path.parent.name}-{path.name}"
            file = corpus / folder / f"{line.strip()}{suffix}"
            if not file.is_file():
                faults.append(f"{list_file}:{number}: {utt}: no such file {file}")
            if path.name not in words:
                faults.append(f"{list_file}:{number}: {utt}: no transcript in etc/")
            found[utt] = _Utterance(path.parent.name, part, file, words.get(path.name, ""))
    if faults:
        raise InputError(faults)
    return _split(corpus, config, found)


def _split(corpus: Path, config: An4Config, found: dict[str, _Utterance]) -> dict[str, _Utterance]:
    """Puts each utterance into its set, by whole speakers; drops those of speakers in no list."""
    if config.splits is not None:
        set_of = _read_splits(config.splits, {u.speaker for u in found.values()})
        kept = {utt: u for utt, u in found.items() if u.speaker in set_of}
        if len(kept) < len(found):
            _logger.info("%d utterances of speakers in no list are left out",
                         len(found) - len(kept))  # fmt: skip
        return {utt: replace(u, set=set_of[u.speaker]) for utt, u in kept.items()}
    speakers = sorted({u.speaker for u in found.values() if u.set == "train"})
    if not any(u.set == "test" for u in found.values()):
        raise InputError(
            f"{corpus}/etc/an4_test.fileids: the official test list is not there; name speakers "
            f"with splits=DIR (a folder of train.speakers, dev.speakers, test.speakers)"
        )
    if config.dev_speakers >= len(speakers):
        raise InputError(f"dev_speakers={config.dev_speakers}: only {len(speakers)} train")
    dev = set(speakers[:: len(speakers) // config.dev_speakers][: config.dev_speakers])
    return {
        utt: replace(u, set="dev") if u.set == "train" and u.speaker in dev else u
        for utt, u in found.items()
    }


def _read_splits(folder: Path, known: set[str]) -> dict[str, str]:
    faults: list[str] = []
    set_of: dict[str, str] = {}
    for name in SETS:
        path = Path(folder) / f"{name}.speakers"
        for number, line in enumerate(_lines(path), start=1):
            speaker = line.strip()
            if speaker in set_of:
                faults.append(f"{path}:{number}: {speaker} is in {set_of[speaker]}.speakers too")
            if speaker not in known:
                faults.append(f"{path}:{number}: {speaker}: the corpus has no such speaker")
            set_of[speaker] = name
    if faults:
        raise InputError(faults)
    return set_of


def _read_transcription(path: Path) -> tuple[dict[str, str], list[str]]:
    """Lines of `WORDS (file)`, with or without <s> and </s>: file → words, and bad lines."""
    words, faults = {}, []
    for number, line in enumerate(_lines(path), start=1):
        match = re.fullmatch(r"\s*(.*?)\s*\(([^()\s]+)\)\s*", line)
        if match is None:
            faults.append(f"{path}:{number}: expected `WORDS (file)`")
        else:
            words[match[2]] = " ".join(w for w in match[1].split() if w not in _NO_WORDS)
    return words, faults


def _read_dictionary(path: Path) -> dict[str, list[str]]:
    """Lines of `WORD PH PH` or `WORD(2) PH PH`: word → its variants."""
    variants: dict[str, list[str]] = defaultdict(list)
    for number, line in enumerate(_lines(path), start=1):
        word, *phones = line.split()
        if not phones:
            raise InputError(f"{path}:{number}: {word} has no phones")
        variants[re.sub(r"\(\d+\)$", "", word)].append(" ".join(phones))
    return dict(variants)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    yield from (line for line in text.splitlines() if line.strip())
