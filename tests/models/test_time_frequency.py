from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from asr_kd.config import load_config
from asr_kd.errors import InputError
from asr_kd.models.build import build_model
from asr_kd.models.config import FrontendConfig, ResnetConfig, VggConfig
from asr_kd.models.images import ConvLayer, to_frames, to_image
from asr_kd.train.config import TrainConfig
from asr_kd.train.optimizer import make_optimizers

COLOURS = FrontendConfig(delta_order=2)  # as many channels as an image has
SMALL = [
    VggConfig(depth=11, width_multiplier=1 / 16, dropout=0.0, stride=2),
    VggConfig(depth=19, width_multiplier=1 / 16, dropout=0.0, frontend=COLOURS),
    ResnetConfig(depth=18, width_multiplier=1 / 16, frontend=COLOURS),
    ResnetConfig(depth=34, width_multiplier=1 / 16, stride=2),
]


def name_of(config: VggConfig | ResnetConfig) -> str:
    return f"{config.kind}{config.depth}"


def convolutions(model: nn.Module) -> list[ConvLayer]:
    return [m for m in model.modules() if isinstance(m, ConvLayer)]


def depth_of(model: nn.Module) -> int:
    """Weight layers on the longest way through the network: all but those in the shortcuts."""
    linear = sum(isinstance(m, nn.Linear) for m in model.modules())
    return linear - sum(layer.kernel == (1, 1) for layer in convolutions(model))


