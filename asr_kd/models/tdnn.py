"""Time-delay neural network."""

from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.models.stages import Stage


class TdnnLayer(nn.Module):
    """Affine map of the frames at some offsets, LayerNorm, ReLU, dropout.

    With a residual connection where neither width nor frame rate changes. LayerNorm works on each
    frame by itself: it knows neither padding nor other processes.

    Args:
        config: offsets and width.
        input_width: D.
        dropout: probability.
        stride: one output frame for so many input frames.
    """

    def __init__(
        self, config: TdnnLayerConfig, input_width: int, dropout: float, stride: int = 1
    ) -> None:
        super().__init__()
        self.offsets = config.offsets
        self.dilation = config.dilation
        self.stride = stride
        self.affine = nn.Linear(len(config.offsets) * input_width, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(dropout)
        self.residual = input_width == config.width and stride == 1

    def extra_repr(self) -> str:
        """What its weights do not tell."""
        return f"offsets={list(self.offsets)}, stride={self.stride}"

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B,T,D) with zeros on padding -> (B,⌈T/stride⌉,width) with zeros on padding."""
        y = self.dropout(functional.relu(self.norm(self._affine(x))))
        if self.residual:
            y = x + y
        masked: Tensor = y * mask
        return masked

    def stage(self) -> Stage:
        """Its context."""

        def run(x: Tensor) -> Tensor:
            return self(x, x.new_ones(1, -(-x.shape[1] // self.stride), 1))

        left, right = max(-self.offsets[0], 0), max(self.offsets[-1] + 1 - self.stride, 0)
        return Stage(run, left, right, self.stride, self.stride)

    def _affine(self, x: Tensor) -> Tensor:
        num_frames = x.shape[1]
        first, last = self.offsets[0], self.offsets[-1]
        left, right = max(-first, 0), max(last, 0) + self.stride - 1
        context = functional.pad(x, (0, 0, left, right))
        num_outputs = (num_frames + self.stride - 1) // self.stride
        end = left + last + (num_outputs - 1) * self.stride + 1
        context = context[:, left + first : end].transpose(1, 2).unsqueeze(2)
        # A 2-d convolution of height 1 over channels-last memory, which (B,T,D) already is:
        # Faster on the CPU than conv1d or than a product with stacked shifts.
        kernel = self.affine.weight.unflatten(1, (len(self.offsets), -1))
        kernel = kernel.transpose(1, 2).unsqueeze(2)
        y = functional.conv2d(
            context, kernel, self.affine.bias, (1, self.stride), dilation=(1, self.dilation)
        )
        return y.squeeze(2).transpose(1, 2)


class Tdnn(AcousticModel):
    """A stack of TDNN layers and an output layer. Beyond an utterance's edges there are zeros."""

    def __init__(self, config: TdnnConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        widths = [self.input_width, *(layer.width for layer in config.layers)]
        self.stride = config.stride
        self.layers = nn.ModuleList(
            TdnnLayer(layer, width, config.dropout, config.stride if k == 0 else 1)
            for k, (layer, width) in enumerate(zip(config.layers, widths, strict=False))
        )
        self.output = nn.Linear(widths[-1], config.stride * num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        num_frames = x.shape[1]
        x = x * mask
        mask = mask[:, :: self.stride]  # a block of frames is valid where its first one is
        for layer in self.layers:
            x = layer(x, mask)
        logits: Tensor = self.output(x)
        return logits.reshape(x.shape[0], -1, self.num_labels)[:, :num_frames]

    def hidden_stages(self) -> list[Stage]:
        """See `AcousticModel.hidden_stages`."""
        return [layer.stage() for layer in self.layers if isinstance(layer, TdnnLayer)]
