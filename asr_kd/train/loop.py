"""The one training loop, of teachers and students alike."""

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from asr_kd.errors import AsrKdError
from asr_kd.log import progress as show_progress
from asr_kd.models.base import AcousticModel
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.augment import Augment
from asr_kd.train.config import TrainConfig
from asr_kd.train.curve import Curve
from asr_kd.train.dataset import AlignedData, augmented_batch
from asr_kd.train.evaluation import DevScore, Evaluation
from asr_kd.train.objective import Objective
from asr_kd.train.optimizer import limit_weight_norms, make_optimizers, rate_factor
from asr_kd.train.sampler import plan_batches
from asr_kd.train.selection import FrameSelection
from asr_kd.train.specialist import Specialty
from asr_kd.train.state import (
    Progress,
    load_optimizer,
    load_state,
    optimizer_tensors,
    save_state,
    with_prefix,
    without_prefix,
)
from asr_kd.train.student import Student

_SHOWN_UTTERANCES = 10
_logger = logging.getLogger("asr_kd.train")


class Trainer:
    """Trains one model in a work folder, from the beginning or from the state found there.

    A global batch is dealt to the processes row by row; each scales its loss sum by the *global*
    number of frames, so that any number of processes takes the same steps.

    Args:
        fabric: launched.
        config: the resolved configuration.
        work: folder of the state, the checkpoints and the curves.
        student: its network freshly built or initialised, its input normalisation fitted.
        data, dev: what to train and to evaluate on.
        objective: the loss.
        log_prior: natural-log label prior (V,), stored with the checkpoints.
        selection: which training frames the loss counts; the dev set counts them all.
        specialty: of a specialist: which dev frames count, and what its checkpoints correct.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        work: Path,
        student: Student,
        data: AlignedData,
        dev: AlignedData,
        objective: Objective,
        log_prior: NDArray[np.float32],
        selection: FrameSelection,
        specialty: Specialty | None = None,
    ) -> None:
        self.fabric, self.config, self.work = fabric, config, work
        self.data, self.objective, self.log_prior = data, objective, log_prior
        self.student, self.network, self.selection = student, student.network, selection
        self.specialty = specialty
        self.evaluation = Evaluation(
            dev, config.max_frames, config.ctc.criterion,
            specialty.dev_selection if specialty else None, objective.dev_loss,
        )  # fmt: skip
        self.optimizers = make_optimizers(student, config)
        self.rates = [optimizer.defaults["lr"] for optimizer in self.optimizers]
        self.progress = Progress()
        self.averaged: AveragedModel | None = None
        if config.ema_decay:
            average = get_ema_multi_avg_fn(config.ema_decay)
            self.averaged = AveragedModel(self.network, multi_avg_fn=average)
        # `network` stays the bare module: evaluation and checkpoints do without the wrapper.
        self.model, *self.wrapped_optimizers = fabric.setup(student, *self.optimizers)
        if self.averaged is not None:
            self.averaged.to(fabric.device)
        self._load()  # on the device: an optimizer's state goes where its parameters are
        dims, frontend = self.network.input_dim, self.network.frontend
        mean, std = (x[:dims].cpu().numpy() for x in (frontend.mean, frontend.std))
        self.augment = Augment(config.augment, mean.copy(), std.copy())
        objective.to(fabric.device)

    def run(self) -> None:
        """Trains to the last epoch.

        Raises:
            KeyboardInterrupt: after SIGINT or SIGTERM, with the state saved.
            AsrKdError: where loss or gradient is not finite, naming the batch.
        """
        left = int(self.data.num_frames.sum()) * (self.config.epochs - self.progress.epoch)
        with (
            Curve(self.work, self.progress, self.fabric.is_global_zero) as curve,
            show_progress(left, "train", "frame") as advance,
            self._stop_signals() as stop,
        ):
            while self.progress.epoch < self.config.epochs:
                batches = plan_batches(
                    self.data.num_frames,
                    self.config.max_frames,
                    self.config.seed,
                    self.progress.epoch,
                )
                for indices in batches[self.progress.batch :]:
                    loss, rate = self._step(indices, len(batches))
                    advance(int(self.data.num_frames[indices].sum()))
                    if self.progress.step % self.config.log_every == 0:
                        curve.step(self.progress, loss, rate)
                    if self.progress.step % self.config.save_every == 0 or stop.is_set():
                        self._save()
                    if stop.is_set():
                        _logger.warning("stopped at step %d; state saved", self.progress.step)
                        raise KeyboardInterrupt
                dev = self._evaluate()
                self.progress.epoch += 1
                self.progress.batch = 0
                former = DevScore(self.progress.best_score, self.progress.best_values)
                if dev.beats(former) or not self.objective.is_about_labels:
                    self.progress.best_score, self.progress.best_values = dev.score, dev.values
                    self.progress.best_epoch = self.progress.epoch
                    self._save_checkpoint(self.work)
                curve.epoch(self.progress, dev, self.config.epochs)
                self.progress.loss_sum = self.progress.loss_count = 0.0
                self._save()
            self._save_checkpoint(self.work / "last")

    def _step(self, indices: list[int], num_batches: int) -> tuple[float, float]:
        """One update; returns the loss per frame over all processes, and the learning rate."""
        start = time.perf_counter()
        now = self.progress
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = indices[rank::world]
        # A process without rows still takes part in every reduction, with a row that weighs 0.
        share = 1.0 if mine else 0.0
        batch = augmented_batch(
            self.data,
            mine or indices[:1],
            self.augment,
            self.selection,
            self.config.seed,
            now.epoch,
        ).to(self.fabric.device)
        # Seeded for each step, dropout needs no saved generator state to go on exactly.
        torch.manual_seed(_seed(self.config.seed, now.step, rank))
        fraction = (now.epoch + now.batch / num_batches) / self.config.epochs
        factor = rate_factor(self.config, now.step, fraction)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
        self.objective.advance(fraction)
        self.model.train()
        loss_sum, count = self.objective(self.model(batch.feats, batch.lengths), batch)
        total, frames = self._sum_over_processes(
            share * float(loss_sum.detach()), share * int(count)
        )
        if not math.isfinite(total):
            raise AsrKdError(self._not_finite("loss", total, indices))
        self.student.zero_grad()
        # A batch may have no frame that counts; then it has no gradient either.
        self.fabric.backward(loss_sum * (share * world / max(frames, 1.0)))
        norm = float(
            torch.nn.utils.clip_grad_norm_(self.student.parameters(), self.config.max_grad_norm)
        )
        if not math.isfinite(norm):  # before it spoils the weights and the state that is saved
            raise AsrKdError(self._not_finite("gradient", norm, indices))
        for wrapped in self.wrapped_optimizers:
            wrapped.step()
        if self.config.max_weight_norm:
            limit_weight_norms(self.network, self.config.max_weight_norm)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        now.batch += 1
        now.step += 1
        now.loss_sum += total
        now.loss_count += frames
        now.frames += int(frames) * self.data.subsampling
        now.seconds += time.perf_counter() - start
        return total / max(frames, 1.0), factor * self.config.learning_rate

    def _not_finite(self, what: str, value: float, indices: list[int]) -> str:
        utts = [self.data.utt_ids[i] for i in indices]
        shown = ", ".join(utts[:_SHOWN_UTTERANCES])
        more = f" and {len(utts) - _SHOWN_UTTERANCES} more" if len(utts) > _SHOWN_UTTERANCES else ""
        return (
            f"the {what} became {value} in epoch {self.progress.epoch + 1}, step "
            f"{self.progress.step + 1}, on the utterances {shown}{more}; look at their features "
            f"and targets, or lower learning_rate ({self.config.learning_rate})"
        )

    def _sum_over_processes(self, *values: float) -> list[float]:
        if self.fabric.world_size == 1:
            return list(values)
        local = torch.tensor(values, dtype=torch.float64, device=self.fabric.device)
        return [float(x) for x in self.fabric.all_reduce(local, reduce_op="sum")]

    def _evaluate(self) -> DevScore:
        """How good the network is on the dev set."""
        network = self._evaluated()
        network.eval()

        def run(feats: Tensor, lengths: Tensor) -> Tensor:
            with self.fabric.autocast():
                logits: Tensor = network(feats, lengths)[0]
            return logits

        fabric = self.fabric
        sums = self.evaluation.sums(run, fabric.device, fabric.global_rank, fabric.world_size)
        return self.evaluation.score(self._sum_over_processes(*sums))

    def _evaluated(self) -> AcousticModel:
        """The network that is evaluated and kept: the averaged one where there is one."""
        if self.averaged is None:
            return self.network
        return cast(AcousticModel, self.averaged.module)

    def _save_checkpoint(self, folder: Path) -> None:
        if self.fabric.is_global_zero:
            folder.mkdir(exist_ok=True)
            network = self._evaluated()
            Checkpoint(
                self.specialty.corrected(network) if self.specialty else network,
                self.data.label_set,
                self.data.spec,
                self.config.cmvn,
                self.log_prior,
            ).save(folder)

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            tensors = with_prefix("model", self.network.state_dict())
            tensors |= with_prefix("projections", self.student.projections.state_dict())
            for k, optimizer in enumerate(self.optimizers):
                tensors |= with_prefix(f"optimizer{k}", optimizer_tensors(optimizer))
            if self.averaged is not None:
                tensors |= with_prefix("averaged", self.averaged.state_dict())
            save_state(self.work, self.progress, tensors)
        self.fabric.barrier()

    def _load(self) -> None:
        found = load_state(self.work)
        if found is None:
            return
        self.progress, tensors = found
        self.network.load_state_dict(without_prefix("model", tensors))
        self.student.projections.load_state_dict(without_prefix("projections", tensors))
        for k, optimizer in enumerate(self.optimizers):
            load_optimizer(optimizer, without_prefix(f"optimizer{k}", tensors))
        if self.averaged is not None:
            self.averaged.load_state_dict(without_prefix("averaged", tensors))
        _logger.info("going on from epoch %d, step %d", self.progress.epoch, self.progress.step)

    @contextmanager
    def _stop_signals(self) -> Iterator[threading.Event]:
        """Sets the event at the first SIGINT or SIGTERM, so that a step is never cut in two.

        With several processes, or outside of the main thread, signals do what they always do.
        """
        stop = threading.Event()
        main = threading.current_thread() is threading.main_thread()
        if not main or self.fabric.world_size > 1:
            yield stop
            return

        def handle(number: int, frame: object) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()

        former = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield stop
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint32)[0])
