"""Bidirectional LSTM."""

import torch
from torch import Tensor, nn

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import BlstmConfig


class Blstm(AcousticModel):
    """LSTM layers in both directions.

    The backward direction reads each row reversed within its own length, so that padding follows
    the valid frames in both directions and cannot reach them. (Packed sequences do the same, but
    train much slower on the CPU.)
    """

    def __init__(self, config: BlstmConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        widths = [self.input_width] + [2 * config.width] * (config.num_layers - 1)
        self.ahead = nn.ModuleList(nn.LSTM(w, config.width, batch_first=True) for w in widths)
        self.back = nn.ModuleList(nn.LSTM(w, config.width, batch_first=True) for w in widths)
        # Both directions side by side: nothing to train, but a layer that a hint can name.
        self.layers = nn.ModuleList(nn.Identity() for _ in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * config.width, num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        reversal = _reversal(lengths, x.shape[1])
        for ahead, back, layer in zip(self.ahead, self.back, self.layers, strict=True):
            past = ahead(x)[0]
            future = _reorder(back(_reorder(x, reversal))[0], reversal)
            x = self.dropout(layer(torch.cat([past, future], 2)))
        logits: Tensor = self.output(x)
        return logits

    def blocks(self) -> list[tuple[str, ...]]:
        """See `AcousticModel.blocks`: both directions of a layer belong together."""
        return [(f"ahead.{k}", f"back.{k}") for k in range(len(self.ahead))]

    def in_time_order(self, layer: str, hidden: Tensor, lengths: Tensor) -> Tensor:
        """See `AcousticModel.in_time_order`; `back` works on reversed rows."""
        if not layer.startswith("back."):
            return hidden
        return _reorder(hidden, _reversal(lengths, hidden.shape[1]))


def _reversal(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,T) indices that turn the valid frames of each row round; padding stays where it is."""
    at = torch.arange(num_frames, device=lengths.device)[None]
    turned = lengths[:, None] - 1 - at
    return torch.where(turned >= 0, turned, at)


def _reorder(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
