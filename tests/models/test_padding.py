"""Batch equals stack of singles, for logits and gradients, whatever stands in the padding."""

from typing import Any

import pytest
import torch

from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import (
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    ResnetConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)

DELTAS = FrontendConfig(delta_order=2)
SPLICED = FrontendConfig(delta_order=1, left=3, right=2)
SKEWED = (
    TdnnLayerConfig(offsets=(-2, -1, 0, 1, 2), width=12),
    TdnnLayerConfig(offsets=(-5, -2), width=12),
    TdnnLayerConfig(offsets=(1, 4, 7), width=12),
    TdnnLayerConfig(offsets=(0,), width=9),
)
CONV4 = SubsamplingConfig(factor=4, kind="conv", width=12, channels=3)
STACK2 = SubsamplingConfig(factor=2, width=12)
SMALL: dict[str, Any] = {
    "num_layers": 2, "width": 12, "num_heads": 3, "feed_forward": 2, "kernel": 5, "dropout": 0.0,
}  # fmt: skip
MODELS = [
    DnnConfig(num_layers=2, width=16, frontend=SPLICED),
    TdnnConfig(dropout=0.0, frontend=DELTAS),
    TdnnConfig(dropout=0.0, frontend=SPLICED, layers=SKEWED),
    TdnnConfig(dropout=0.0, frontend=DELTAS, stride=3),
    BlstmConfig(width=8, dropout=0.0, frontend=DELTAS),
    BlstmConfig(width=8, dropout=0.0, frontend=DELTAS, stride=3),
    VggConfig(depth=11, width_multiplier=1 / 16, dropout=0.0, frontend=DELTAS),
    VggConfig(depth=16, width_multiplier=1 / 32, dropout=0.0, stride=3),
    ResnetConfig(depth=18, width_multiplier=1 / 16, frontend=DELTAS),
    ResnetConfig(depth=18, width_multiplier=1 / 32, stride=2),
    TdnnConfig(dropout=0.0, frontend=SPLICED, subsampling=SubsamplingConfig(factor=3, width=12)),
    TdnnConfig(dropout=0.0, frontend=DELTAS, subsampling=CONV4, layers=SKEWED, stride=2),
    BlstmConfig(width=8, dropout=0.0, subsampling=STACK2),
    ConformerConfig(**SMALL, frontend=DELTAS, subsampling=CONV4),
    ConformerConfig(**SMALL, subsampling=SubsamplingConfig()),
    ConformerConfig(**SMALL, frontend=DELTAS, subsampling=STACK2, chunk=3, left_chunks=1),
]
LENGTHS = torch.tensor([9, 23, 1, 16])


def trained_looking(config: object) -> AcousticModel:
    torch.manual_seed(0)
    model = build_model(config, input_dim=5, num_labels=7)  # type: ignore[arg-type]
    model.frontend.mean.normal_()
    model.frontend.std.uniform_(0.5, 2.0)
    for parameter in model.parameters():  # LayerNorm's ones and zeros would hide mistakes
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double()


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
@pytest.mark.parametrize("rubbish", [0.0, 1e4, float("nan")])
def test_batch_is_stack_of_singles(config: object, rubbish: float, device: torch.device) -> None:
    model = trained_looking(config).to(device)
    feats = torch.randn(4, 23, 5, dtype=torch.double).to(device)
    for row, length in enumerate(LENGTHS):
        feats[row, length:] = rubbish
    weights = torch.randn(4, 23, 7, dtype=torch.double).to(device)

    logits, lengths = model(feats, LENGTHS.to(device))
    outputs = [-(-n // model.subsampling) for n in LENGTHS.tolist()]
    assert lengths.tolist() == outputs
    assert logits.shape == (4, max(outputs), 7)
    loss = sum((logits[b, :n] * weights[b, :n]).square().sum() for b, n in enumerate(outputs))
    loss.backward()  # type: ignore[union-attr]
    together = [p.grad.clone() for p in model.parameters()]

    model.zero_grad()
    for b, n in enumerate(LENGTHS):
        alone, _ = model(feats[b : b + 1, :n], LENGTHS[b : b + 1].to(device))
        torch.testing.assert_close(alone[0], logits[b, : outputs[b]], rtol=1e-9, atol=1e-9)
        (alone[0] * weights[b, : outputs[b]]).square().sum().backward()
    for parameter, expected in zip(model.parameters(), together, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
def test_a_frame_of_context_matters(config: object) -> None:
    # The other test would pass on a model that sees no context at all.
    model = trained_looking(config)
    feats = torch.randn(1, 20, 5, dtype=torch.double)
    changed = feats.clone()
    changed[0, 10] += 1.0
    lengths = torch.tensor([20])
    moved = (model(feats, lengths)[0] - model(changed, lengths)[0]).abs().amax(-1)[0] > 1e-12
    at = 10 // model.subsampling
    assert moved[at:].any()
    if not (isinstance(config, ConformerConfig) and config.chunk):  # its own chunk begins at 10
        assert moved[:at].any()


@pytest.mark.parametrize("stride", [1, 2])
def test_reversed_layers_are_told_in_time_order_at_any_frame_rate(stride: int) -> None:
    config = BlstmConfig(width=8, dropout=0.0, subsampling=STACK2, stride=stride)
    model = trained_looking(config)
    feats = torch.randn(4, 23, 5, dtype=torch.double)
    lengths = LENGTHS
    tapped: list[torch.Tensor] = []
    model.get_submodule("back.0").register_forward_hook(
        lambda module, inputs, output: tapped.append(
            model.in_time_order("back.0", output[0], lengths)
        )
    )
    model(feats, lengths)
    for b, n in enumerate(LENGTHS.tolist()):
        lengths = LENGTHS[b : b + 1]
        model(feats[b : b + 1, :n], lengths)
        steps = -(-n // (2 * stride))
        torch.testing.assert_close(tapped[-1][0], tapped[0][b, :steps], rtol=1e-9, atol=1e-9)
    # In the order of time: what is said of a frame hangs on later ones alone.
    feats[0, :4] += 1.0
    lengths = LENGTHS[:1]
    model(feats[:1, :9], lengths)
    steps = len(tapped[-1][0])
    same = (tapped[-1][0] - tapped[0][0, :steps]).abs().amax(1) < 1e-12
    assert same.tolist() == [step >= 2 // stride for step in range(steps)]


def test_num_params_counts_what_is_trained() -> None:
    config = DnnConfig(num_layers=1, width=3, frontend=FrontendConfig())
    assert build_model(config, 5, 7).num_params == 5 * 3 + 3 + 3 * 7 + 7
