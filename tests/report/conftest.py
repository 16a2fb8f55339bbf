"""Decode directories with planted contents."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from asr_kd.artefact import Artefact
from asr_kd.io.table import write_table

DecodeDir = Callable[..., Path]


@pytest.fixture
def decode_dir(tmp_path: Path) -> DecodeDir:
    def make(
        name: str,
        ref: Mapping[str, str],
        hyp: Mapping[str, str],
        utt2spk: Mapping[str, str],
        frames: Mapping[str, tuple[int, int]] | None = None,
        partial: int = 0,
        ali: str = "fixed",
        models: Sequence[str] | None = None,
        **info: Any,
    ) -> Path:
        inputs = {f"model{k}": model for k, model in enumerate(models or [name])}
        artefact = Artefact(tmp_path / name, "decode", {"name": name}, inputs)
        work = artefact.begin()
        write_table(work / "ref", ref)
        write_table(work / "hyp", hyp)
        write_table(work / "utt2spk", utt2spk)
        if frames is not None:
            utterances = {
                utt: {"frames": count, "correct": correct, "cross_entropy": 1.0}
                for utt, (count, correct) in frames.items()
            }
            content = {"ali": ali, "utterances": utterances}
            (work / "frames.json").write_text(json.dumps(content))
        default = {
            "params": 1000, "rtf": {"forward": 0.01, "search": 0.02},
            "partial": partial, "utterances": len(hyp),
        }  # fmt: skip
        artefact.publish({**default, **info})
        return artefact.path

    return make
