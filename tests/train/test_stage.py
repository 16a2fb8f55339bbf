import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from asr_kd.artefact import read_manifest
from asr_kd.io.table import read_table
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.trained_on import read_trained_on
from asr_kd.train import loop
from asr_kd.train.stage import train


def test_a_training_learns_and_publishes(corpus: Any, caplog: pytest.LogCaptureFixture) -> None:
    out = corpus.root / "exp"
    train(corpus.inputs, corpus.config(epochs=6, learning_rate=0.01), out)
    manifest = read_manifest(out, "train")
    assert manifest.info["dev_frame_accuracy"] > 0.7  # chance is 1/6
    assert manifest.info["epochs"] == 6
    assert manifest.info["num_params"] == Checkpoint.load(out).model.num_params
    assert Checkpoint.load(out / "last").label_set == Checkpoint.load(out).label_set
    epochs = [r for r in map(json.loads, (out / "log.jsonl").read_text().splitlines())
              if "epoch" in r]  # fmt: skip
    assert [r["epoch"] for r in epochs] == [1, 2, 3, 4, 5, 6]
    best = max(epochs, key=lambda r: r["dev_frame_accuracy"])
    assert best["dev_frame_accuracy"] == manifest.info["dev_frame_accuracy"]
    assert list((out / "tensorboard").iterdir())
    assert (out / "config.yaml").exists()
    assert not list(out.glob("state*"))
    before = (out / "model.safetensors").stat().st_mtime_ns
    train(corpus.inputs, corpus.config(epochs=6, learning_rate=0.01), out)
    assert (out / "model.safetensors").stat().st_mtime_ns == before  # up to date


@pytest.mark.gpu
def test_a_training_on_the_gpu(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    config = corpus.config(
        epochs=6, learning_rate=0.01, accelerator="cuda", ema_decay=0.5, save_every=1
    )
    step = loop.Trainer._step

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        if self.progress.step == 9:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train(corpus.inputs, config, corpus.root / "exp")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(corpus.inputs, config, corpus.root / "exp")
    assert read_manifest(corpus.root / "exp").info["dev_frame_accuracy"] > 0.7


def test_a_model_says_what_it_has_seen(corpus: Any) -> None:
    first, second, third = (corpus.root / name for name in ("first", "second", "third"))
    train(corpus.inputs, corpus.config(epochs=1), first)
    seen = set(read_table(corpus.inputs.ali / "ali.scp"))
    assert read_trained_on(first) == read_trained_on(first / "last") == seen
    # What it starts from has left its mark: on dev now, but it has seen the training set too.
    dev = corpus.inputs
    turned = replace(dev, data=dev.dev, ali=dev.dev_ali, init=first)
    train(turned, corpus.config(epochs=1), second)
    assert read_trained_on(second) == seen | set(read_table(dev.dev_ali / "ali.scp"))
    student = replace(dev, data=dev.dev, ali=dev.dev_ali, teachers=(first, second))
    train(student, corpus.config(epochs=1), corpus.root / "student")
    assert read_trained_on(corpus.root / "student") == read_trained_on(second)
    (first / "trained_on.txt").unlink()
    train(turned, corpus.config(epochs=1), third)
    assert read_trained_on(third) is None
    train(student, corpus.config(epochs=1, seed=1), corpus.root / "student")
    assert read_trained_on(corpus.root / "student") is None


def test_a_training_keeps_to_the_largest_weight_norm(corpus: Any) -> None:
    norms = {}
    for largest in (0.0, 0.5):
        out = corpus.root / f"norm{largest}"
        train(corpus.inputs, corpus.config(epochs=1, max_weight_norm=largest), out)
        linear = [m for m in Checkpoint.load(out).model.modules() if isinstance(m, nn.Linear)]
        norms[largest] = torch.cat([m.weight.detach().norm(dim=1) for m in linear])
    assert norms[0.0].max() > 0.6
    assert norms[0.5].max() <= 0.5 + 1e-5
