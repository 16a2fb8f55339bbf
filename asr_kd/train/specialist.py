"""Training a specialist: its labels, the frames that count, the start, the correction at the end.

All of it is taken from the generalist's checkpoint, a cluster of its labels and the alignment; the
loop does with a specialist what it does with any model.
"""

import logging
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr_kd.distill.clusters import Clusters
from asr_kd.distill.initialise import Initialisation
from asr_kd.distill.loss import soft_cross_entropy
from asr_kd.distill.specialist import keep_chances, narrow_output, rest_offset, rest_targets
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.specialist import is_specialist, specialist_labels
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.train.config import SpecialistConfig, TrainConfig
from asr_kd.train.dataset import AlignedData, Batch
from asr_kd.train.objective import HardLabels, Objective, counted_logits
from asr_kd.train.selection import FrameSelection
from asr_kd.train.student import StudentOutput

_FIT_UTTERANCES = 100
_logger = logging.getLogger("asr_kd.train")


@dataclass(frozen=True)
class Specialty:
    """What a specialist is about.

    Attributes:
        label_set: its own: the special labels and a dustbin, or with soft targets all V.
        special: (V,) bool, the special ones among the generalist's labels.
        new_labels: (V,) what each of the generalist's labels is to the specialist.
        chances, dev_chances: how probably a special frame counts, and another one.
    """

    label_set: LabelSet
    special: NDArray[np.bool_]
    new_labels: NDArray[np.int32]
    chances: tuple[float, float]
    dev_chances: tuple[float, float]

    @classmethod
    def open(
        cls, cluster: str, config: SpecialistConfig, data: AlignedData, dev: AlignedData
    ) -> "Specialty":
        """Reads a cluster and holds it against the data.

        Args:
            cluster: `DIR:NUMBER`, output of `cluster-labels` and a number from 1.
            config: share of special frames, and what becomes of the rest.
            data, dev: with the generalist's labels.

        Raises:
            InputError: for a cluster that is not there, is of other labels, or has no frames.
        """
        clusters, number = Clusters.open(cluster)
        clusters.label_set.require_same(data.label_set, cluster, str(data.ali_dir))
        special = np.zeros(len(data.label_set), dtype=bool)
        special[list(clusters.members[number - 1])] = True
        faults = []
        counts = []
        for part in (data, dev):
            frames = sum(int(special[part.pdf_ids(k)].sum()) for k in range(len(part)))
            counts.append((frames, int(part.num_frames.sum()) - frames))
            if frames in (0, int(part.num_frames.sum())):
                names = ", ".join(clusters.names(number))
                faults.append(
                    f"{cluster}: {part.ali_dir} has {'no frame' if not frames else 'frames only'} "
                    f"of its labels: {names}"
                )
        if faults:
            raise InputError(faults)
        chances, dev_chances = (
            keep_chances(inside, outside, config.special_share) for inside, outside in counts
        )
        label_set, new_labels = data.label_set, np.arange(len(special), dtype=np.int32)
        if config.rest == "dustbin":
            label_set = specialist_labels(label_set, np.flatnonzero(special).tolist())
            new_labels = np.where(special, np.cumsum(special) - 1, special.sum()).astype(np.int32)
        _logger.info(
            "%s: %d special labels, %.1f%% of the frames; of these %.3g count, of the others %.3g",
            cluster, special.sum(), 100 * counts[0][0] / sum(counts[0]), *chances,
        )  # fmt: skip
        return cls(label_set, special, new_labels, chances, dev_chances)

    @property
    def has_dustbin(self) -> bool:
        """Whether all labels that are not special are one."""
        return is_specialist(self.label_set)

    @property
    def selection(self) -> FrameSelection:
        """Which training frames count."""
        return FrameSelection(self._by_label(*self.chances))

    @property
    def dev_selection(self) -> FrameSelection:
        """Which dev frames count: the like share of special ones."""
        return FrameSelection(self._by_label(*self.dev_chances))

    @property
    def offsets(self) -> Tensor:
        """What the trained specialist's logits (L,) are raised by, to undo the oversampling."""
        return torch.from_numpy(self._by_label(0.0, rest_offset(*self.chances)))

    def _by_label(self, special: float, rest: float) -> NDArray[np.float64]:
        """(L,): one value for special labels, another for the rest."""
        values = np.full(len(self.label_set), rest)
        values[self.new_labels[self.special]] = special
        return values

    def relabelled(self, data: AlignedData) -> AlignedData:
        """Data of the generalist's labels with the specialist's."""
        return data.relabelled(self.label_set, self.new_labels)

    def log_prior(self, log_prior: NDArray[np.float32]) -> NDArray[np.float32]:
        """The generalist's label prior (V,) -> the specialist's (L,)."""
        summed = np.bincount(self.new_labels, np.exp(log_prior.astype(np.float64)))
        return np.log(summed).astype(np.float32)

    def corrected(self, network: AcousticModel) -> AcousticModel:
        """A copy of the network for use: the oversampling undone. The network trains on."""
        copied = deepcopy(network)
        copied.shift_logits(self.offsets)
        return copied

    def start(
        self, network: AcousticModel, copied: Initialisation, config: TrainConfig, data: AlignedData
    ) -> tuple[AcousticModel, Objective, Initialisation]:
        """The specialist's network and loss, from a network with the generalist's weights.

        The oversampling is put into the first logits, so that training starts from what the
        generalist would say of the frames that count.
        """
        objective: Objective = HardLabels()
        if not self.has_dustbin:
            objective = SoftRest(deepcopy(network).eval(), torch.from_numpy(self.special))
            note = "logits of labels that are not special: lowered by the log of the oversampling"
        else:
            network = self._narrowed(network.eval(), config, data)
            note = (
                f"output: {len(self.label_set) - 1} special labels' rows of {len(self.special)}; "
                f"the dustbin's row is fitted to the others' logsumexp"
            )
        network.shift_logits(-self.offsets)
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        return network, objective, replace(copied, shapes=shapes, notes=[*copied.notes, note])

    def _narrowed(
        self, network: AcousticModel, config: TrainConfig, data: AlignedData
    ) -> AcousticModel:
        chosen = np.unique(np.linspace(0, len(data) - 1, _FIT_UTTERANCES).astype(int)).tolist()
        utterances = (torch.tensor(data.feats(k)) for k in chosen)
        weight, bias = narrow_output(network, torch.from_numpy(self.special), utterances)
        narrowed = build_model(config.model, data.input_dim, len(self.label_set))
        weights = network.state_dict() | {"output.weight": weight, "output.bias": bias}
        narrowed.load_state_dict(weights)
        return narrowed


class SoftRest(Objective):
    """Hard labels on special frames, the generalist's soft targets on the others.

    Args:
        generalist: in evaluation mode; it sees each batch as the specialist does.
        special: (V,) bool.
    """

    def __init__(self, generalist: AcousticModel, special: Tensor) -> None:
        self.generalist: nn.Module = generalist
        self.special = special

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        self.generalist.to(device)
        self.special = self.special.to(device)

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        with torch.no_grad():
            theirs, _ = self.generalist(batch.feats, batch.lengths)
            targets = rest_targets(counted_logits(theirs, batch), batch.pdf_ids, self.special)
        return soft_cross_entropy(counted_logits(output.logits, batch), targets)
