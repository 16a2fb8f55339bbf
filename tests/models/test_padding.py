"""Batch equals stack of singles, for logits and gradients, whatever stands in the padding."""

import pytest
import torch

from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import (
    BlstmConfig,
    DnnConfig,
    FrontendConfig,
    ResnetConfig,
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
MODELS = [
    DnnConfig(num_layers=2, width=16, frontend=SPLICED),
    TdnnConfig(dropout=0.0, frontend=DELTAS),
    TdnnConfig(dropout=0.0, frontend=SPLICED, layers=SKEWED),
    TdnnConfig(dropout=0.0, frontend=DELTAS, stride=3),
    BlstmConfig(width=8, dropout=0.0, frontend=DELTAS),
    VggConfig(depth=11, width_multiplier=1 / 16, dropout=0.0, frontend=DELTAS),
    VggConfig(depth=16, width_multiplier=1 / 32, dropout=0.0, stride=3),
    ResnetConfig(depth=18, width_multiplier=1 / 16, frontend=DELTAS),
    ResnetConfig(depth=18, width_multiplier=1 / 32, stride=2),
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
def test_batch_is_stack_of_singles(config: object, rubbish: float) -> None:
    model = trained_looking(config)
    feats = torch.randn(4, 23, 5, dtype=torch.double)
    for row, length in enumerate(LENGTHS):
        feats[row, length:] = rubbish
    weights = torch.randn(4, 23, 7, dtype=torch.double)

    logits, lengths = model(feats, LENGTHS)
    assert torch.equal(lengths, LENGTHS)
    loss = sum((logits[b, :n] * weights[b, :n]).square().sum() for b, n in enumerate(LENGTHS))
    loss.backward()  # type: ignore[union-attr]
    together = [p.grad.clone() for p in model.parameters()]

    model.zero_grad()
    for b, n in enumerate(LENGTHS):
        alone, _ = model(feats[b : b + 1, :n], LENGTHS[b : b + 1])
        torch.testing.assert_close(alone[0], logits[b, :n], rtol=1e-9, atol=1e-9)
        (alone[0] * weights[b, :n]).square().sum().backward()
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
    assert moved[10:].any()
    assert moved[:10].any()


def test_num_params_counts_what_is_trained() -> None:
    config = DnnConfig(num_layers=1, width=3, frontend=FrontendConfig())
    assert build_model(config, 5, 7).num_params == 5 * 3 + 3 + 3 * 7 + 7
