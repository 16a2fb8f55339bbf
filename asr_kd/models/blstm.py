"""Bidirectional LSTM."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import BlstmConfig
from asr_kd.models.subsampling import reduced


class Blstm(AcousticModel):
    """LSTM layers in both directions.

    The backward direction reads each row reversed within its own length, so that padding follows
    the valid frames in both directions and cannot reach them. (Packed sequences do the same, but
    train much slower on the CPU.) With a stride it reads and predicts several frames at once.
    """

    def __init__(self, config: BlstmConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.stride = config.stride
        rest = [2 * config.width] * (config.num_layers - 1)
        widths = [self.stride * self.input_width, *rest]
        self.ahead = nn.ModuleList(nn.LSTM(w, config.width, batch_first=True) for w in widths)
        self.back = nn.ModuleList(nn.LSTM(w, config.width, batch_first=True) for w in widths)
        # Both directions side by side: nothing to train, but a layer that a hint can name.
        self.layers = nn.ModuleList(nn.Identity() for _ in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * config.width, self.stride * num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        num_frames = x.shape[1]
        x = self._in_blocks(x * mask)
        reversal = _reversal(reduced(lengths, self.stride), x.shape[1])
        for ahead, back, layer in zip(self.ahead, self.back, self.layers, strict=True):
            past = ahead(x)[0]
            future = _reorder(back(_reorder(x, reversal))[0], reversal)
            x = self.dropout(layer(torch.cat([past, future], 2)))
        logits: Tensor = self.output(x)
        return logits.reshape(x.shape[0], -1, self.num_labels)[:, :num_frames]

    def _in_blocks(self, x: Tensor) -> Tensor:
        """(B,T,D) -> (B,⌈T/stride⌉,stride·D), zeros behind the last frame."""
        x = functional.pad(x, (0, 0, 0, -x.shape[1] % self.stride))
        return x.reshape(x.shape[0], -1, self.stride * x.shape[2])

    def blocks(self) -> list[tuple[str, ...]]:
        """See `AcousticModel.blocks`: both directions of a layer belong together."""
        return [(f"ahead.{k}", f"back.{k}") for k in range(len(self.ahead))]

    def in_time_order(self, layer: str, hidden: Tensor, lengths: Tensor) -> Tensor:
        """See `AcousticModel.in_time_order`; `back` works on reversed rows."""
        if not layer.startswith("back."):
            return hidden
        steps = reduced(reduced(lengths, self.subsampling), self.stride)
        return _reorder(hidden, _reversal(steps, hidden.shape[1]))


def _reversal(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,T) indices that turn the valid frames of each row round; padding stays where it is."""
    at = torch.arange(num_frames, device=lengths.device)[None]
    turned = lengths[:, None] - 1 - at
    return torch.where(turned >= 0, turned, at)


def _reorder(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))
