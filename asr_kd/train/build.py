"""What a training works with, made from its inputs and checked: network and objective."""

from dataclasses import dataclass
from pathlib import Path

import torch

from asr_kd.artefact import hash_file
from asr_kd.ensemble.store import HEADER
from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.config import TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.objective import HardLabels, Objective, OnlineTeachers, StoredTargets


@dataclass(frozen=True)
class TrainInputs:
    """What is trained on.

    Attributes:
        data, dev: feature directories.
        ali, dev_ali: alignments of their utterances.
        targets: a soft-target store; then the model is a student.
        teachers: model folders that label each batch on line; then the model is a student.
        init: model folder whose weights the training starts from.
    """

    data: Path
    ali: Path
    dev: Path
    dev_ali: Path
    targets: Path | None = None
    teachers: tuple[Path, ...] = ()
    init: Path | None = None

    def by_name(self) -> dict[str, Path | str]:
        """Name → path or hash, for the manifest."""
        names = ("data", "ali", "dev", "dev_ali", "targets", "init")
        paths = {name: getattr(self, name) for name in names}
        paths |= {f"teacher{k}": path for k, path in enumerate(self.teachers, start=1)}
        if self.targets is not None and (self.targets / HEADER).is_file():
            # It holds the checksums of all shards, which may be larger than one wants to read.
            paths["targets"] = hash_file(self.targets / HEADER)
        return {name: path for name, path in paths.items() if path is not None}


def require_alike(data: AlignedData, dev: AlignedData) -> None:
    """Refuses a dev set of other labels or features than the training set's.

    Raises:
        InputError: with both values.
    """
    data.label_set.require_same(dev.label_set, str(data.ali_dir), str(dev.ali_dir))
    if (data.spec, data.input_dim) != (dev.spec, dev.input_dim):
        raise InputError(f"features differ: {data.describe_input()}; {dev.describe_input()}")


def require_images(config: TrainConfig, data: AlignedData) -> None:
    """Refuses to shift frames that are no images.

    Raises:
        InputError: with the size of a frame.
    """
    shift = config.augment.shift
    if shift.prob and shift.height * shift.width != data.input_dim:
        raise InputError(
            f"augment.shift: frames are no images of {shift.height} × {shift.width} pixels; "
            f"{data.describe_input()}"
        )


def make_objective(inputs: TrainInputs, config: TrainConfig, data: AlignedData) -> Objective:
    """The loss that inputs and configuration ask for.

    Raises:
        InputError: where they do not fit one another.
    """
    if inputs.targets is not None and inputs.teachers:
        raise InputError("targets come from a store or from teachers on line, not from both")
    if inputs.targets is not None:
        faults = []
        if config.augment.mix.prob:
            faults.append("augment.mix needs hard labels or teachers on line: no store knows a mix")
        if config.distill.teachers_per_batch is not None:
            faults.append("distill.teachers_per_batch is for teachers on line, not for a store")
        if faults:
            raise InputError(faults)
        return StoredTargets(inputs.targets, config.distill, data)
    if inputs.teachers:
        return OnlineTeachers(inputs.teachers, config, data)
    return HardLabels()


def make_network(inputs: TrainInputs, config: TrainConfig, data: AlignedData) -> AcousticModel:
    """The network that is trained, freshly drawn or from the weights of another one.

    Raises:
        InputError: where the other one does not fit.
    """
    torch.manual_seed(config.seed)
    network = build_model(config.model, data.input_dim, len(data.label_set))
    if inputs.init is not None:
        _initialise(network, inputs.init, data)
    return network


def _initialise(network: AcousticModel, init: Path, data: AlignedData) -> None:
    """Takes over another model's weights and input normalisation."""
    former = Checkpoint.load(init)
    data.require_fits(former, str(init))
    theirs = {k: tuple(v.shape) for k, v in former.model.state_dict().items()}
    ours = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    faults = [
        f"{init}: {name} is {theirs.get(name, 'missing')}, here {ours.get(name, 'missing')}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if faults:
        raise InputError(faults)
    network.load_state_dict(former.model.state_dict())
