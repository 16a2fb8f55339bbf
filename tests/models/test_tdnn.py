import pytest
import torch

from asr_kd.models.build import build_model
from asr_kd.models.config import BlstmConfig, DnnConfig, TdnnConfig, TdnnLayerConfig
from asr_kd.models.tdnn import TdnnLayer


@pytest.mark.parametrize("offsets", [(-2, 0, 2), (-1, 0, 1, 2), (0,), (-7, -4), (3, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 4, 9])
def test_a_layer_is_an_affine_map_of_stacked_frames(
    offsets: tuple[int, ...], stride: int, num_frames: int
) -> None:
    torch.manual_seed(0)
    layer = TdnnLayer(TdnnLayerConfig(offsets=offsets, width=6), 5, 0.0, stride)
    x = torch.randn(2, num_frames, 5)
    found = layer._affine(x)
    assert found.shape == (2, -(-num_frames // stride), 6)
    for b in range(2):
        for k, t in enumerate(range(0, num_frames, stride)):
            inside = [t + o if 0 <= t + o < num_frames else None for o in offsets]
            stacked = torch.cat([torch.zeros(5) if i is None else x[b, i] for i in inside])
            torch.testing.assert_close(found[b, k], layer.affine(stacked), atol=1e-5, rtol=1e-5)


def test_strided_outputs_are_in_the_order_of_frames() -> None:
    config = TdnnConfig(layers=(TdnnLayerConfig(offsets=(0, 1), width=8),), stride=2, dropout=0)
    model = build_model(config, 3, 4)
    feats = torch.randn(1, 6, 3)
    logits = model(feats, torch.tensor([6]))[0]
    changed = feats.clone()
    changed[0, 2:4] += 1  # a block of two frames: its own two outputs move, no others
    moved = (model(changed, torch.tensor([6]))[0] - logits).abs().amax(-1)[0] > 1e-9
    assert moved.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    "config",
    [
        TdnnConfig(stride=2, dropout=0),
        DnnConfig(num_layers=1, width=8),
        BlstmConfig(width=4, num_layers=1),
    ],
)
def test_offsets_move_the_logits_of_every_frame(config: object) -> None:
    model = build_model(config, 3, 4).eval()  # type: ignore[arg-type]
    feats, lengths = torch.randn(2, 7, 3), torch.tensor([7, 4])
    with torch.no_grad():
        before, _ = model(feats, lengths)
        offsets = torch.tensor([0.5, 0.0, -2.0, 1.0])
        model.shift_logits(offsets)
        after, _ = model(feats, lengths)
    torch.testing.assert_close(after, before + offsets)
