"""Residual networks of basic blocks (He et al. 2016), 18 and 34 layers, over time and frequency."""

from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.config import ResnetConfig
from asr_kd.models.images import ConvLayer, scaled
from asr_kd.models.time_frequency import ImageModel

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_CHANNELS = (64, 128, 256, 512)


class Stem(nn.Module):
    """A 7×7 convolution and a pooling; each takes every other band."""

    def __init__(self, in_channels: int, channels: int, time_stride: int) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, channels, 7, band_stride=2, time_stride=time_stride)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F), zeros on padding; mask (B,T',1) of its output -> (B,C',T',⌈F/4⌉)."""
        return functional.max_pool2d(self.conv(x, mask), (1, 3), (1, 2), (0, 1))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; dropout between them.

    The shortcut is the identity; a 1×1 convolution where channels or bands change (the paper's
    option B).
    """

    def __init__(self, in_channels: int, channels: int, band_stride: int, dropout: float) -> None:
        super().__init__()
        self.first = ConvLayer(in_channels, channels, band_stride=band_stride)
        self.second = ConvLayer(channels, channels, relu=False)
        self.dropout = nn.Dropout(dropout)
        self.shortcut: ConvLayer | None = None
        if band_stride != 1 or in_channels != channels:
            self.shortcut = ConvLayer(in_channels, channels, 1, band_stride, relu=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F), zeros on padding; mask (B,T,1) -> (B,C',T,⌈F/band_stride⌉)."""
        y = self.second(self.dropout(self.first(x, mask)), mask)
        if self.shortcut is not None:
            x = self.shortcut(x, mask)
        return (x + y).relu_()


class Resnet(ImageModel):
    """Stem, four stages of basic blocks, the mean over the bands, the output layer.

    As published but for two things: strides are over frequency only, so that every frame keeps
    its own output; and the norm is that of `images`. `layers` are the stem and the blocks
    in order of depth.
    """

    def __init__(self, config: ResnetConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.stride = config.stride
        widths = [scaled(published, config.width_multiplier) for published in _CHANNELS]
        self.layers = nn.ModuleList(
            [Stem(config.frontend.delta_order + 1, widths[0], config.stride)]
        )
        channels = widths[0]
        for stage, (repeats, wider) in enumerate(zip(_STAGES[config.depth], widths, strict=True)):
            for k in range(repeats):
                band_stride = 2 if stage and k == 0 else 1
                self.layers.append(BasicBlock(channels, wider, band_stride, config.dropout))
                channels = wider
        self.output = nn.Linear(channels, config.stride * num_labels)

    def pooled(self, x: Tensor) -> Tensor:
        """The mean over the bands: (B,C,T',F') -> (B,T',C)."""
        return x.mean(3).transpose(1, 2)
