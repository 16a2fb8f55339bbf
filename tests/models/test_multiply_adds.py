"""Counts made by hand: weights × places where each is used, for one frame."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from asr_kd.models.build import build_model
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    MemberConfig,
    ResnetConfig,
    SpecialistsConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)
from asr_kd.models.multiply_adds import multiply_adds

BANDS, LABELS = 8, 10
DELTAS = FrontendConfig(delta_order=2)
DNN = DnnConfig(num_layers=3, width=16, frontend=FrontendConfig(left=2, right=1))
TDNN_LAYERS = (
    TdnnLayerConfig(offsets=(-1, 0, 1), width=12),
    TdnnLayerConfig(offsets=(0, 3), width=9),
)
TDNN = 3 * 8 * 12 + 2 * 12 * 9 + 9 * 10
# Two orders of slopes over ±2 frames see 9 frames; all 3 orders come out of one product.
TDNN_DELTAS = 9 * 8 * 3 + 3 * (3 * 8) * 12 + 2 * 12 * 9 + 9 * 10
VGG_CONVOLUTIONS = [  # a stage's bands: 8, 4, 2, 1, 1
    9 * 1 * 4 * 8, 9 * 4 * 8 * 4, 9 * 8 * 16 * 2, 9 * 16 * 16 * 2,
    9 * 16 * 32, 9 * 32 * 32, 9 * 32 * 32, 9 * 32 * 32,
]  # fmt: skip
VGG_REST = 32 * 256 + 256 * 256
RESNET = (
    49 * 1 * 4 * 4  # 8 bands become 4, and 2 by the pooling
    + 4 * (9 * 4 * 4 * 2)
    + (9 * 4 * 8 + 9 * 8 * 8 + 4 * 8) + 2 * (9 * 8 * 8)
    + (9 * 8 * 16 + 9 * 16 * 16 + 8 * 16) + 2 * (9 * 16 * 16)
    + (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32) + 2 * (9 * 32 * 32)
    + 32 * 10
)  # fmt: skip
STACK2 = SubsamplingConfig(factor=2, width=12)
CONV4 = SubsamplingConfig(factor=4, kind="conv", width=12, channels=3)
# Kernels of 4 frames by 3 bands, the first one twice; 8 bands become 4, and 2.
CONVOLVED = 2 * (12 * 1 * 3 * 4) + 12 * 3 * 3 * 2 + (2 * 3) * 12
CONFORMER = ConformerConfig(
    num_layers=3, width=12, num_heads=2, feed_forward=2, kernel=5, subsampling=CONV4
)
# Two feed-forward layers, queries to outputs of attention, all 250 frames twice, convolution.
BLOCK = 4 * 12 * 24 + 4 * 12 * 12 + 2 * 250 * 12 + 12 * 24 + 5 * 12 + 12 * 12
CASES = [
    (DNN, (4 * 8) * 16 + 16 * 16 + 16 * 16 + 16 * 10),
    (TdnnConfig(layers=TDNN_LAYERS), TDNN),
    (TdnnConfig(layers=TDNN_LAYERS, frontend=DELTAS), TDNN_DELTAS),
    # A block of 3 frames costs what one frame costs otherwise, but for 3 frames of outputs.
    (TdnnConfig(layers=TDNN_LAYERS, stride=3), (TDNN + 2 * 9 * 10) / 3),
    # Four gates, two directions, the layer's input and its own last output.
    (BlstmConfig(num_layers=2, width=6), 2 * 4 * 6 * (8 + 6) + 2 * 4 * 6 * (12 + 6) + 12 * 10),
    (
        BlstmConfig(num_layers=2, width=6, stride=2),
        (2 * 4 * 6 * (16 + 6) + 2 * 4 * 6 * (12 + 6) + 12 * 20) / 2,
    ),
    (VggConfig(depth=11, width_multiplier=1 / 16), sum(VGG_CONVOLUTIONS) + VGG_REST + 256 * 10),
    # The first kernel is 5 frames high; the output layer tells of 3 frames.
    (
        VggConfig(depth=11, width_multiplier=1 / 16, stride=3),
        (5 * 3 * 4 * 8 + sum(VGG_CONVOLUTIONS[1:]) + VGG_REST + 256 * 30) / 3,
    ),
    (ResnetConfig(depth=18, width_multiplier=1 / 16), RESNET),
    (TdnnConfig(layers=TDNN_LAYERS, subsampling=STACK2), (16 * 12 + TDNN + 3 * 4 * 12) / 2),
    (CONFORMER, (CONVOLVED + 12 * 12 + 3 * BLOCK + 12 * 10) / 4),
]


@pytest.mark.parametrize(("config", "by_hand"), CASES, ids=lambda c: getattr(c, "kind", ""))
def test_by_hand(config: AnyModelConfig, by_hand: float) -> None:
    assert multiply_adds(build_model(config, BANDS, LABELS)) == pytest.approx(by_hand)


def test_specialists_are_all_asked() -> None:
    config = SpecialistsConfig(
        generalist=DNN,
        members=(
            MemberConfig(model=DNN, labels=(1, 3), dustbin=True),
            MemberConfig(model=DNN, labels=(2,), dustbin=False),
        ),
    )
    own = CASES[0][1]
    assert multiply_adds(build_model(config, BANDS, LABELS)) == own + (own - 16 * 7) + own


def test_a_real_run_of_many_frames_costs_as_much_for_each() -> None:
    for config in (
        TdnnConfig(layers=TDNN_LAYERS, frontend=DELTAS, stride=3),
        ResnetConfig(depth=18, width_multiplier=1 / 16, stride=2),
    ):
        model = build_model(config, BANDS, LABELS)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 60, BANDS), torch.tensor([60]))
        assert counter.get_total_flops() / 2 / 60 == pytest.approx(multiply_adds(model))


@pytest.mark.filterwarnings("ignore:TF32")
def test_an_lstm_costs_the_same_whoever_computes_it() -> None:
    model = build_model(BlstmConfig(num_layers=2, width=6), BANDS, LABELS)
    expected = multiply_adds(model)
    with torch.backends.mkldnn.flags(enabled=False):  # its products are then seen one by one
        assert multiply_adds(model) == expected


def test_nothing_is_touched() -> None:
    model = build_model(BlstmConfig(num_layers=1, width=4), BANDS, LABELS).train()
    before = torch.get_rng_state()
    multiply_adds(model)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert model.output.weight.device == torch.zeros(1).device
