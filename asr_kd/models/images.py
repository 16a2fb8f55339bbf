"""What convolutional models share: images (B,C,T,F) of time by frequency, safe from padding.

Every layer normalises a frame over its own channels and bands, as LayerNorm does. BatchNorm's
statistics would run over the other rows and their padding, and in use they would be others than
in training: the logits of an utterance would depend on its company.
"""

import math

import torch
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
        self.kernel = (kernel + time_stride - 1, kernel)
        self.strides = (time_stride, band_stride)
        self.relu = relu
        # A matrix over patches, as of any hidden layer, so that Muon trains it. Its bias is not
        # idle before the norm: it is what tells a loud frame from a quiet one.
        self.affine = nn.Linear(math.prod(self.kernel) * in_channels, channels)
        self.gain = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.affine.weight, nonlinearity="relu")
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Image (B,C,T,F), zeros on padding; mask (B,T',1) of its output -> (B,C',T',F')."""
        short = -x.shape[2] % self.strides[0]  # frames that the last block lacks
        if short:
            x = functional.pad(x, (0, 0, 0, short))
        kernel = self.affine.weight.unflatten(1, (*self.kernel, -1)).permute(0, 3, 1, 2)
        side = self.kernel[1] // 2
        image = functional.conv2d(x, kernel, self.affine.bias, self.strides, side)
        frames = image.permute(0, 2, 3, 1)
        shape = [int(size) for size in frames.shape[2:]]  # constants of an exported program
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
