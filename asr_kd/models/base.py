"""The interface of every acoustic model."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from asr_kd.models.config import BlstmConfig, DnnConfig, TdnnConfig
from asr_kd.models.frontend import Frontend, length_mask


class AcousticModel(nn.Module, ABC):
    """`(feats (B,T,F), lengths (B,)) -> (logits (B,T',V), lengths (B,))`.

    Logits on valid frames, and their gradients, depend neither on the padding nor on the other
    rows of the batch. `lengths` are at least 1.
    """

    def __init__(
        self, config: DnnConfig | TdnnConfig | BlstmConfig, input_dim: int, num_labels: int
    ) -> None:
        super().__init__()
        self.config = config
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

    @property
    def num_params(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters())