# Weights and biases of the convolutions of torchvision's vgg11, 13, 16 and 19 (no batch norm).
@pytest.mark.parametrize(
    ("depth", "published"), [(11, 9_220_480), (13, 9_404_992), (16, 14_714_688), (19, 20_024_384)]
)
def test_vgg_has_the_published_convolutions(depth: int, published: int) -> None:
    with torch.device("meta"):
        model = build_model(VggConfig(depth=depth, frontend=COLOURS), 224, 1000)  # type: ignore[arg-type]
    assert depth_of(model) == depth
    assert len(model.layers) == depth - 1  # type: ignore[arg-type]
    found = sum(p.numel() for layer in convolutions(model) for p in layer.affine.parameters())
    assert found == published
    norms = 2 * sum(len(layer.gain) for layer in convolutions(model))
    # Of the last image, 7×7×512 as published, a frame has one column of 7 bands.
    connected = (7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert model.num_params == published + norms + connected


# All parameters of torchvision's resnet18 and 34; there, a convolution has no bias of its own.
@pytest.mark.parametrize(("depth", "published"), [(18, 11_689_512), (34, 21_797_672)])
def test_resnet_has_the_published_parameters(depth: int, published: int) -> None:
    with torch.device("meta"):
        model = build_model(ResnetConfig(depth=depth, frontend=COLOURS), 40, 1000)  # type: ignore[arg-type]
    assert depth_of(model) == depth
    assert len(model.layers) == depth // 2  # type: ignore[arg-type]
    biases = sum(len(layer.affine.bias) for layer in convolutions(model))
    assert model.num_params == published + biases


@pytest.mark.parametrize("config", SMALL, ids=name_of)
@pytest.mark.parametrize("num_bands", [1, 5, 13, 40])
def test_no_number_of_bands_is_too_small(config: VggConfig | ResnetConfig, num_bands: int) -> None:
    model = build_model(config, num_bands, 6)
    for num_frames in (1, 2, 7):
        logits, lengths = model(
            torch.randn(2, num_frames, num_bands), torch.tensor([num_frames, 1])
        )
        assert logits.shape == (2, num_frames, 6)
        assert lengths.tolist() == [num_frames, 1]


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_every_parameter_learns(config: VggConfig | ResnetConfig) -> None:
    torch.manual_seed(0)
    model = build_model(config, 40, 6)
    logits, _ = model(torch.randn(2, 7, 40), torch.tensor([7, 5]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_a_few_frames_can_be_learnt(config: VggConfig | ResnetConfig) -> None:
    torch.manual_seed(0)
    model = build_model(config, 16, 5)
    feats, lengths = torch.randn(2, 12, 16), torch.tensor([12, 12])
    pdf_ids = torch.randint(5, (24,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(model(feats, lengths)[0].flatten(0, 1), pdf_ids).backward()
        optimizer.step()
    assert torch.equal(model(feats, lengths)[0].flatten(0, 1).argmax(1), pdf_ids)


@pytest.mark.parametrize("time_stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "band_stride"), [(3, 1), (3, 2), (7, 2), (1, 2)])
@pytest.mark.parametrize("num_frames", [1, 6, 7])
def test_a_layer_sees_a_block_of_frames_and_its_neighbours(
    time_stride: int, kernel: int, band_stride: int, num_frames: int
) -> None:
    """An independent reference: the affine map of each patch by hand, then each frame's norm."""
    torch.manual_seed(0)
    layer = ConvLayer(2, 4, kernel, band_stride, time_stride).double()
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x = torch.randn(1, 2, num_frames, 5, dtype=torch.double)
    num_outputs = -(-num_frames // time_stride)
    mask = torch.ones(1, num_outputs, 1, dtype=torch.double)
    found = layer(x, mask)
    assert found.shape == (1, 4, num_outputs, -(-5 // band_stride))
    side = kernel // 2
    weight = layer.affine.weight.unflatten(1, (*layer.kernel, 2))
    for j in range(num_outputs):
        expected = torch.empty(4, found.shape[3], dtype=torch.double)
        for band in range(found.shape[3]):
            total = layer.affine.bias.clone()
            for dt in range(-side, side + time_stride):
                for df in range(-side, side + 1):
                    t, f = j * time_stride + dt, band * band_stride + df
                    if 0 <= t < num_frames and 0 <= f < 5:
                        total += weight[:, dt + side, df + side] @ x[0, :, t, f]
            expected[:, band] = total
        expected = (expected - expected.mean()) / (expected.var(correction=0) + 1e-5).sqrt()
        expected = (expected * layer.gain[:, None] + layer.offset[:, None]).relu()
        torch.testing.assert_close(found[0, :, j], expected)


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_every_layer_leaves_padding_at_zero(config: VggConfig | ResnetConfig) -> None:
    torch.manual_seed(0)
    model = build_model(config, 13, 6)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    outputs: list[Tensor] = []
    for layer in model.layers:  # type: ignore[union-attr]
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    model(torch.randn(2, 9, 13), torch.tensor([9, 4]))
    for output in outputs:
        frames = to_frames(output) if output.ndim == 4 else output
        valid = -(-4 // config.stride)
        assert (frames[1, valid:] == 0).all()
        assert frames[1, valid - 1].abs().max() > 0


def test_deltas_are_channels() -> None:
    feats = torch.arange(2 * 3 * 8.0).reshape(2, 3, 8)  # two channels of four bands
    image = to_image(feats, 4)
    assert image.shape == (2, 2, 3, 4)
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image[:, 1], feats[:, :, 4:])
    assert torch.equal(to_frames(image)[:, :, :2], feats[:, :, [0, 4]])


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_width_multiplier_is_a_number_or_a_fraction(kind: str) -> None:
    overrides = [f"model.kind={kind}"]
    config = load_config(TrainConfig, None, [*overrides, "model.width_multiplier=1/8"])
    assert config.model.width_multiplier == 0.125  # type: ignore[union-attr]
    eighth = build_model(config.model, 40, 6)
    assert next(iter(eighth.get_submodule("layers").parameters())).shape[0] == 8
    for wrong in ("one", "1/0", "0", "-1", "1/100"):
        with pytest.raises(InputError, match="width_multiplier"):
            load_config(TrainConfig, None, [*overrides, f"model.width_multiplier={wrong}"])


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_splicing_is_refused(kind: str, side: str) -> None:
    with pytest.raises(InputError, match="leave out left and right"):
        load_config(TrainConfig, None, [f"model.kind={kind}", f"model.frontend.{side}=2"])


@pytest.mark.parametrize("depth", [12, 18, 34])
def test_a_depth_that_was_never_published_is_refused(depth: int) -> None:
    with pytest.raises(InputError, match="depth"):
        load_config(TrainConfig, None, ["model.kind=vgg", f"model.depth={depth}"])


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_half_precision(config: VggConfig | ResnetConfig) -> None:
    torch.manual_seed(0)
    model = build_model(config, 16, 6)
    feats, lengths = torch.randn(2, 7, 16), torch.tensor([7, 5])
    exact = model(feats, lengths)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(feats, lengths)[0]
    rough.float().square().sum().backward()
    assert (rough - exact).norm() < 0.1 * exact.norm()


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_biases_shift_the_logits_of_every_frame(config: VggConfig | ResnetConfig) -> None:
    torch.manual_seed(0)
    model = build_model(config, 13, 6).eval()
    feats, lengths = torch.randn(1, 5, 13), torch.tensor([5])
    before = model(feats, lengths)[0]
    offsets = torch.randn(6)
    model.shift_logits(offsets)
    torch.testing.assert_close(model(feats, lengths)[0], before + offsets)


@pytest.mark.parametrize("config", SMALL, ids=name_of)
def test_muon_trains_the_convolutions(config: VggConfig | ResnetConfig) -> None:
    model = build_model(config, 13, 6)
    settings = TrainConfig(model=config, muon_learning_rate=0.01)
    muon = make_optimizers(model, settings)[1]
    trained = {id(p) for group in muon.param_groups for p in group["params"]}
    assert {id(layer.affine.weight) for layer in convolutions(model)} <= trained


@pytest.mark.parametrize("corpus", ["fsdd", "synth"])
@pytest.mark.parametrize(("shallow", "deep"), [("vgg11", "vgg19"), ("resnet18", "resnet34")])
def test_recipes_distil_into_the_shallower_network(corpus: str, shallow: str, deep: str) -> None:
    folder = Path(__file__).parents[2] / "configs" / corpus / "cnn"
    student, teacher = (load_config(TrainConfig, folder / f"{n}.yaml") for n in (shallow, deep))
    sizes = [build_model(config.model, 40, 62).num_params for config in (student, teacher)]
    assert sizes[0] < sizes[1]
    assert student.cmvn == teacher.cmvn
    assert student.epochs <= teacher.epochs
