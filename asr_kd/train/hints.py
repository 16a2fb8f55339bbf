"""Hints in a training: checked layers, their projections, and their part of the loss."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from asr_kd.distill.hints import (
    Layer,
    Projection,
    counted_frames,
    find_layers,
    hint_loss,
    layer_variance,
    needs_projection,
    untrained_layers,
)
from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.train.config import HintConfig
from asr_kd.train.dataset import AlignedData, Batch, plain_batch
from asr_kd.train.objective import Objective
from asr_kd.train.student import Student, StudentOutput
from asr_kd.train.teachers import Teachers

_SAMPLE = 16  # utterances that tell the variance of a teacher's layer


class WithHints(Objective):
    """Another objective, and for each hint its weight times the loss of its pair of layers.

    Both parts are sums over the same counted frames.

    Args:
        base: the other objective.
        configs: pairs of layers.
        network: the student's, before training.
        teachers: on line; where `base` asks them too, it shares their pass over each batch.
        data: training set, from which the scale of the teachers' layers is taken.

    Raises:
        InputError: every layer that does not exist or puts out no frames, every layer of the
            student's with nothing to train in it or before it, every `of` beyond the teachers, and
            every teacher's layer that puts out the same on all frames.

    Attributes:
        student: the network, and a projection for each hint (identity where none is needed).
    """

    def __init__(
        self,
        base: Objective,
        configs: Sequence[HintConfig],
        network: AcousticModel,
        teachers: Teachers,
        data: AlignedData,
    ) -> None:
        self.base, self.configs, self.teachers = base, configs, teachers
        pairs = _check(configs, network, teachers)
        for config in configs:
            teachers.taps[config.of - 1].add(config.teacher)
        step = data.subsampling  # frames that count are those of the logits
        self._strides = [
            (math.gcd(own.stride, other.stride) // step, other.stride // step)
            for own, other in pairs
        ]
        self._variances = self._measure(data)
        self._fraction = 0.0
        projections: list[nn.Module] = [
            Projection(own, other) if needs_projection(own, other) else nn.Identity()
            for own, other in pairs
        ]
        self.student = Student(network, [config.student for config in configs], projections)
        self.is_about_labels = base.is_about_labels

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        self.base.to(device)
        self.teachers.to(device)

    def advance(self, fraction: float) -> None:
        """See `Objective`."""
        self.base.advance(fraction)
        self._fraction = fraction

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        total, count = self.base(output, batch)
        for k, config in enumerate(self.configs):
            own_stride, stride = self._strides[k]
            loss = hint_loss(
                counted_frames(output.hidden[k], batch.counted, own_stride),
                self._theirs(config, batch, stride),
                self._variances[k],
            )
            total = total + config.weight * weight_factor(config, self._fraction) * loss
        return total, count

    def _theirs(self, config: HintConfig, batch: Batch, stride: int) -> Tensor:
        hidden = self.teachers(config.of - 1, batch).hidden[config.teacher]
        return counted_frames(hidden, batch.counted, stride)

    def _measure(self, data: AlignedData) -> list[float]:
        """Variance of each teacher's layer on utterances spread over the training set."""
        indices = np.linspace(0, len(data) - 1, min(_SAMPLE, len(data))).astype(int).tolist()
        batch = plain_batch(data, indices)
        variances = [
            layer_variance(self._theirs(config, batch, stride))
            for config, (_, stride) in zip(self.configs, self._strides, strict=True)
        ]
        faults = [
            f"distill.hints[{k}]: {config.teacher} of {self.teachers.names[config.of - 1]} puts "
            f"out {'the same on all frames' if variance == 0 else 'NaN or infinity'}: no hint"
            for k, (config, variance) in enumerate(zip(self.configs, variances, strict=True))
            if not 0 < variance < math.inf
        ]
        if faults:
            raise InputError(faults)
        return variances


def weight_factor(config: HintConfig, fraction: float) -> float:
    """What a hint's weight is multiplied by at `fraction` of all epochs."""
    return {
        "constant": 1.0,
        "linear": 1 - fraction,
        "cosine": 0.5 * (1 + math.cos(math.pi * fraction)),
    }[config.schedule]


def _check(
    configs: Sequence[HintConfig], network: AcousticModel, teachers: Teachers
) -> list[tuple[Layer, Layer]]:
    """The student's and the teacher's layer of each hint."""
    own = find_layers(network)
    asked = {config.of for config in configs if config.of <= len(teachers.models)}
    theirs = {of: find_layers(teachers.models[of - 1]) for of in asked}
    untrained = untrained_layers(network, own.keys() & {config.student for config in configs})
    pairs, faults = [], []
    for k, config in enumerate(configs):
        key = f"distill.hints[{k}]"
        if config.student not in own:
            faults.append(_no_layer(f"{key}.student", "the student", network, config.student, own))
        elif config.student in untrained:
            faults.append(
                f"{key}.student: nothing is trained in {config.student!r} or before it, so that a "
                f"hint teaches nothing; name a later layer"
            )
        if config.of not in asked:
            faults.append(f"{key}.of is {config.of}, of {len(teachers.models)} teachers")
        elif config.teacher not in theirs[config.of]:
            model, name = teachers.models[config.of - 1], teachers.names[config.of - 1]
            faults.append(
                _no_layer(f"{key}.teacher", name, model, config.teacher, theirs[config.of])
            )
        elif config.student in own:
            pair = own[config.student], theirs[config.of][config.teacher]
            pairs.append(pair)
            if any(layer.stride % network.subsampling for layer in pair):
                faults.append(
                    f"{key}: {config.student} has {pair[0].stride} frames of features to a frame, "
                    f"{config.teacher} {pair[1].stride}; name layers behind the subsampling by "
                    f"{network.subsampling}"
                )
    if faults:
        raise InputError(faults)
    return pairs


def _no_layer(
    key: str, who: str, model: AcousticModel, layer: str, usable: dict[str, Layer]
) -> str:
    exists = layer and layer in dict(model.named_modules())
    what = f"{layer!r} of {who} puts out no (B,T,D)" if exists else f"{who} has no layer {layer!r}"
    return f"{key}: {what}; layers that do: {', '.join(usable)}"
