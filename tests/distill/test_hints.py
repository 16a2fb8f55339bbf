"""Layers are found and tapped in any kind of model; hidden frames stand for the right frames."""

import pytest
import torch
from torch import Tensor, nn

from asr_kd.distill.hints import (
    Layer,
    Projection,
    counted_frames,
    find_layers,
    forward_tapped,
    hint_loss,
    layer_variance,
    needs_projection,
    untrained_layers,
)
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

LAYERS = (TdnnLayerConfig(offsets=(-2, 0, 2), width=11), TdnnLayerConfig(offsets=(-3, 0), width=9))
DNN = DnnConfig(num_layers=2, width=8, frontend=FrontendConfig(left=2, right=1), dropout=0.2)
TDNN = TdnnConfig(layers=LAYERS)
STRIDED = TdnnConfig(layers=LAYERS, stride=3)
BLSTM = BlstmConfig(width=5)
VGG = VggConfig(depth=11, width_multiplier=1 / 64, stride=2)
RESNET = ResnetConfig(depth=18, width_multiplier=1 / 32)
TAPS = [
    (DNN, "layers.0", Layer(8, 1)),
    (DNN, "layers.4", Layer(8, 1)),
    (DNN, "frontend", Layer(24, 1)),
    (TDNN, "layers.1", Layer(9, 1)),
    (STRIDED, "layers.0", Layer(11, 3)),
    (STRIDED, "output", Layer(3 * 7, 3)),
    (BLSTM, "ahead.1", Layer(5, 1)),
    (BLSTM, "back.1", Layer(5, 1)),
    (BLSTM, "layers.0", Layer(10, 1)),
    (VGG, "layers.2", Layer(4 * 2, 2)),
    (VGG, "layers.9", Layer(64, 2)),
    (RESNET, "layers.1", Layer(2 * 2, 1)),
]
IDS = [f"{config.kind}-{name}" for config, name, _ in TAPS]
LENGTHS = torch.tensor([7, 13, 1])


def make(config: object) -> AcousticModel:
    torch.manual_seed(0)
    model = build_model(config, input_dim=6, num_labels=7)  # type: ignore[arg-type]
    model.frontend.mean.normal_()
    return model.double().eval()


