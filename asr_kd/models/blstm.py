"""Bidirectional LSTM."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import BlstmConfig


class Blstm(AcousticModel):
    """LSTM layers in both directions over packed sequences.

    Packing lets the backward direction of every row start at its own last valid frame.
    """

    def __init__(self, config: BlstmConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.lstm = nn.LSTM(
            self.frontend.output_dim,
            config.width,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * config.width, num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=x.shape[1]
        )
        logits: Tensor = self.output(self.dropout(hidden))
        return logits
