"""The interface of every acoustic model."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from asr_kd.models.config import AnyModelConfig, ModelConfig
from asr_kd.models.frontend import Frontend, length_mask


class AcousticModel(nn.Module, ABC):
    """`(feats (B,T,F), lengths (B,)) -> (logits (B,T',V), lengths (B,))`.

    Logits on valid frames, and their gradients, depend neither on the padding nor on the other
    rows of the batch. `lengths` are at least 1. `output` is the last layer, with a bias.
    """

    output: nn.Linear

    def __init__(self, config: ModelConfig, input_dim: int, num_labels: int) -> None:
        super().__init__()
        self.config: AnyModelConfig = config
        self.input_dim = input_dim
        self.num_labels = num_labels
        self.frontend = Frontend(config.frontend, input_dim)

    @abstractmethod
    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Front-end output (B,T,D), mask (B,T,1) of 0 and 1 -> logits (B,T,V)."""

    def forward(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every frame, and the number of valid ones in each row."""
        mask = length_mask(lengths, feats.shape[1])[:, :, None].to(feats.dtype)
        return self.encode(self.frontend(feats, lengths), lengths, mask), lengths

    def blocks(self) -> list[tuple[str, ...]]:
        """The layers in order, for a student that starts from some of them: names of submodules.

        A block of several modules is taken or left as a whole.
        """
        layers = self.get_submodule("layers").named_children()
        return [(f"layers.{name}",) for name, layer in layers if list(layer.parameters())]

    def in_time_order(self, layer: str, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Output (B,T',D) of the submodule `layer`, its frames in the order of time."""
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
