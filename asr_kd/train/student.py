"""What a training trains: the network, and what is thrown away with the training."""

from typing import NamedTuple

from torch import Tensor, nn

from asr_kd.models.base import AcousticModel


class StudentOutput(NamedTuple):
    """What the loss is formed of.

    Attributes:
        logits: (B,T,V).
        hidden: of each hint, what the student has to hold against the teacher's layer.
    """

    logits: Tensor
    hidden: list[Tensor]


class Student(nn.Module):
    """The network that is trained, as Fabric wraps it."""

    def __init__(self, network: AcousticModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, feats: Tensor, lengths: Tensor) -> StudentOutput:
        """Features (B,T,F) and lengths (B,)."""
        logits, _ = self.network(feats, lengths)
        return StudentOutput(logits, [])
