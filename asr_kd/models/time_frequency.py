"""What convolutional models share: images (B,C,T,F) of time by frequency, safe from padding.

Every layer normalises a frame over its own channels and bands, as LayerNorm does. BatchNorm's
statistics would run over the other rows and their padding, and in use they would be others than
in training: the logits of an utterance would depend on its company.
"""

from torch import Tensor, nn
from torch.nn import functional


class ConvLayer(nn.Module):
    """Convolution over time and frequency, normalisation of each frame, ReLU.

    With a time stride of s the kernel sees a block of s frames and `kernel // 2` more on each
    side. Beyond the edges of time and frequency there are zeros.

    Args:
        in_channels, channels: C before and after.
        kernel: bands, and at stride 1 frames, that it sees; odd.
        band_stride: one output band for so many input bands.
        time_stride: one output frame for so many input frames.
        relu: whether negative outputs become 0; not where a shortcut is added first.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        band_stride: int = 1,
        time_stride: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.time_stride = time_stride
        self.relu = relu
        # The bias is not idle before this norm: it is what tells a loud frame from a quiet one.
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            (kernel + time_stride - 1, kernel),
            (time_stride, band_stride),
            padding=kernel // 2,
        )
        self.gain = nn.Parameter(self.conv.weight.new_ones(channels))
        self.offset = nn.Parameter(self.conv.weight.new_zeros(channels))
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F), zeros on padding; mask (B,T',1) of its output -> (B,C',T',F')."""
        short = -x.shape[2] % self.time_stride  # frames that the last block lacks
        if short:
            x = functional.pad(x, (0, 0, 0, short))
        frames = self.conv(x).permute(0, 2, 3, 1)
        shape = frames.shape[2:]
        frames = functional.layer_norm(
            frames, shape, self.gain.expand(shape), self.offset.expand(shape)
        )
        # In place on what the norm's gradient does not need.
        frames = frames.mul_(mask[..., None])
        if self.relu:
            frames = frames.relu_()
        return frames.permute(0, 3, 1, 2)


def to_image(x: Tensor, num_bands: int) -> Tensor:
    """(B,T,C·F) -> (B,C,T,F): deltas are channels. Channels-last: convolutions run faster on it."""
    return x.unflatten(2, (-1, num_bands)).permute(0, 1, 3, 2).contiguous().permute(0, 3, 1, 2)


def to_frames(image: Tensor) -> Tensor:
    """(B,C,T,F) -> (B,T,F·C)."""
    return image.permute(0, 2, 3, 1).flatten(2)


def scaled(channels: int, width_multiplier: float) -> int:
    """The published number of channels (or units) times the multiplier, at least 1."""
    return max(1, round(channels * width_multiplier))
