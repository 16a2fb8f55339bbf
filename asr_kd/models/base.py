"""The interface of every acoustic model."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from asr_kd.errors import InputError
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    ModelConfig,
    SubsamplingConfig,
    TdnnConfig,
)
from asr_kd.models.frontend import Frontend, length_mask
from asr_kd.models.stages import Stage
from asr_kd.models.subsampling import Subsampler, reduced


class AcousticModel(nn.Module, ABC):
    """`(feats (B,T,F), lengths (B,)) -> (logits (B,T',V), lengths (B,))`.

    Logits on valid frames, and their gradients, depend neither on the padding nor on the other
    rows of the batch. `lengths` are at least 1. `output` is the last layer, with a bias.

    Attributes:
        subsampling: frames of features for each frame of logits: T' = ⌈T/subsampling⌉, and the
            lengths returned are ⌈lengths/subsampling⌉.
        input_width: D of the frames that `encode` gets.
    """

    output: nn.Linear
    subsampling: int = 1

    def __init__(self, config: ModelConfig, input_dim: int, num_labels: int) -> None:
        super().__init__()
        self.config: AnyModelConfig = config
        self.input_dim = input_dim
        self.num_labels = num_labels
        self.frontend = Frontend(config.frontend, input_dim)
        self.input_width = self.frontend.output_dim
        self.subsampler: Subsampler | None = None
        settings = SubsamplingConfig()
        if isinstance(config, TdnnConfig | BlstmConfig | ConformerConfig):
            settings = config.subsampling
        if settings.factor > 1:  # without it models are what they were before there was any
            self.subsampler = Subsampler(settings, self.input_width, input_dim)
            self.subsampling, self.input_width = settings.factor, settings.width

    @abstractmethod
    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Frames (B,T',D) at the rate of the logits, their mask (B,T',1) -> logits (B,T',V)."""

    def forward(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every frame, and the number of valid ones in each row."""
        x = self.frontend(feats, lengths)
        mask = length_mask(lengths, feats.shape[1])[:, :, None].to(feats.dtype)
        if self.subsampler is not None:
            x = self.subsampler(x, mask)
            mask, lengths = mask[:, :: self.subsampling], reduced(lengths, self.subsampling)
        return self.encode(x, lengths, mask), lengths

    def stages(self) -> list[Stage]:
        """All but the output layer, as parts of bounded context: for `latency` and `Stream`.

        Raises:
            InputError: for a model whose context is not bounded, with the reason.
        """
        hidden = self.hidden_stages()
        before = [self.frontend.stage()]
        if self.subsampler is not None:
            before.append(self.subsampler.stage())
        return before + hidden

    def hidden_stages(self) -> list[Stage]:
        """The stages between the input of `encode` and the output layer; see `stages`."""
        raise InputError(
            f"a {self.config.kind} cannot stream; models that can: dnn, tdnn, and conformer with "
            f"model.chunk"
        )

    def blocks(self) -> list[tuple[str, ...]]:
        """The layers in order, for a student that starts from some of them: names of submodules.

        A block of several modules is taken or left as a whole.
        """
        layers = self.get_submodule("layers").named_children()
        return [(f"layers.{name}",) for name, layer in layers if list(layer.parameters())]

    def in_time_order(self, layer: str, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Output (B,T',D) of the submodule `layer`, its frames in the order of time.

        `lengths` (B,) are those of the features.
        """
        return hidden

    @torch.no_grad()
    def shift_logits(self, offsets: Tensor) -> None:
        """Adds an offset (V,) to the logit of each label on every frame, by the output's bias."""
        bias = self.output.bias.view(-1, self.num_labels)  # a row for each frame that it predicts
        bias += offsets.to(bias)

    @property
    def num_params(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())
