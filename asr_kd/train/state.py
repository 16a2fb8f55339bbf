"""Where a training stands, on disk: enough to go on with the same bits.

Random draws are seeded anew for each step and utterance, so no generator's state belongs here.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from asr_kd.errors import AsrKdError
from asr_kd.io.atomic import write_text
from asr_kd.models.checkpoint import write_tensors

_POINTER = "state.json"


@dataclass
class Progress:
    """Counters of a training.

    Attributes:
        epoch: passes over the data that are complete.
        batch: batches done of the current pass.
        step: updates done altogether.
        loss_sum, loss_count: of the current pass so far.
        best_epoch, best_score: of the best checkpoint, the higher the better; -1 and −∞ before the
            first.
        best_values: what was measured of it on the dev set, by name.
        seconds, frames: time spent and frames of features seen in training steps.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_count: float = 0.0
    best_epoch: int = -1
    best_score: float = -math.inf
    best_values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    frames: int = 0


def save_state(work: Path, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Saves; the pointer file is renamed last, so a kill leaves this state or the former one."""
    name = f"state.{progress.step}.{progress.epoch}.safetensors"
    write_tensors(work / name, tensors)
    write_text(work / _POINTER, json.dumps({"tensors": name, **asdict(progress)}))
    for former in work.glob("state.*.safetensors"):
        if former.name != name:
            former.unlink()


def has_state(work: Path) -> bool:
    """Whether a training was begun here."""
    return (work / _POINTER).exists()


def load_state(work: Path) -> tuple[Progress, dict[str, Tensor]] | None:
    """The saved state, or None where nothing was saved yet.

    Raises:
        AsrKdError: if it cannot be read.
    """
    if not has_state(work):
        return None
    try:
        values = json.loads((work / _POINTER).read_text(encoding="utf-8"))
        tensors = load_file(work / values.pop("tensors"))
        return Progress(**values), tensors
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise AsrKdError(
            f"{work / _POINTER}: the saved state cannot be read ({error}); remove {work} to train "
            f"from the start"
        ) from error


def remove_state(work: Path) -> None:
    """Removes a state that nobody will need: the training is complete."""
    (work / _POINTER).unlink(missing_ok=True)
    for former in work.glob("state.*.safetensors"):
        former.unlink()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors (of AdamW: step and moments of each parameter)."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": tensor for i, part in state.items() for name, tensor in part.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`; hyper-parameters stay those of the configuration."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names under `prefix`."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those under `prefix`, by their own names."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
