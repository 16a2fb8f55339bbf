"""What a batch's logits are trained towards: labels, stored soft targets, or teachers on line."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr_kd.distill.essence import essence
from asr_kd.distill.logits import floored_log, logit_matching, teacher_logits
from asr_kd.distill.loss import distillation_loss, hard_cross_entropy
from asr_kd.ensemble.average import average
from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.ensemble.store import TargetStore
from asr_kd.errors import InputError
from asr_kd.train.augment import keep_spikes
from asr_kd.train.config import DistillConfig
from asr_kd.train.dataset import AlignedData, Batch
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import Teachers


class Objective(ABC):
    """Loss of a batch as (sum over frames, number of frames).

    Attributes:
        is_about_labels: whether the output layer is trained; if not, accuracy picks no checkpoint.
        dev_loss: what picks it in the place of frame accuracy, a loss of logits and a batch.
    """

    is_about_labels = True
    dev_loss: Callable[[Tensor, Batch], tuple[Tensor, Tensor]] | None = None

    @abstractmethod
    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the student makes of the batch, on the batch's device -> (sum, count)."""

    def to(self, device: torch.device) -> None:  # noqa: B027 (most have nothing to move)
        """Moves what the objective needs to the student's device."""

    def advance(self, fraction: float) -> None:  # noqa: B027 (most do not change on the way)
        """Tells before each update how much of the training is done, 0 to 1."""


class HardLabels(Objective):
    """Cross-entropy with the alignment; of mixed utterances, the mix of both cross-entropies."""

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        logits = counted_logits(output.logits, batch)
        if batch.mixed_pdf_ids is None or batch.mix_weight is None:
            return hard_cross_entropy(logits, batch.pdf_ids)
        log_post = logits.log_softmax(-1)
        first = log_post.gather(1, batch.pdf_ids[:, None])[:, 0]
        second = log_post.gather(1, batch.mixed_pdf_ids[:, None])[:, 0]
        loss = -(batch.mix_weight * first + (1 - batch.mix_weight) * second)
        return loss.sum(), torch.tensor(len(loss), device=loss.device)


class Distillation(Objective):
    """`soft_weight·soft + hard_weight·CE_hard`, wherever the soft targets come from.

    The soft part is `T²·CE_soft` with the targets' essence, or the logits' squared difference.

    Args:
        config: the mixture.
        hard: what stands for `CE_hard`: the labels of the frames, or token sequences.
    """

    def __init__(self, config: DistillConfig, hard: Objective) -> None:
        self.config = config
        self.hard = hard
        self.is_about_labels = bool(config.soft_weight or config.hard_weight)

    @abstractmethod
    def targets(self, batch: Batch) -> SoftTargets | Tensor:
        """Targets of the batch's counted frames at T; dense ones are log-probabilities (N,V)."""

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        self.hard.to(device)

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        config = self.config
        logits = counted_logits(output.logits, batch)
        if not self.is_about_labels:
            # Data without transcripts have no labels. All parameters keep a gradient, as DDP wants.
            return 0.0 * logits.sum(), torch.tensor(len(logits), device=logits.device)
        if not config.soft_weight:
            hard, count = self.hard(output, batch)
            return config.hard_weight * hard, count
        targets = self.targets(batch)
        labels = None
        if config.loss == "logits":
            if isinstance(targets, SoftTargets):
                targets = floored_log(targets.dense(logits.shape[1]))
            total, count = logit_matching(logits, teacher_logits(targets, config.temperature))
            total = config.soft_weight * total
        else:
            probs = targets.exp() if isinstance(targets, Tensor) else targets
            chosen = essence(probs, config.essence.mass, config.essence.floor, config.essence.rest)
            by_frame = isinstance(self.hard, HardLabels) and batch.mixed_pdf_ids is None
            if by_frame and config.hard_weight:
                labels = batch.pdf_ids  # soft and hard part in one pass over the logits
            total, count = distillation_loss(
                logits, chosen, labels, config.temperature, config.hard_weight, config.soft_weight
            )
        if labels is None and config.hard_weight:
            total = total + config.hard_weight * self.hard(output, batch)[0]
        return total, count

    def _faults(self) -> list[str]:
        """Contradictions of the configuration."""
        chosen = self.config.essence
        if self.config.loss == "logits" and (chosen.mass < 1 or chosen.floor > 0):
            return ["distill.essence is for the loss cross-entropy: logits match over all labels"]
        return []


