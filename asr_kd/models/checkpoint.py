"""A trained model on disk: `model.safetensors` and `model.json`, nothing that can execute."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr_kd import __version__
from asr_kd.config import Config, config_dict
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.atomic import replacing, write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import AnyModelConfig
from asr_kd.models.stages import Latency, latency

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"

CmvnMode = Literal["global", "speaker", "utterance"]


class _Description(Config):
    """What `model.json` holds."""

    format: Literal["asr_kd.model/1"] = "asr_kd.model/1"
    version: str
    model: AnyModelConfig
    input_dim: int
    num_params: int
    cmvn: CmvnMode
    features: dict[str, Any]
    label_set: dict[str, Any]
    log_prior: tuple[float, ...]
    digest: str


@dataclass(frozen=True)
class Checkpoint:
    """An acoustic model with all that its use needs.

    Attributes:
        model: the network, its input normalisation included.
        label_set: what its V outputs stand for.
        spec: the features that it reads.
        cmvn: the normalisation that `FeatureReader` does before the model.
        log_prior: natural-log prior of each label in the training alignment, float32 (V,).
    """

    model: AcousticModel
    label_set: LabelSet
    spec: FeatureSpec
    cmvn: CmvnMode
    log_prior: NDArray[np.float32]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes the model's output or its meaning."""
        meaning = [
            config_dict(self.model.config),
            self.model.input_dim,
            self.cmvn,
            config_dict(self.spec),
            self.label_set.digest,
            [float(p) for p in self.log_prior],
        ]
        hasher = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            hasher.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return hasher.hexdigest()

    @property
    def frame_shift_ms(self) -> float:
        """Milliseconds from frame to frame of its posteriors."""
        return self.spec.frame_shift_ms * self.model.subsampling

    @property
    def latency(self) -> Latency | None:
        """What it waits for when it streams; None if it, or its normalisation, needs all speech."""
        if self.cmvn != "global":
            return None
        try:
            return latency(self.model.stages(), self.spec.frame_shift_ms)
        except InputError:
            return None

    def save(self, model_dir: Path) -> None:
        """Writes both files (each atomically, the description last)."""
        weights = self.model.state_dict()
        description = _Description(
            version=__version__,
            model=self.model.config,
            input_dim=self.model.input_dim,
            num_params=self.model.num_params,
            cmvn=self.cmvn,
            features=config_dict(self.spec),
            label_set=self.label_set.to_dict(),
            log_prior=tuple(float(p) for p in self.log_prior),
            digest=self.digest,
        )
        write_tensors(Path(model_dir) / WEIGHTS, weights)
        write_text(Path(model_dir) / DESCRIPTION, json.dumps(config_dict(description), indent=1))

    @classmethod
    def load(cls, model_dir: Path, device: str | torch.device = "cpu") -> "Checkpoint":
        """Reads a model in evaluation mode.

        Raises:
            InputError: if a file is missing or corrupt, or if the two do not belong together.
        """
        model_dir = Path(model_dir)
        description = _read_description(model_dir / DESCRIPTION)
        label_set, spec = _read_meaning(description, model_dir / DESCRIPTION)
        num_labels = len(label_set)
        if len(description.log_prior) != num_labels:
            raise InputError(
                f"{model_dir / DESCRIPTION}: {len(description.log_prior)} label priors for "
                f"{num_labels} labels"
            )
        with torch.random.fork_rng(devices=[]):  # building draws weights that are thrown away
            model = build_model(description.model, description.input_dim, num_labels)
        _load_weights(model, model_dir / WEIGHTS)
        checkpoint = cls(
            model.to(device).eval(),
            label_set,
            spec,
            description.cmvn,
            np.asarray(description.log_prior, dtype=np.float32),
        )
        if checkpoint.digest != description.digest:
            raise InputError(
                f"{model_dir}: {WEIGHTS} and {DESCRIPTION} do not belong together: content hash "
                f"{checkpoint.digest[:12]}, expected {description.digest[:12]}; one of them was "
                f"changed or replaced"
            )
        return checkpoint


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file atomically, from whatever device.

    Raises:
        OSError: naming the file, if it cannot be written (a full disk, say).
    """
    with replacing(path) as temporary:
        try:
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary)
        except SafetensorError as error:  # what safetensors makes of an OSError
            raise OSError(f"{path}: {error}") from error


def _read_description(file: Path) -> _Description:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return _Description.model_validate(values)
    except FileNotFoundError:
        raise InputError(f"{file.parent}: not a model directory: no {file.name}") from None
    except pydantic.ValidationError as error:
        faults = [f"{file}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError(faults) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not a model description: {error}") from error


def _read_meaning(description: _Description, file: Path) -> tuple[LabelSet, FeatureSpec]:
    try:
        return (
            LabelSet.from_dict(description.label_set),
            FeatureSpec.model_validate(description.features),
        )
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: label set or features cannot be read: {error}") from error


def _load_weights(model: AcousticModel, file: Path) -> None:
    try:
        weights = load_file(file)
    except FileNotFoundError:
        raise InputError(f"{file.parent}: not a model directory: no {file.name}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: corrupt or truncated weights ({error})") from error
    faults = []
    wanted = model.state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        if name not in weights:
            faults.append(f"{file}: {name} is missing")
        elif name not in wanted:
            faults.append(f"{file}: {name} does not belong to a {model.config.kind} of this config")
        elif weights[name].shape != wanted[name].shape:
            shapes = f"{tuple(weights[name].shape)}, expected {tuple(wanted[name].shape)}"
            faults.append(f"{file}: {name} has shape {shapes}")
        elif not math.isfinite(float(weights[name].double().sum())):
            faults.append(f"{file}: {name} holds NaN or infinity")
    if faults:
        raise InputError(faults)
    model.load_state_dict(weights)
