"""What convolutional models over time and frequency share."""

from torch import Tensor, nn

from asr_kd.models.base import AcousticModel
from asr_kd.models.images import to_image


class ImageModel(AcousticModel):
    """A stack of `layers` over an image, and the output layer on each of its frames."""

    stride: int
    layers: nn.ModuleList

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        num_frames = x.shape[1]
        x = to_image(x * mask, self.input_dim)
        mask = mask[:, :: self.stride]  # a block of frames is valid where its first one is
        for layer in self.layers:
            x = layer(x, mask)
        logits: Tensor = self.output(self.pooled(x))
        return logits.reshape(x.shape[0], -1, self.num_labels)[:, :num_frames]

    def pooled(self, x: Tensor) -> Tensor:
        """What the last layer puts out -> frames (B,T',D)."""
        return x
