"""The stage `train`: from feature and alignment folders to a published model."""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor

from asr_kd.artefact import Artefact
from asr_kd.config import config_dict, write_config
from asr_kd.errors import AsrKdError, InputError
from asr_kd.io.atomic import write_text
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.trained_on import read_trained_on, write_trained_on
from asr_kd.shards import rank_and_world
from asr_kd.train.build import build, read_data
from asr_kd.train.config import TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.evaluation import DevScore
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.labels import ALIGNMENT, folder_log_prior
from asr_kd.train.loop import Trainer
from asr_kd.train.priors import mean_posterior
from asr_kd.train.state import has_state, remove_state
from asr_kd.train.teachers import require_checkpoints

_logger = logging.getLogger("asr_kd.train")


def train(inputs: TrainInputs, config: TrainConfig, out: Path) -> None:
    """Trains and publishes a model.

    `out` then holds the checkpoint of the best dev frame accuracy (of token sequences see
    `CtcConfig`), `last/` with that of the last epoch, `config.yaml`, `log.jsonl` and
    `tensorboard/`; `init.md` says what came from where in a network that starts from another one,
    `trained_on.txt` which utterances it has seen, `left_out.txt` which had more tokens than frames.
    Where the output layer learns nothing (hints only) the last epoch's checkpoint counts as the
    best.

    Raises:
        InputError: all faults of the inputs together, before any work.
        AsrKdError: where the loss is not finite.
        KeyboardInterrupt: after SIGINT or SIGTERM, with the state saved; run again to go on.
    """
    require_checkpoints([*inputs.teachers, *([inputs.guide] if inputs.guide else [])])
    artefact = Artefact(out, "train", config_dict(config), inputs.by_name())
    if artefact.is_done():
        return
    with processes(config) as fabric:
        _train(inputs, config, artefact, fabric)


def _train(inputs: TrainInputs, config: TrainConfig, artefact: Artefact, fabric: Fabric) -> None:
    data, dev = read_data(inputs, config)
    student, objective, selection, start, specialty = build(inputs, config, data, dev)
    network = student.network
    work = artefact.begin()
    if not (start and start.has_frontend) and not has_state(work):
        network.frontend.fit(_all_feats(data))
    if fabric.is_global_zero:
        write_config(config, work / "config.yaml")
        if start is not None:
            table = start.table(str(inputs.init))
            _logger.info("starts from %s:\n%s", inputs.init, table)
            write_text(work / "init.md", table)
        if data.left_out:
            lines = (f"{utt} {why}\n" for utt, why in sorted(data.left_out.items()))
            write_text(work / "left_out.txt", "".join(lines))
    prior = folder_log_prior(data.ali_dir, data.label_set)
    if specialty is not None:
        data, dev = specialty.relabelled(data), specialty.relabelled(dev)
        selection, prior = specialty.selection, specialty.log_prior(prior)
    trainer = Trainer(
        fabric, config, work, student, data, dev, objective, prior, selection, specialty
    )
    trainer.run()
    fabric.barrier()
    if fabric.is_global_zero:
        if data.label_set.is_ctc and not (data.ali_dir / ALIGNMENT).is_file():
            for folder in (work, work / "last"):
                _give_prior(folder, data, config.max_frames, fabric.device)
        done = trainer.progress
        _record_utterances(work, data, inputs)
        artefact.publish(
            {
                **done.best_values,
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
            "%s: dev %s (epoch %d), %d parameters, %.0f frames/s",
            artefact.path, DevScore(done.best_score, done.best_values), done.best_epoch,
            network.num_params, done.frames / max(done.seconds, 1e-9),
        )  # fmt: skip


@contextmanager
def processes(config: TrainConfig) -> Iterator[Fabric]:
    """One device here, or one a process as `torchrun` or `srun` started them.

    At the end of the work their threads are joined: one that still lets go of a tensor while Python
    ends would abort the process (pytorch pull 179291). After an error nothing waits for the others.

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
    yield fabric
    if dist.is_initialized():
        gc.collect()  # what DDP holds of the group lies in cycles
        dist.destroy_process_group()


def _give_prior(folder: Path, data: AlignedData, max_frames: int, device: torch.device) -> None:
    checkpoint = Checkpoint.load(folder, device)
    prior = mean_posterior(checkpoint.model, data, max_frames)
    replace(checkpoint, log_prior=prior).save(folder)


def _record_utterances(work: Path, data: AlignedData, inputs: TrainInputs) -> None:
    """Says what the model has seen, by itself or by the models that it starts or learns from.

    Nothing, where that of one of them is not known. Stored targets and lists do not tell. Copies
    at other speeds count as their originals: who knows the one is no stranger to the other.
    """
    seen = set(data.originals)
    for model in (*inputs.teachers, inputs.init, inputs.guide):
        if model is None:
            continue
        before = read_trained_on(model)
        if before is None:
            return
        seen |= before
    for folder in (work, work / "last"):
        write_trained_on(folder, seen)


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
