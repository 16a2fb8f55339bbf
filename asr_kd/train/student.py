"""What a training trains: the network, and what is thrown away with the training."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from asr_kd.distill.hints import forward_tapped
from asr_kd.models.base import AcousticModel


class StudentOutput(NamedTuple):
    """What the loss is formed of.

    Attributes:
        logits: (B,T,V).
        hidden: of each hint, what the student has to hold against the teacher's layer (B,T',D).
    """

    logits: Tensor
    hidden: list[Tensor]


class Student(nn.Module):
    """The network that is trained, as Fabric wraps it, with the projections of its hints.

    The projections are trained with the network; checkpoints hold the network alone.

    Args:
        network: what is to be had in the end.
        layers: of each hint the network's layer.
        projections: of each hint the module that its output goes through.
    """

    def __init__(
        self,
        network: AcousticModel,
        layers: Sequence[str] = (),
        projections: Sequence[nn.Module] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.layers = list(layers)
        self.projections = nn.ModuleList(projections)

    def forward(self, feats: Tensor, lengths: Tensor) -> StudentOutput:
        """Features (B,T,F) and lengths (B,)."""
        logits, outputs = forward_tapped(self.network, feats, lengths, self.layers)
        pairs = zip(self.layers, self.projections, strict=True)
        return StudentOutput(logits, [projection(outputs[layer]) for layer, projection in pairs])
