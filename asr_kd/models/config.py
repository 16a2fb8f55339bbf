"""Configuration of the acoustic models: a union discriminated by `kind`."""

from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from asr_kd.config import Config

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Size = Annotated[int, Field(ge=1)]


class FrontendConfig(Config):
    """What a model does to its input before its first layer.

    `delta_order` 2 appends deltas and delta-deltas (regression over ±`delta_window` frames);
    `left` and `right` splice neighbouring frames onto each frame. With `shared_scale` one mean and
    one standard deviation normalise all dimensions, as suits the pixels of an image.
    """

    delta_order: int = Field(default=0, ge=0, le=3)
    delta_window: int = Field(default=2, ge=1)
    left: int = Field(default=0, ge=0)
    right: int = Field(default=0, ge=0)
    shared_scale: bool = False


class SubsamplingConfig(Config):
    """One output frame for `factor` frames of features, made before the first layer.

    `stack` is an affine map of the `factor` frames together, and sees no others. `conv` halves
    time and bands by 3×3 convolutions of `channels` (Gulati et al. 2020), then maps to the width;
    it sees `factor` - 1 frames more on each side, and its factor is a power of 2. Both put out
    frames of `width`.
    """

    factor: Size = 1
    kind: Literal["stack", "conv"] = "stack"
    width: Size = 160
    channels: Size = 32

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "conv" and self.factor & (self.factor - 1):
            raise ValueError(
                f"convolutions halve the frame rate: factor {self.factor} is no power of 2; "
                f"take 2 or 4, or kind: stack"
            )
        idle = {"kind": "stack", "width": 160, "channels": 32} if self.factor == 1 else {}
        idle |= {"channels": 32} if self.kind == "stack" else {}
        if set_in_vain := [name for name, usual in idle.items() if getattr(self, name) != usual]:
            raise ValueError(
                f"{', '.join(set_in_vain)}: without effect at factor {self.factor}, kind "
                f"{self.kind}; leave out, or say which subsampling is meant"
            )
        return self


def _factor(value: object) -> object:
    return {"factor": value} if isinstance(value, int) and not isinstance(value, bool) else value


Subsampling = Annotated[SubsamplingConfig, BeforeValidator(_factor)]
"""A number is short for its `factor`."""


class _Subsampled(Config):
    """A model of a frame rate of its own: T features become ⌈T/factor⌉ frames of logits."""

    frontend: FrontendConfig = FrontendConfig()
    subsampling: Subsampling = SubsamplingConfig()

    @model_validator(mode="after")
    def _images_are_unspliced(self) -> Self:
        spliced = self.frontend.left or self.frontend.right
        if self.subsampling.factor > 1 and self.subsampling.kind == "conv" and spliced:
            raise ValueError(
                "subsampling by convolutions sees the neighbouring frames by itself; leave out "
                "frontend.left and frontend.right, or take subsampling.kind: stack"
            )
        return self

    _younger: ClassVar[frozenset[str]] = frozenset()  # keys that a published kind did not have

    @model_serializer(mode="wrap")
    def _only_if_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Models that were published before there were these keys keep their content hashes.
        values: dict[str, Any] = handler(self)
        for name in self._younger:
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values


class DnnConfig(Config):
    """Spliced feed-forward network; the defaults are those of the paper (section 3).

    26 input frames predict the HMM state of the 21st, through 8 × 2560 ReLU.
    """

    kind: Literal["dnn"] = "dnn"
    frontend: FrontendConfig = FrontendConfig(left=20, right=5)
    num_layers: Size = 8
    width: Size = 2560
    dropout: Probability = 0.0
    input_dropout: Probability = 0.0


class TdnnLayerConfig(Config):
    """One TDNN layer: it sees the frames at `offsets` (increasing and evenly spaced)."""

    offsets: tuple[int, ...] = Field(min_length=1)
    width: Size = 160

    @model_validator(mode="after")
    def _evenly_spaced(self) -> Self:
        steps = {b - a for a, b in zip(self.offsets, self.offsets[1:], strict=False)}
        if len(steps) > 1 or any(step <= 0 for step in steps):
            raise ValueError(f"offsets must increase in equal steps, got {list(self.offsets)}")
        return self

    @property
    def dilation(self) -> int:
        """Frames between two offsets."""
        return self.offsets[1] - self.offsets[0] if len(self.offsets) > 1 else 1


def _default_tdnn_layers() -> tuple[TdnnLayerConfig, ...]:
    offsets = [(-2, -1, 0, 1, 2), (-2, 0, 2), (-4, 0, 4), (-6, 0, 6)]
    return tuple(TdnnLayerConfig(offsets=o) for o in offsets)


