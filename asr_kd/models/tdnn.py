"""Time-delay neural network."""

from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig


class TdnnLayer(nn.Module):
    """Dilated convolution over time, LayerNorm, ReLU, dropout; residual where widths match.

    LayerNorm works on each frame by itself: it knows neither padding nor other processes.
    """

    def __init__(self, config: TdnnLayerConfig, input_width: int, dropout: float) -> None:
        super().__init__()
        self.offsets = config.offsets
        # A 2-d convolution of height 1 over channels-last memory, which (B,T,D) already is:
        # 10 to 20% faster on the CPU than conv1d or than a linear layer over stacked shifts.
        self.conv = nn.Conv2d(
            input_width, config.width, (1, len(config.offsets)), dilation=(1, config.dilation)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(dropout)
        self.residual = input_width == config.width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B,T,D) with zeros on padding -> (B,T,width) with zeros on padding."""
        first, last = self.offsets[0], self.offsets[-1]
        left, right = max(-first, 0), max(last, 0)
        context = functional.pad(x, (0, 0, left, right))
        context = context[:, left + first : left + last + x.shape[1]]
        y = self.conv(context.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        y = self.dropout(functional.relu(self.norm(y)))
        if self.residual:
            y = x + y
        masked: Tensor = y * mask
        return masked


class Tdnn(AcousticModel):
    """A stack of TDNN layers and an output layer. Beyond an utterance's edges there are zeros."""

    def __init__(self, config: TdnnConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        widths = [self.frontend.output_dim, *(layer.width for layer in config.layers)]
        self.layers = nn.ModuleList(
            TdnnLayer(layer, width, config.dropout)
            for layer, width in zip(config.layers, widths, strict=False)
        )
        self.output = nn.Linear(widths[-1], num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        x = x * mask
        for layer in self.layers:
            x = layer(x, mask)
        logits: Tensor = self.output(x)
        return logits
