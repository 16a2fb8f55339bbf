"""VGG (Simonyan & Zisserman 2015), its configurations A, B, D and E, over time and frequency."""

from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.config import VggConfig
from asr_kd.models.images import ConvLayer, scaled, to_frames
from asr_kd.models.time_frequency import ImageModel

_STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)
_UNITS = 4096  # of the two fully connected layers


class VggLayer(nn.Module):
    """A 3×3 convolution; the last one of a stage takes the larger of every two bands.

    An odd band out stays: no number of bands is too small for five stages.
    """

    def __init__(self, in_channels: int, channels: int, time_stride: int, pool: bool) -> None:
        super().__init__()
        self.conv = ConvLayer(in_channels, channels, time_stride=time_stride)
        self.pool = pool

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F), zeros on padding; mask (B,T',1) of its output -> (B,C',T',F')."""
        x = self.conv(x, mask)
        if self.pool:
            x = functional.max_pool2d(x, (1, 2), ceil_mode=True)
        return x


class FullyConnected(nn.Module):
    """Affine map of each frame (all channels and bands of an image), ReLU, dropout."""

    def __init__(self, in_width: int, width: int, dropout: float) -> None:
        super().__init__()
        self.affine = nn.Linear(in_width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.kaiming_normal_(self.affine.weight, nonlinearity="relu")
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F) or frames (B,T,D) -> (B,T,width), zeros on padding."""
        frames = to_frames(x) if x.ndim == 4 else x
        y: Tensor = self.dropout(functional.relu(self.affine(frames))) * mask
        return y


class Vgg(ImageModel):
    """Five stages of 3×3 convolutions, two fully connected layers for each frame, the output.

    As published but for three things: pooling halves the bands only, so that every frame keeps
    its own output; each convolution is followed by a norm (see `images`), without which
    19 layers hardly train from scratch; the fully connected layers see one frame of the last
    image. `layers` are the weight layers in order of depth, all but `output`.
    """

    def __init__(self, config: VggConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.stride = config.stride
        self.layers = nn.ModuleList()
        channels, num_bands = config.frontend.delta_order + 1, input_dim
        for repeats, published in zip(_STAGES[config.depth], _CHANNELS, strict=True):
            wider = scaled(published, config.width_multiplier)
            for k in range(repeats):
                stride = 1 if self.layers else config.stride
                self.layers.append(VggLayer(channels, wider, stride, pool=k == repeats - 1))
                channels = wider
            num_bands = (num_bands + 1) // 2
        units = scaled(_UNITS, config.width_multiplier)
        for width in (channels * num_bands, units):
            self.layers.append(FullyConnected(width, units, config.dropout))
        self.output = nn.Linear(units, config.stride * num_labels)
