"""The stage `combine-data`: several folders as one, transcribed speech and pseudo-labels, say."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.artefact import Artefact
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.data.tables import FILES
from asr_kd.errors import InputError
from asr_kd.features.sources import absolute
from asr_kd.features.spec import FEATURE_JSON, read_spec, require_same_input
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.unit_stages import SCP
from asr_kd.labels.units import SETTINGS, Units
from asr_kd.shards import rank_and_world


def combine_data(folders: Sequence[Path], out: Path) -> None:
    """Publishes the utterances of several data directories, or of several folders of tokens.

    Of data directories tables alone, which name sound and features in their place, `text` only if
    all have one; of tokens what `encode-text` makes.

    Args:
        folders: two or more, all of one kind.
        out: folder to publish.

    Raises:
        InputError: for utterances that are in two folders, features or label sets that differ,
            tables that some folders lack, and recordings or speakers' statistics that are others
            elsewhere.
    """
    if len(folders) < 2:
        raise InputError("one folder is combined with nothing: name two or more")
    inputs: dict[str, Path | str] = {f"folder{k}": path for k, path in enumerate(folders, 1)}
    artefact = Artefact(out, "combine-data", {}, inputs)
    if artefact.is_done() or rank_and_world()[0] != 0:
        return
    if any((folder / SCP).is_file() for folder in folders):
        combine, utt_ids = _write_tokens, [list(Archive.read(path / SCP)) for path in folders]
    else:
        combine, utt_ids = _write_tables, [DataDir.read(path).utt_ids for path in folders]
    _require_apart(folders, utt_ids)
    combine(folders, artefact)
    artefact.publish({"utterances": sum(map(len, utt_ids))})


def _require_apart(folders: Sequence[Path], utt_ids: Sequence[Sequence[str]]) -> None:
    home: dict[str, Path] = {}
    faults = []
    for folder, utts in zip(folders, utt_ids, strict=True):
        faults += [f"{folder}: {utt}: is in {home[utt]}, too" for utt in utts if utt in home]
        home |= dict.fromkeys(utts, folder)
    if faults:
        raise InputError(faults)


def _write_tokens(folders: Sequence[Path], artefact: Artefact) -> None:
    label_sets = [LabelSet.load(folder / "labels.json") for folder in folders]
    for folder, label_set in zip(folders, label_sets, strict=True):
        label_sets[0].require_same(label_set, str(folders[0]), str(folder))
    work = artefact.begin()
    with ArkWriter(work / "tokens.ark", published=artefact.path / "tokens.ark") as writer:
        for folder in folders:
            for utt, tokens in Archive.read(folder / SCP).items():
                writer.write(utt, np.asarray(tokens, np.int32))
    write_table(work / SCP, writer.scp)
    label_sets[0].save(work / "labels.json")
    if (folders[0] / SETTINGS).is_file():
        Units.read(folders[0]).write(work)


def _write_tables(folders: Sequence[Path], artefact: Artefact) -> None:
    parts = [absolute(DataDir.read(folder)) for folder in folders]
    tables: dict[str, Any] = {}
    faults: list[str] = []
    for name in ("wav", "segments", "feats", "cmvn", "num_frames", "text"):
        lacking = [part.path for part in parts if not getattr(part, name)]
        if not lacking:
            tables[name] = _merged(name, parts, faults)
        elif len(lacking) < len(parts) and name != "text":  # pseudo-labels are for those without
            faults += [f"{path}: no {FILES[name]}, which others have" for path in lacking]
    if any(part.speed for part in parts):
        tables["speed"] = {u: part.speed.get(u, 1.0) for part in parts for u in part.utt2spk}
    if "feats" in tables:
        specs = [config_dict(read_spec(folder)) for folder in folders]
        for folder, spec in zip(folders, specs, strict=True):
            require_same_input(str(folders[0]), specs[0], str(folder), spec)
    if faults:
        raise InputError(faults)
    utt2spk = {utt: speaker for part in parts for utt, speaker in part.utt2spk.items()}
    work = artefact.begin()
    DataDir(artefact.path, utt2spk, **tables).write(work)
    if "feats" in tables:
        shutil.copy(folders[0] / FEATURE_JSON, work)


def _merged(name: str, parts: Sequence[DataDir], faults: list[str]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in getattr(part, name).items():
            if merged.setdefault(key, value) != value:  # a recording, or a speaker's statistics
                at = part.path / FILES[name]
                faults.append(f"{at}: {key}: {value}, in another folder {merged[key]}")
    return merged
