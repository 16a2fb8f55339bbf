"""A training that was stopped anywhere ends with the bits of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from asr_kd.train import loop
from asr_kd.train.config import (
    AugmentConfig,
    ChannelConfig,
    MaskConfig,
    MixConfig,
    NoiseConfig,
    SpeedConfig,
    TrainConfig,
)
from asr_kd.train.stage import train

EVERYTHING = AugmentConfig(
    speed=SpeedConfig(prob=0.5),
    channel=ChannelConfig(prob=0.5),
    noise=NoiseConfig(prob=0.5),
    mix=MixConfig(prob=0.5),
    mask=MaskConfig(prob=0.5),
)


def busy_config(corpus: Any, **values: object) -> TrainConfig:
    """Everything that draws random numbers or keeps state."""
    return corpus.config(
        augment=EVERYTHING, ema_decay=0.9, save_every=2, muon_learning_rate=0.01, **values
    )


def assert_same_bits(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "last/model.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert torch.equal(ours[key], theirs[key]), (name, key)
    assert (one / "log.jsonl").read_text() == (other / "log.jsonl").read_text()


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the loop catches it."""


@pytest.mark.parametrize("last_step", [1, 3, 9, 11])
def test_killed_in_mid_epoch(corpus: Any, last_step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = busy_config(corpus)
    train(corpus.inputs, config, corpus.root / "whole")
    step = loop.Trainer._step

    def dying_step(self, *args):
        if self.progress.step == last_step:
            raise Killed
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(Killed):
        train(corpus.inputs, config, corpus.root / "cut")
    assert not (corpus.root / "cut").exists()
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(corpus.inputs, config, corpus.root / "cut")
    assert_same_bits(corpus.root / "whole", corpus.root / "cut")


def test_another_configuration_starts_anew(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.Trainer._step

    def dying_step(self, *args):
        if self.progress.step == 5:
            raise Killed
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(Killed):
        train(corpus.inputs, busy_config(corpus), corpus.root / "cut")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(corpus.inputs, busy_config(corpus, seed=1), corpus.root / "cut")
    train(corpus.inputs, busy_config(corpus, seed=1), corpus.root / "whole")
    assert_same_bits(corpus.root / "whole", corpus.root / "cut")


def test_interrupt_saves_the_state(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = busy_config(corpus).model_copy(update={"save_every": 1000})
    train(corpus.inputs, config, corpus.root / "whole")
    step = loop.Trainer._step

    def interrupted_step(self, *args):
        if self.progress.step == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", interrupted_step)
    with pytest.raises(KeyboardInterrupt):
        train(corpus.inputs, config, corpus.root / "cut")
    state = json.loads((corpus.root / ".cut.building" / "state.json").read_text())
    assert state["step"] == 8
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(corpus.inputs, config, corpus.root / "cut")
    assert_same_bits(corpus.root / "whole", corpus.root / "cut")


@pytest.mark.slow
def test_sigkill_of_the_command(corpus: Any) -> None:
    i = corpus.inputs
    main = "from asr_kd.cli.main import main; main()"
    command = [
        sys.executable, "-c", main, "train", i.data, i.ali, "--dev", i.dev,
        "--dev-ali", i.dev_ali, "--out", corpus.root / "cut", "epochs=12", "save_every=3",
        "max_frames=300", "accelerator=cpu",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    state = corpus.root / ".cut.building" / "state.json"
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not state.exists() or json.loads(state.read_text())["step"] < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (corpus.root / "cut").exists()
    subprocess.run(command, env=environment, check=True)
    command[command.index(corpus.root / "cut")] = corpus.root / "whole"
    subprocess.run(command, env=environment, check=True)
    assert_same_bits(corpus.root / "whole", corpus.root / "cut")
