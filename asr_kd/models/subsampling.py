"""The frame rate is divided before a network's first layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr_kd.models.config import SubsamplingConfig
from asr_kd.models.images import ConvLayer, to_frames, to_image
from asr_kd.models.stages import Stage


def reduced(lengths: Tensor, factor: int) -> Tensor:
    """(B,) numbers of frames -> (B,) numbers of frames after subsampling, rounded up."""
    return torch.div(lengths + factor - 1, factor, rounding_mode="floor")


class Subsampler(nn.Module):
    """(B,T,D) -> (B,⌈T/factor⌉,width), see `SubsamplingConfig`. Beyond the edges there are zeros.

    Args:
        config: how; its factor is at least 2.
        input_width: D.
        num_bands: F, of which D is a multiple: deltas are channels of a convolution.
    """

    def __init__(self, config: SubsamplingConfig, input_width: int, num_bands: int) -> None:
        super().__init__()
        self.factor = config.factor
        self.num_bands = num_bands
        self.layers = nn.ModuleList()
        if config.kind == "conv":
            channels = input_width // num_bands
            for _ in range(config.factor.bit_length() - 1):
                layer = ConvLayer(channels, config.channels, band_stride=2, time_stride=2)
                self.layers.append(layer)
                channels, num_bands = config.channels, (num_bands + 1) // 2
            self.affine = nn.Linear(channels * num_bands, config.width)
        else:
            self.affine = nn.Linear(config.factor * input_width, config.width)
        self.norm = nn.LayerNorm(config.width)

    def extra_repr(self) -> str:
        """What its weights do not tell."""
        return f"factor={self.factor}"

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B,T,D), mask (B,T,1) of 0 and 1 -> (B,⌈T/factor⌉,width).

        An output frame is valid where the first of its input frames is: `mask[:, ::factor]`. What
        stands on others is finite but meaningless.
        """
        x = x * mask
        if self.layers:
            x = to_image(x, self.num_bands)
            for k, layer in enumerate(self.layers, start=1):
                x = layer(x, mask[:, :: 2**k])
            x = to_frames(x)
        else:
            short = -x.shape[1] % self.factor  # frames that the last block lacks
            if short:
                x = functional.pad(x, (0, 0, 0, short))
            x = x.reshape(x.shape[0], -1, self.factor * x.shape[2])
        y: Tensor = functional.relu(self.norm(self.affine(x)))
        return y

    def stage(self) -> Stage:
        """Its context; of convolutions one frame a side, in frames of each."""
        context = self.factor - 1 if self.layers else 0

        def run(x: Tensor) -> Tensor:
            return self(x, x.new_ones(1, x.shape[1], 1))

        return Stage(run, context, context, self.factor, self.factor)
