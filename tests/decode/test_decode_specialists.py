"""A generalist that confuses two states, a specialist that does not, and the words they find."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typer.testing import CliRunner

import asr_kd.cli.decode
import asr_kd.cli.main  # noqa: F401  (both register with the application)
from asr_kd.cli import specialists  # noqa: F401
from asr_kd.cli.app import app
from asr_kd.labels.specialist import specialist_labels
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint

TEXT = {"s-1": "a b", "s-2": "b", "t-1": "a a b", "t-2": "b a"}


def test_a_specialist_repairs_what_the_generalist_confuses(toy: Any, tmp_path: Path) -> None:
    data = toy.data("data", {u: toy.logits_of(toy.spelled(t)) for u, t in TEXT.items()}, TEXT)
    perfect = Checkpoint.load(toy.model)
    # To the generalist, states 0 and 2, which begin the two words, are one, a little more of it 2;
    # states 1 and 3 are one too.
    generalist = Checkpoint.load(toy.model)
    with torch.no_grad():
        weight = generalist.model.output.weight
        weight.copy_(weight[[0, 1, 0, 1]] + weight[[2, 3, 2, 3]])
        generalist.model.output.bias.copy_(torch.tensor([0.0, 0.0, 0.1, 0.1]))
    replace(generalist).save(tmp_path / "general")  # a fresh copy knows no stale hash
    # The specialist knows 0 and 2 apart and nothing of 1 and 3: they are its dustbin.
    model = build_model(perfect.model.config, 4, 3).eval()
    state = perfect.model.state_dict()
    state |= {f"output.{k}": state[f"output.{k}"][[0, 2, 1]] for k in ("weight", "bias")}
    state["output.weight"][2] += perfect.model.output.weight[3].detach()
    model.load_state_dict(state)
    labels = specialist_labels(perfect.label_set, [0, 2])
    prior = np.log(np.array([0.25, 0.25, 0.5], np.float32))
    replace(perfect, model=model, label_set=labels, log_prior=prior).save(tmp_path / "special")
    run = CliRunner().invoke
    combine = ["combine-specialists", f"{tmp_path}/general", f"{tmp_path}/special"]
    assert run(app, [*combine, "--out", f"{tmp_path}/all"]).exit_code == 0
    wanted = "".join(f"{u} {t}\n" for u, t in TEXT.items())
    for name, right in (("general", False), ("all", True)):
        decode = [
            "decode", f"{tmp_path}/{name}", "--data", str(data), "--graph", str(toy.graph),
            "--out", f"{tmp_path}/decode_{name}", "scales.acoustic_scale=1.0",
        ]  # fmt: skip
        assert run(app, decode).exit_code == 0
        assert ((tmp_path / f"decode_{name}" / "hyp").read_text() == wanted) is right