class StoredTargets(Distillation):
    """Distillation from a soft-target store; a change of speed picks the nearest stored frame.

    Of CTC, whose tokens may have one frame alone, see `keep_spikes`.

    Raises:
        InputError: where the store does not fit data or configuration, with both values.
    """

    def __init__(
        self, path: Path, config: DistillConfig, data: AlignedData, hard: Objective | None = None
    ) -> None:
        super().__init__(config, hard or HardLabels())
        self.store = TargetStore.open(path, verify=True)
        self._is_ctc = data.label_set.is_ctc
        faults = self._faults()
        if config.loss == "logits" and self.store.header.keep != "all":
            faults.append(
                f"{path}: keeps {self.store.header.keep} of each frame, and distill.loss=logits "
                f"needs every label; make it again with `dump-targets --keep all`, or train with "
                f"--teacher"
            )
        try:
            self.store.require(config.temperature, data.label_set, config.mean)
        except InputError as error:
            faults += error.faults
        shares = self.store.header.weights
        wanted = config.weights or shares
        if len(wanted) != len(shares) or not np.allclose(np.divide(wanted, sum(wanted)), shares):
            faults.append(
                f"{path}: the teachers' weights are {shares}, the student expects {wanted}"
            )
        faults += _other_frames(self.store, data)
        if faults:
            raise InputError(faults)

    def targets(self, batch: Batch) -> SoftTargets:
        """See `Distillation`."""
        stored = self.store.batch(batch.utt_ids)
        starts = np.cumsum([0, *(self.store.num_frames(utt) for utt in batch.utt_ids)])
        sources = batch.source
        if self._is_ctc:
            paths = np.split(stored.best().numpy(), starts[1:-1])
            sources = [keep_spikes(*each) for each in zip(sources, paths, strict=True)]
        rows = np.concatenate([k + s for k, s in zip(starts[:-1], sources, strict=True)])
        return take_frames(stored, torch.from_numpy(rows)).to(batch.feats.device)


def _other_frames(store: TargetStore, data: AlignedData) -> Iterator[str]:
    """Utterances without targets or with more or fewer; those of another rate have one fault."""
    have = {utt: store.num_frames(utt) for utt in data.utt_ids if utt in store}
    yield from (f"{store.path}: no targets for {utt}" for utt in data.utt_ids if utt not in have)
    lengths = dict(zip(data.utt_ids, data.num_frames.tolist(), strict=True))
    needed = dict(zip(data.utt_ids, data.num_outputs.tolist(), strict=True))
    other = [utt for utt, frames in have.items() if frames != needed[utt]]
    rates = (k for k in range(1, 17) if all(-(-lengths[u] // k) == n for u, n in have.items()))
    rate = next(rates, None)
    if len(other) > 1 and rate is not None:
        yield (
            f"{store.path}: targets for one in {rate} frames of {data.path}, the student has one "
            f"in {data.subsampling}: set model.subsampling.factor={rate}, or make targets by "
            f"teachers of the student's rate"
        )
        return
    of = "features of" if data.subsampling == 1 else "a student of"
    for utt in other:
        yield f"{store.path}: {utt}: targets of {have[utt]} frames, {of} {needed[utt]}"


class OnlineTeachers(Distillation):
    """Distillation from models that see each batch exactly as the student does.

    Raises:
        InputError: where the configuration is not for so many teachers, or contradicts itself.
    """

    def __init__(
        self, teachers: Teachers, config: DistillConfig, hard: Objective | None = None
    ) -> None:
        super().__init__(config, hard or HardLabels())
        self.teachers = teachers
        num_teachers = len(teachers.models)
        faults = self._faults()
        self.weights = config.weights or (1.0,) * num_teachers
        if len(self.weights) != num_teachers:
            faults.append(
                f"distill.weights: {len(self.weights)} weights for {num_teachers} teachers"
            )
        if (config.teachers_per_batch or 1) > num_teachers:
            faults.append(
                f"distill.teachers_per_batch is {config.teachers_per_batch}, of {num_teachers} "
                f"teachers"
            )
        if faults:
            raise InputError(faults)

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        super().to(device)
        self.teachers.to(device)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Tensor:
        """See `Distillation`."""
        config = self.config
        members = self._members()
        theirs = [counted_logits(self.teachers(m, batch).logits, batch) for m in members]
        weights = [self.weights[m] for m in members]
        return average(theirs, weights, config.mean, config.temperature)

    def _members(self) -> list[int]:
        """The teachers of this batch, drawn from torch's generator, which each step seeds."""
        if self.config.teachers_per_batch is None:
            return list(range(len(self.weights)))
        return torch.randperm(len(self.weights))[: self.config.teachers_per_batch].tolist()


def counted_logits(logits: Tensor, batch: Batch) -> Tensor:
    """Logits (B,T,V) of the frames that the loss counts: float32 (N,V)."""
    return logits[batch.counted].float()


def take_frames(targets: SoftTargets, rows: Tensor) -> SoftTargets:
    """The targets of the given frames (N',), which may repeat or be left out."""
    counts = targets.indptr.diff()[rows]
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    within = torch.arange(int(indptr[-1])) - torch.repeat_interleave(indptr[:-1], counts)
    entries = torch.repeat_interleave(targets.indptr[:-1][rows], counts) + within
    return SoftTargets(indptr, targets.labels[entries], targets.probs[entries], targets.left[rows])
