"""Two processes take the steps of one."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr_kd.config import load_config
from asr_kd.train.config import TrainConfig
from asr_kd.train.stage import train

pytestmark = pytest.mark.slow

# A thread of the process group that outlives the work may abort the process at its end.
MAIN = """
import atexit, os
from pathlib import Path
from asr_kd.cli.main import main

def all_threads_joined():
    if any("gloo" in name.read_text() for name in Path("/proc/self/task").glob("*/comm")):
        print("a thread of gloo is left", flush=True)
        os._exit(9)

atexit.register(all_threads_joined)
main()
"""


def run(corpus: Any, out: Path, processes: int, *overrides: str) -> list[dict]:
    i = corpus.inputs
    main = corpus.root / "main.py"
    main.write_text(MAIN)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes)]
    command = [
        *launcher, main, "train", i.data, i.ali, "--dev", i.dev, "--dev-ali", i.dev_ali,
        "--out", out, "accelerator=cpu", "log_every=1", *overrides,
    ]  # fmt: skip
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_loss_curve_of_two_processes_is_that_of_one(corpus: Any) -> None:
    # Of 90 frames many global batches have a single row, so one process has none.
    model = "model={kind: tdnn, dropout: 0.0, layers: [{offsets: [-2, 0, 2], width: 24}]}"
    augmented = ("augment.mix.prob=0.5", "augment.speed.prob=0.5")
    overrides = (model, "max_frames=90", "epochs=4", "warmup_steps=10", *augmented)
    one = run(corpus, corpus.root / "one", 1, *overrides)
    two = run(corpus, corpus.root / "two", 2, *overrides)
    losses = [[r["loss"] for r in curve if "loss" in r] for curve in (one, two)]
    assert len(losses[0]) == len(losses[1]) >= 50
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-4
    dev = [[r["dev_frame_accuracy"] for r in curve if "epoch" in r] for curve in (one, two)]
    assert dev[0] == pytest.approx(dev[1], abs=0.01)


def test_hints_of_two_processes_are_those_of_one(corpus: Any) -> None:
    """Hints alone: the output layer only decays, the projection is trained by both processes."""
    teacher = corpus.root / "teacher"
    run(corpus, teacher, 1, "model={kind: blstm, width: 6}", "epochs=1")
    overrides = (
        "--teacher", str(teacher), "max_frames=90", "epochs=2", "warmup_steps=10",
        "model={kind: tdnn, dropout: 0.0, stride: 2, layers: [{offsets: [-2, 0, 2], width: 24}]}",
        "distill.soft_weight=0", "distill.hard_weight=0",
        "distill.hints=[{student: layers.0, teacher: layers.1, schedule: cosine}]",
    )  # fmt: skip
    one = run(corpus, corpus.root / "one", 1, *overrides)
    two = run(corpus, corpus.root / "two", 2, *overrides)
    losses = [[r["loss"] for r in curve if "loss" in r] for curve in (one, two)]
    assert len(losses[0]) == len(losses[1]) >= 25
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-4


def test_token_sequences_in_two_processes_as_in_one(spoken: Any) -> None:
    """CTC, an alignment and a guide; batches of one row leave a process none."""
    model = "model={kind: tdnn, dropout: 0.0, layers: [{offsets: [-1, 0, 1], width: 24}], "
    model += "subsampling: {factor: 2, width: 24}}"
    guide = spoken.root / "guide"
    train(spoken.inputs, load_config(TrainConfig, None, [model, "epochs=1"]), guide)
    aligned = replace(spoken, inputs=replace(spoken.inputs, ali=spoken.root / "late"))
    overrides = (
        "--guide", str(guide), model, "epochs=2", "max_frames=90", "warmup_steps=10",
        "augment.speed.prob=0.5", "ctc.frame_weight=0.5",
    )  # fmt: skip
    one = run(aligned, spoken.root / "one", 1, *overrides)
    two = run(aligned, spoken.root / "two", 2, *overrides)
    losses = [[r["loss"] for r in curve if "loss" in r] for curve in (one, two)]
    assert len(losses[0]) == len(losses[1]) >= 30
    assert losses[0][-1] < 0.9 * losses[0][0]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-4
    dev = [[r["dev_token_error_rate"] for r in curve if "epoch" in r] for curve in (one, two)]
    assert dev[0] == pytest.approx(dev[1], abs=0.05)
