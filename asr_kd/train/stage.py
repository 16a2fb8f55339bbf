"""The stage `train`: from feature and alignment folders to a published model."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor

from asr_kd.artefact import Artefact, hash_file
from asr_kd.config import config_dict, write_config
from asr_kd.ensemble.store import HEADER
from asr_kd.errors import AsrKdError, InputError
from asr_kd.labels.priors import log_prior
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.shards import rank_and_world
from asr_kd.train.config import TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.loop import Trainer
from asr_kd.train.objective import HardLabels, Objective, OnlineTeachers, StoredTargets
from asr_kd.train.selection import FrameSelection
from asr_kd.train.state import has_state, remove_state

_logger = logging.getLogger("asr_kd.train")


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


def train(inputs: TrainInputs, config: TrainConfig, out: Path) -> None:
    """Trains and publishes a model.

    `out` then holds the checkpoint of the best dev frame accuracy, `last/` with that of the last
    epoch, `config.yaml`, `log.jsonl` and `tensorboard/`.

    Raises:
        InputError: all faults of the inputs together, before any work.
        AsrKdError: where the loss is not finite.
        KeyboardInterrupt: after SIGINT or SIGTERM, with the state saved; run again to go on.
    """
    artefact = Artefact(out, "train", config_dict(config), inputs.by_name())
    if artefact.is_done():
        return
    fabric = make_fabric(config)
    data = AlignedData(inputs.data, inputs.ali, config.cmvn)
    dev = AlignedData(inputs.dev, inputs.dev_ali, config.cmvn)
    _require_alike(data, dev)
    _require_images(config, data)
    selection = FrameSelection.by_label(config.frames, data.label_set)
    objective = _objective(inputs, config, data)
    network = _network(inputs, config, data)
    work = artefact.begin()
    if inputs.init is None and not has_state(work):
        network.frontend.fit(_all_feats(data))
    if fabric.is_global_zero:
        write_config(config, work / "config.yaml")
    prior = log_prior(inputs.ali)
    trainer = Trainer(fabric, config, work, network, data, dev, objective, prior, selection)
    trainer.run()
    fabric.barrier()
    if fabric.is_global_zero:
        done = trainer.progress
        artefact.publish(
            {
                "dev_frame_accuracy": done.best_accuracy,
                "best_epoch": done.best_epoch,
                "epochs": done.epoch,
                "steps": done.step,
                "num_params": network.num_params,
                "frames_per_second": round(done.frames / max(done.seconds, 1e-9)),
                "training_seconds": round(done.seconds, 1),
                "processes": fabric.world_size,
            }
        )
        remove_state(artefact.path)
        _logger.info(
            "%s: dev frame accuracy %.2f%% (epoch %d), %d parameters, %.0f frames/s",
            out, 100 * done.best_accuracy, done.best_epoch, network.num_params,
            done.frames / max(done.seconds, 1e-9),
        )  # fmt: skip


def make_fabric(config: TrainConfig) -> Fabric:
    """One device here, or one a process as `torchrun` or `srun` started them.

    Raises:
        AsrKdError: under `srun` without --ntasks-per-node, which says what runs on each machine.
    """
    _, world = rank_and_world()
    local = os.environ.get("LOCAL_WORLD_SIZE")  # torchrun's; Slurm tells the number of machines
    if world > 1 and local is None and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise AsrKdError("train under srun: give --ntasks-per-node in place of --ntasks")
    nodes = world // int(local) if local else int(os.environ.get("SLURM_NNODES", "1"))
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=world // nodes if world > 1 else 1,
        num_nodes=nodes if world > 1 else 1,
        strategy="ddp" if world > 1 else "auto",
        precision=config.precision,
        # Alone in a batch job of Slurm's, a process is not one of the job's many tasks.
        plugins=[LightningEnvironment()] if world == 1 else None,
    )
    fabric.launch()
    return fabric


def _require_alike(data: AlignedData, dev: AlignedData) -> None:
    data.label_set.require_same(dev.label_set, str(data.ali_dir), str(dev.ali_dir))
    if (data.spec, data.input_dim) != (dev.spec, dev.input_dim):
        raise InputError(f"features differ: {data.describe_input()}; {dev.describe_input()}")


def _require_images(config: TrainConfig, data: AlignedData) -> None:
    shift = config.augment.shift
    if shift.prob and shift.height * shift.width != data.input_dim:
        raise InputError(
            f"augment.shift: frames are no images of {shift.height} × {shift.width} pixels; "
            f"{data.describe_input()}"
        )


def _objective(inputs: TrainInputs, config: TrainConfig, data: AlignedData) -> Objective:
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


def _network(inputs: TrainInputs, config: TrainConfig, data: AlignedData) -> AcousticModel:
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


def _all_feats(data: AlignedData) -> Iterator[Tensor]:
    """Reads every utterance, so that all unusable features are known before the work."""
    faults = []
    for index in range(len(data)):
        try:
            yield torch.tensor(data.feats(index))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
