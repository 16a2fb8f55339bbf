"""Configuration of the acoustic models: a union discriminated by `kind`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from asr_kd.config import Config

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Size = Annotated[int, Field(ge=1)]


class FrontendConfig(Config):
    """What a model does to its input before its first layer.

    `delta_order` 2 appends deltas and delta-deltas (regression over ±`delta_window` frames);
    `left` and `right` splice neighbouring frames onto each frame.
    """

    delta_order: int = Field(default=0, ge=0, le=3)
    delta_window: int = Field(default=2, ge=1)
    left: int = Field(default=0, ge=0)
    right: int = Field(default=0, ge=0)


class DnnConfig(Config):
    """Spliced feed-forward network; the defaults are those of the paper (section 3).

    26 input frames predict the HMM state of the 21st, through 8 × 2560 ReLU.
    """

    kind: Literal["dnn"] = "dnn"
    frontend: FrontendConfig = FrontendConfig(left=20, right=5)
    num_layers: Size = 8
    width: Size = 2560
    dropout: Probability = 0.0


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


class TdnnConfig(Config):
    """Time-delay network: residual connections wherever a layer keeps the width.

    With a `stride` of s the first layer reads every s-th frame, later offsets count in such steps,
    and the output layer predicts s frames at once: s times less work.
    """

    kind: Literal["tdnn"] = "tdnn"
    frontend: FrontendConfig = FrontendConfig()
    layers: tuple[TdnnLayerConfig, ...] = Field(default_factory=_default_tdnn_layers, min_length=1)
    stride: Size = 1
    dropout: Probability = 0.1


class BlstmConfig(Config):
    """Bidirectional LSTM; `width` units in each direction."""

    kind: Literal["blstm"] = "blstm"
    frontend: FrontendConfig = FrontendConfig()
    num_layers: Size = 2
    width: Size = 128
    dropout: Probability = 0.1


ModelConfig = Annotated[DnnConfig | TdnnConfig | BlstmConfig, Field(discriminator="kind")]
