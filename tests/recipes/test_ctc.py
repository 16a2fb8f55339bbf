"""The recipe of CTC, whole, on planted letters: its commands are noted, then run in here."""

import importlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer

from asr_kd.cli import main
from asr_kd.cli.app import app
from asr_kd.config import config_dict
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("AB", "BA", "C", "CAB")
METHODS = ("plain", "init", "guided", "frames", "nbest")
# An asr-kd that notes its arguments and leaves empty outputs; real ones take 2 s to begin.
_NOTES = r"""#!/bin/sh
printf '%s\037' "$@" >> "$COMMANDS"; echo >> "$COMMANDS"
while [ $# -gt 1 ]; do
  if [ "$1" = --out ]; then mkdir -p "$2"; touch "$2/RESULTS.md" "$2/manifest.json"; fi
  shift
done
"""


def write_feats(folder: Path, num_utts: int, seed: int) -> None:
    """Each letter some frames long, silence between words; noise on all."""
    rng = np.random.default_rng(seed)
    centres = 2 * np.random.default_rng(7).standard_normal((4, 6))
    text, feats = {}, {}
    for k in range(num_utts):
        words = rng.choice(WORDS, rng.integers(1, 4)).tolist()
        letters = [0] + [0 if letter == " " else "ABC".index(letter) + 1
                         for letter in " ".join(words)] + [0]  # fmt: skip
        rows = centres[np.repeat(letters, rng.integers(5, 9, len(letters)))]
        utt = f"spk{k % 4}-utt{k:02d}"
        text[utt] = " ".join(words)
        feats[utt] = (rows + rng.standard_normal(rows.shape)).astype(np.float32)
    folder.mkdir(parents=True)
    with ArkWriter(folder / "feats.ark") as writer:
        for utt, row in feats.items():
            writer.write(utt, row)
    write_table(folder / "feats.scp", writer.scp)
    write_table(folder / "text", text)
    write_table(folder / "utt2spk", {utt: utt.split("-")[0] for utt in text})
    write_table(folder / "utt2num_frames", {utt: str(len(row)) for utt, row in feats.items()})
    spec = config_dict(FeatureSpec(kind="external", name="planted", dim=6))
    (folder / "feature.json").write_text(json.dumps(spec))


def noted(work: Path, tmp_path: Path) -> list[list[str]]:
    """The commands of the recipe."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "asr-kd").write_text(_NOTES)
    (tmp_path / "bin" / "asr-kd").chmod(0o755)
    done = subprocess.run(
        [
            ROOT / "recipes/synth/run_ctc.sh", "--work", work, "--nj", "1", "--teachers", "2",
            "--configs", Path(__file__).parent / "tiny", "--methods", " ".join(METHODS),
        ],
        env={
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "COMMANDS": str(tmp_path / "commands"),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (tmp_path / "commands").read_text().splitlines()
    return [line.split("\x1f")[:-1] for line in lines]


@pytest.mark.slow
def test_from_features_to_a_table(tmp_path: Path) -> None:
    work, plan = tmp_path / "work", tmp_path / "plan"
    write_feats(work / "feats" / "train", 48, seed=1)
    (plan / "feats" / "train").mkdir(parents=True)
    (plan / "feats" / "train" / "manifest.json").touch()
    commands = noted(plan, tmp_path)
    write_feats(work / "feats" / "dev", 6, seed=2)
    write_feats(work / "feats" / "test", 10, seed=3)
    for module in main._VERBS:
        importlib.import_module(f"asr_kd.cli.{module}")
    run = typer.main.get_command(app)
    (tmp_path / "text").write_text("".join(f"{word}\n" for word in WORDS))
    commands.insert(0, ["train-lm", str(tmp_path / "text"), "--out", str(plan / "exp" / "lm")])
    for command in commands:
        run([part.replace(str(plan), str(work)) for part in command], standalone_mode=False)
    tables = [
        json.loads((work / name / "results.json").read_text())["sets"][0]["rows"]
        for name in ("compare_ctc", "compare_ctc_open", "compare_ctc_kept")
    ]
    words, any_words, kept = ({row["role"]: row["wer"]["value"] for row in rows} for rows in tables)
    own = {f"{m}-{role}" for m in METHODS[:-1] for role in ("teacher", "ensemble")}
    students = {*(f"{m}-student" for m in METHODS), "student-alone"}
    assert set(words) == own | students | {"frames-streaming", "streaming-alone"}
    assert set(any_words) == own | {f"{m}-shared" for m in METHODS[:-1]}
    assert set(kept) == {"teacher", "ensemble", "hard-student", "student"}
    # Letters are far apart: a model that gets many wrong is none that the recipe means.
    assert all(wer < 0.2 for wer in words.values()), words
    assert all(wer < 0.4 for wer in any_words.values()), any_words
    latency = {row["role"]: row["latency_ms"] for row in tables[0]}
    streaming = {role for role, ms in latency.items() if ms is not None}
    assert streaming == {"frames-streaming", "streaming-alone"}
    lost = {}
    for method in ("plain", "guided"):
        store = work / "exp/seed1/ctc" / method / "targets/manifest.json"
        lost[method] = json.loads(store.read_text())["info"]["spike_disagreement"]
    assert lost["guided"] < lost["plain"] / 2