@pytest.mark.parametrize(("config", "name", "layer"), TAPS, ids=IDS)
def test_layers_of_all_kinds_are_found(config: object, name: str, layer: Layer) -> None:
    model = make(config).train()
    assert find_layers(model)[name] == layer
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("config", "name", "layer"), TAPS, ids=IDS)
def test_hidden_frames_of_a_batch_are_those_of_singles(
    config: object, name: str, layer: Layer
) -> None:
    model = make(config)
    feats = torch.randn(3, 13, 6, dtype=torch.double)
    logits, outputs = forward_tapped(model, feats, LENGTHS, [name])
    torch.testing.assert_close(logits, model(feats, LENGTHS)[0])
    assert not any(module._forward_hooks for module in model.modules())
    hidden = outputs[name]
    assert hidden.shape == (3, -(-13 // layer.stride), layer.width)
    for b, n in enumerate(LENGTHS.tolist()):
        _, alone = forward_tapped(model, feats[b : b + 1, :n], LENGTHS[b : b + 1], [name])
        frames = -(-n // layer.stride)
        torch.testing.assert_close(alone[name][0], hidden[b, :frames], rtol=1e-9, atol=1e-9)


def test_the_backward_direction_comes_in_the_order_of_time() -> None:
    model = make(BLSTM)
    feats = torch.randn(2, 9, 6, dtype=torch.double)
    lengths = torch.tensor([9, 5])
    _, outputs = forward_tapped(model, feats, lengths, ["back.0", "layers.0"])
    for b, n in enumerate(lengths.tolist()):
        x = model.frontend(feats[b : b + 1, :n], lengths[b : b + 1])
        expected = model.get_submodule("back.0")(x.flip(1))[0].flip(1)[0]
        torch.testing.assert_close(outputs["back.0"][b, :n], expected)
        torch.testing.assert_close(outputs["layers.0"][b, :n, 5:], expected)


class Odd(AcousticModel):
    """Layers that no hint can name, beside one that it can."""

    def __init__(self) -> None:
        super().__init__(DnnConfig(frontend=FrontendConfig()), 6, 7)
        self.good = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.overwritten = nn.Linear(6, 6)
        self.channels = nn.Conv1d(6, 120, 1)  # (B,C,T), and C is half the longer probe's frames
        self.whole = nn.Linear(6, 6)
        self.pooled = nn.AvgPool2d((2, 1))  # drops an odd frame out
        self.idle = nn.Linear(6, 6)
        self.output = nn.Linear(6, 7)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        x = self.twice(self.twice(self.good(x)))
        x = self.overwritten(x).relu_()
        self.channels(x.transpose(1, 2))
        self.whole(x.mean(1))
        self.pooled(x)
        logits: Tensor = self.output(x)
        return logits


def test_layers_without_hidden_frames_of_their_own_are_left_out() -> None:
    assert set(find_layers(Odd())) == {"frontend", "good", "output"}


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_counted_frames_are_those_that_cover_the_input(stride: int) -> None:
    counted = torch.tensor([[1, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 1]]).bool()
    num_hidden = -(-7 // stride)
    hidden = torch.arange(2 * num_hidden).reshape(2, num_hidden, 1).expand(-1, -1, 3)
    expected = [
        b * num_hidden + t // stride for b in range(2) for t in range(7) if bool(counted[b, t])
    ]
    found = counted_frames(hidden, counted, stride)
    assert found.dtype == torch.float32
    assert found.tolist() == [[float(x)] * 3 for x in expected]


def test_a_frame_costs_nothing_if_known_and_one_if_only_the_mean_is() -> None:
    teacher = 5 + 3 * torch.randn(1000, 6) * torch.tensor([0.1, 1, 2, 3, 4, 5])
    variance = layer_variance(teacher)
    assert float(hint_loss(teacher, teacher, variance)) == 0
    mean = teacher.mean(0).expand_as(teacher)
    assert float(hint_loss(mean, teacher, variance)) == pytest.approx(1000, rel=1e-4)
    # The scale of the layer does not matter.
    assert float(hint_loss(9 * mean, 9 * teacher, 81 * variance)) == pytest.approx(1000, rel=1e-4)


@pytest.mark.parametrize(("own", "other"), [(1, 1), (3, 1), (4, 2), (1, 3)])
def test_a_projection_learns_a_planted_map(own: int, other: int) -> None:
    """A slower student gives all of the teacher's frames at once, a faster one gives each."""
    torch.manual_seed(1)
    num_frames = 24
    hidden = torch.randn(20, num_frames // max(own, other), 4)
    maps = [nn.Linear(4, 3) for _ in range(max(own // other, 1))]
    theirs = torch.zeros(20, num_frames // other, 3)
    for j in range(num_frames // other):
        theirs[:, j] = maps[j % len(maps)](hidden[:, j // len(maps)])
    theirs = theirs.detach()
    hidden = hidden.repeat_interleave(max(other // own, 1), 1)
    projection = Projection(Layer(4, own), Layer(3, other))
    counted = torch.rand(20, num_frames) < 0.8
    targets = counted_frames(theirs, counted, other)
    optimizer = torch.optim.LBFGS(
        projection.parameters(), max_iter=100, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        ours = counted_frames(projection(hidden), counted, projection.stride)
        total = hint_loss(ours, targets, layer_variance(targets)) / len(targets)
        total.backward()
        return total

    assert float(loss().detach()) > 0.1
    optimizer.step(loss)  # type: ignore[no-untyped-call]
    assert float(loss().detach()) < 1e-6


def test_layers_before_the_first_parameter_are_not_trained() -> None:
    config = DnnConfig(num_layers=1, width=6, frontend=FrontendConfig(left=1), input_dropout=0.2)
    model = build_model(config, 3, 5).train()
    layers = find_layers(model)
    untrained = untrained_layers(model, layers)
    assert {"frontend", "input_dropout"} <= untrained
    assert untrained.isdisjoint({"layers.0", "layers.1", "output"})
    assert model.training


def test_strides_that_do_not_divide_meet_at_their_common_divisor() -> None:
    projection = Projection(Layer(4, 4), Layer(3, 6))
    assert projection.stride == 2
    assert projection(torch.randn(5, 7, 4)).shape == (5, 14, 3)


def test_a_projection_is_needed_where_width_or_frames_differ() -> None:
    assert not needs_projection(Layer(4, 2), Layer(4, 2))
    assert not needs_projection(Layer(4, 1), Layer(4, 3))
    assert needs_projection(Layer(4, 3), Layer(4, 1))
    assert needs_projection(Layer(4, 1), Layer(5, 1))
