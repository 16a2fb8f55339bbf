"""CTC trained with the architectures that other tests leave out; TDNNs are in `test_sequence`."""

import json
from typing import Any

import pytest
import torch

from asr_kd.distill.ctc import ctc_loss
from asr_kd.models.config import BlstmConfig, ConformerConfig, SubsamplingConfig
from asr_kd.train.dataset import AlignedData, plain_batch
from asr_kd.train.labels import FrameRate
from asr_kd.train.stage import train

HALF = SubsamplingConfig(factor=2, width=16)
SMALL: Any = {
    "num_layers": 1, "width": 16, "num_heads": 2, "feed_forward": 2, "kernel": 3, "dropout": 0.0,
    "subsampling": HALF,
}  # fmt: skip
MODELS = {
    "blstm": BlstmConfig(num_layers=1, width=16, dropout=0.0, subsampling=HALF),
    "conformer": ConformerConfig(**SMALL),
    "chunked": ConformerConfig(**SMALL, chunk=4, left_chunks=1),
}


def loss_of_the_deaf(spoken: Any) -> float:
    """A frame's loss by the best distribution that is the same at every frame of the dev set."""
    dev = AlignedData(spoken.inputs.dev, spoken.inputs.dev_ali, "global", rate=FrameRate(2))
    batch = plain_batch(dev, range(len(dev)))
    logits = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(60):
        everywhere = logits.expand(*batch.counted.shape, 5)
        loss, frames = ctc_loss(everywhere, batch.outputs, batch.tokens, batch.token_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach() / frames)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_heard_is_learnt(spoken: Any, name: str) -> None:
    out = spoken.root / name
    config = spoken.config(model=MODELS[name], epochs=8, max_frames=100, learning_rate=0.02)
    train(spoken.inputs, config, out)
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    losses = [line["dev_ctc_loss"] for line in lines if "epoch" in line]
    assert losses[-1] < 0.9 * loss_of_the_deaf(spoken)
    assert losses[-1] < 0.75 * losses[0]