class TdnnConfig(_Subsampled):
    """Time-delay network: residual connections wherever a layer keeps the width.

    With a `stride` of s the first layer reads every s-th frame, later offsets count in such steps,
    and the output layer predicts s frames at once: s times less work. After `subsampling` offsets
    and stride count its frames. Without offsets above 0 the network is causal.
    """

    _younger = frozenset({"subsampling"})
    kind: Literal["tdnn"] = "tdnn"
    layers: tuple[TdnnLayerConfig, ...] = Field(default_factory=_default_tdnn_layers, min_length=1)
    stride: Size = 1
    dropout: Probability = 0.1


class BlstmConfig(_Subsampled):
    """Bidirectional LSTM; `width` units in each direction.

    With a `stride` of s a step reads s frames and predicts as many: s times fewer steps.
    """

    _younger = frozenset({"subsampling", "stride"})
    kind: Literal["blstm"] = "blstm"
    num_layers: Size = 2
    width: Size = 128
    stride: Size = 1
    dropout: Probability = 0.1


class ConformerConfig(_Subsampled):
    """Conformer (Gulati et al. 2020): attention over the utterance, convolution nearby.

    `feed_forward` is the width of the inner layer in units of `width`; `kernel` the frames that a
    convolution sees. With a `chunk` of so many frames (after subsampling) the model can stream: a
    frame attends to its own chunk, up to whose end it looks ahead, and to `left_chunks` before it;
    convolutions look back only.
    """

    kind: Literal["conformer"] = "conformer"
    subsampling: Subsampling = SubsamplingConfig(factor=4)
    num_layers: Size = 6
    width: Size = 144
    num_heads: Size = 4
    feed_forward: Size = 4
    kernel: Size = 15
    chunk: Size | None = None
    left_chunks: int = Field(default=4, ge=0)
    dropout: Probability = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        faults = []
        if self.width % (2 * self.num_heads):
            faults.append(
                f"width {self.width} is no multiple of 2 × {self.num_heads} heads, whose features "
                f"are turned in pairs"
            )
        if self.chunk is None and self.kernel % 2 == 0:
            faults.append(
                f"kernel {self.kernel} has no middle; take an odd one (or a chunk, with which "
                f"convolutions look back only)"
            )
        if self.chunk is None and "left_chunks" in self.model_fields_set and self.left_chunks != 4:
            faults.append("left_chunks counts chunks: say how long a chunk is")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _number(value: object) -> object:
    if isinstance(value, str):
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError):
            return value  # pydantic's own message says what is expected
    return value


def _unspliced(frontend: FrontendConfig) -> FrontendConfig:
    if frontend.left or frontend.right:
        raise ValueError(
            "a convolution over time sees the neighbouring frames by itself; leave out left and "
            "right"
        )
    return frontend


WidthMultiplier = Annotated[float, BeforeValidator(_number), Field(ge=1 / 64, le=16)]
ImageFrontend = Annotated[FrontendConfig, AfterValidator(_unspliced)]


class VggConfig(Config):
    """VGG of 11, 13, 16 or 19 weight layers over time and frequency; deltas are channels.

    `width_multiplier` (a number or a fraction such as 1/8) scales all channels and units. With a
    `stride` of s the first layer makes one frame of every s, and the output layer predicts s
    frames at once. `dropout` follows the two fully connected layers.
    """

    kind: Literal["vgg"] = "vgg"
    frontend: ImageFrontend = FrontendConfig()
    depth: Literal[11, 13, 16, 19] = 16
    width_multiplier: WidthMultiplier = 1.0
    stride: Size = 1
    dropout: Probability = 0.5


class ResnetConfig(Config):
    """Residual network of 18 or 34 weight layers over time and frequency; deltas are channels.

    `width_multiplier` and `stride` as in `VggConfig`; `dropout` is between a block's convolutions.
    """

    kind: Literal["resnet"] = "resnet"
    frontend: ImageFrontend = FrontendConfig()
    depth: Literal[18, 34] = 18
    width_multiplier: WidthMultiplier = 1.0
    stride: Size = 1
    dropout: Probability = 0.0


ModelConfig = Annotated[
    DnnConfig | TdnnConfig | BlstmConfig | ConformerConfig | VggConfig | ResnetConfig,
    Field(discriminator="kind"),
]


class MemberConfig(Config):
    """A specialist beside its generalist.

    `labels` are the generalist's indices of its special labels. With a `dustbin` its outputs are
    these, in order, and the dustbin; without one they are all labels.
    """

    model: ModelConfig
    labels: tuple[int, ...] = Field(min_length=1)
    dustbin: bool


class SpecialistsConfig(Config):
    """A generalist and its specialists (paper, section 5); made by `combine-specialists`.

    A specialist takes part where one of the generalist's `num_active` most probable labels is
    special to it.
    """

    kind: Literal["specialists"] = "specialists"
    generalist: ModelConfig
    members: tuple[MemberConfig, ...] = Field(min_length=1)
    num_active: Size = 1


AnyModelConfig = Annotated[ModelConfig | SpecialistsConfig, Field(discriminator="kind")]
