"""A generalist and its specialists as one acoustic model (paper, section 5.4).

It is decoded, averaged, distilled and evaluated as any other model is; only trained it cannot be.
"""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.config import SpecialistsConfig
from asr_kd.models.consensus import consensus, floored
from asr_kd.models.frontend import length_mask


class Specialists(AcousticModel):
    """The distribution nearest to the generalist's and to those of the specialists that matter.

    On each frame a specialist matters if one of the generalist's `num_active` most probable labels
    is special to it. Where none does, the generalist's word stands.

    Args:
        config: whose members say which labels are special to each specialist.
        generalist: over all V labels.
        specialists: in the order of the configuration's members. One with a dustbin has its
            special labels and then the dustbin; one without has all V.
        num_labels: V.
    """

    config: SpecialistsConfig
    special: Tensor
    outside: Tensor

    def __init__(
        self,
        config: SpecialistsConfig,
        generalist: AcousticModel,
        specialists: Sequence[AcousticModel],
        num_labels: int,
    ) -> None:
        nn.Module.__init__(self)  # not the base's: front end and output layer are the parts'
        self.config = config
        self.input_dim = generalist.input_dim
        self.num_labels = num_labels
        self.subsampling = generalist.subsampling
        self.generalist = generalist
        self.specialists = nn.ModuleList(specialists)
        # Known under its own name only: weights are stored once.
        self.__dict__["frontend"] = generalist.frontend
        special = torch.zeros(len(specialists), num_labels, dtype=torch.bool)
        for row, member in zip(special, config.members, strict=True):
            row[list(member.labels)] = True
        binned = torch.tensor([member.dustbin for member in config.members], dtype=torch.bool)
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("outside", ~special & binned[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities as logits, and the number of valid frames in each row."""
        logits, counts = self.generalist(feats, lengths)
        log_post = logits.double().log_softmax(-1)
        valid = length_mask(counts, logits.shape[1])
        mass = floored(log_post[valid])  # (N,V)
        active = self._active(mass)
        dust = mass.new_zeros(active.shape)
        for m, (specialist, member) in enumerate(
            zip(self.specialists, self.config.members, strict=True)
        ):
            heard = active[:, m]
            if not bool(heard.any()):
                continue
            places = torch.zeros_like(valid)
            places[valid] = heard
            said = self._ask(specialist, feats, lengths, counts, places)
            if member.dustbin:
                dust[heard, m] = said[:, -1]
                said = said.new_zeros(len(said), self.num_labels).index_copy(
                    1, torch.tensor(member.labels, device=said.device), said[:, :-1]
                )
            mass[heard] += said
        contested = active.any(1)
        binned = self.outside.any(1)  # a specialist of all labels has no dustbin
        places = torch.zeros_like(valid)
        places[valid] = contested
        joined = consensus(mass[contested], dust[contested][:, binned], self.outside[binned])
        log_post[places] = joined
        return log_post.to(torch.promote_types(logits.dtype, torch.float32)), counts

    def _ask(
        self, specialist: nn.Module, feats: Tensor, lengths: Tensor, counts: Tensor, places: Tensor
    ) -> Tensor:
        """Probabilities (n,L) of a specialist on the frames marked in `places` (B,T')."""
        rows = places.any(1)  # the other utterances it need not hear
        logits, found = specialist(feats[rows], lengths[rows])
        if not torch.equal(found, counts[rows]):
            raise InputError("a specialist has another number of frames than its generalist")
        return floored(logits[places[rows]].double().log_softmax(-1))

    def _active(self, own: Tensor) -> Tensor:
        """(N,M) bool: specialists to which one of the most probable labels is special."""
        most = min(self.config.num_active, self.num_labels)
        top = own.topk(most, dim=1).indices
        return self.special[:, top].any(2).T

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Never called: `forward` asks the parts."""
        raise NotImplementedError

    def shift_logits(self, offsets: Tensor) -> NoReturn:
        """Refuses: InputError."""
        raise InputError(
            "a generalist with specialists has no biases of its own; shift those of the generalist "
            "and combine again"
        )

    def blocks(self) -> NoReturn:
        """Refuses: InputError."""
        raise InputError(
            "a generalist with specialists has no layers to start a student from; take the "
            "generalist's"
        )
