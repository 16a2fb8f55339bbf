"""Teachers on line: they see each batch exactly as the student does, and no other data."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from weakref import ref

import torch
from torch import Tensor

from asr_kd.distill.hints import forward_tapped
from asr_kd.ensemble.teachers import is_archive
from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.config import DistillConfig
from asr_kd.train.dataset import AlignedData, Batch


class TeacherOutput(NamedTuple):
    """What a teacher makes of a batch.

    Attributes:
        logits: (B,T,V).
        hidden: the tapped layers' outputs (B,T',D), by name.
    """

    logits: Tensor
    hidden: dict[str, Tensor]


def require_checkpoints(paths: Sequence[Path]) -> None:
    """Refuses names that mean no folder.

    Raises:
        InputError: for each archive or bundle.
    """
    faults = [
        f"{path}: only a trained model's folder can teach each batch as it comes; store what this "
        f"says: asr-kd dump-targets (for train --targets), or dump-nbest (for train --nbest)"
        for path in paths
        if is_archive(str(path))
    ]
    if faults:
        raise InputError(faults)


class Teachers:
    """M models in evaluation mode, without gradient.

    Args:
        paths: their folders.
        config: how they run.
        data: what they are to fit.

    Raises:
        InputError: for every model that cannot be read or is of other labels, features or frame
            rate.

    Attributes:
        models: M networks.
        taps: of each teacher the layers whose outputs are wanted too.
    """

    def __init__(self, paths: Sequence[Path], config: DistillConfig, data: AlignedData) -> None:
        self.models: list[AcousticModel] = []
        faults: list[str] = []
        for path in paths:
            try:
                checkpoint = Checkpoint.load(path)
                data.require_fits(checkpoint, str(path))
                if checkpoint.model.subsampling != data.subsampling:
                    raise InputError(
                        f"frame rates differ: {path} has model.subsampling="
                        f"{checkpoint.model.subsampling}, the student {data.subsampling}"
                    )
                self.models.append(checkpoint.model)
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        self.names = [str(path) for path in paths]
        self.taps: list[set[str]] = [set() for _ in paths]
        self._halved = config.teacher_precision == "bf16-mixed"
        self._batch: ref[Batch] | None = None
        self._outputs: dict[int, TeacherOutput] = {}

    def to(self, device: torch.device) -> None:
        """Moves all models."""
        for model in self.models:
            model.to(device)

    @torch.no_grad()
    def __call__(self, member: int, batch: Batch) -> TeacherOutput:
        """One teacher's output; soft targets and hints that ask for the same batch share a pass."""
        if self._batch is None or self._batch() is not batch:
            outputs: dict[int, TeacherOutput] = {}
            self._outputs = outputs
            # Dropped with the batch: the next one's forward pass wants the memory.
            self._batch = ref(batch, lambda _: outputs.clear())
        if member not in self._outputs:
            # One after the other: on the CPU a batched forward (torch.func.vmap) is a quarter
            # slower, and teachers need not share an architecture.
            with torch.autocast(batch.feats.device.type, torch.bfloat16, enabled=self._halved):
                output = forward_tapped(
                    self.models[member], batch.feats, batch.lengths, self.taps[member]
                )
            self._outputs[member] = TeacherOutput(*output)
        return self._outputs[member]
