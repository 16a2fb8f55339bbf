"""Hints: a layer of the student learns to give what a layer of a teacher gives.

Embedding distillation after FitNets (Romero et al. 2015): the student's layer, through a learned
linear projection where it is needed, regresses the teacher's. Layers are named as submodules of
the models. A hidden frame of a layer with stride s stands for s frames of the input:

- where the teacher's layer has fewer frames, each stands for all the frames that it covers;
- where the student's layer has fewer, its projection gives all the frames of the teacher's layer
  that it covers at once, as the output layer of a strided network does.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr_kd.models.base import AcousticModel

# Two lengths, one of them odd: a layer whose first axis of features looks like time is found out.
_PROBES = (240, 121)


class Layer(NamedTuple):
    """What a layer puts out: (B,⌈T/stride⌉,width) for T frames of input."""

    width: int
    stride: int


def forward_tapped(
    model: AcousticModel, feats: Tensor, lengths: Tensor, layers: Iterable[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """A forward pass that brings home the outputs of some layers.

    Args:
        model: any model.
        feats: (B,T,F).
        lengths: (B,).
        layers: names of submodules, of those that `find_layers` finds.

    Returns:
        Logits (B,T,V), and for each layer its output (B,T',D) in the order of time. What stands on
        padded frames means nothing.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: object, output: object) -> None:
        hidden = _as_frames(_tensor(output))
        if hidden is not None:
            outputs[name] = model.in_time_order(name, hidden, lengths)

    # Hooks live for this pass only: copies of the model (an average of its weights) are made
    # between passes, and would carry them along.
    handles = [
        model.get_submodule(name).register_forward_hook(partial(keep, name)) for name in set(layers)
    ]
    try:
        logits, _ = model(feats, lengths)
    finally:
        for handle in handles:
            handle.remove()
    return logits, outputs


@torch.no_grad()
def find_layers(model: AcousticModel) -> dict[str, Layer]:
    """The layers that a hint can name: those that put out (B,T',D) once in each forward pass.

    Outputs (B,C,T',D) count as C·D features, of an LSTM's outputs the first. Found by trial, not
    by kind, so that it holds for any model. Layers whose output is overwritten later are left out.
    """
    was_training = model.training
    model.eval()
    one, other = (_probe(model, num_frames) for num_frames in _PROBES)
    model.train(was_training)
    return {name: layer for name, layer in one.items() if other.get(name) == layer}


def untrained_layers(model: AcousticModel, layers: Iterable[str]) -> set[str]:
    """Those of the layers whose output no parameter has a part in, such as the front end.

    Args:
        model: any model.
        layers: of those that `find_layers` finds.
    """
    was_training = model.training
    model.eval()
    mean = model.frontend.mean
    lengths = torch.tensor([_PROBES[0]], device=mean.device)
    feats = mean.new_zeros(1, _PROBES[0], model.input_dim)
    _, outputs = forward_tapped(model, feats, lengths, layers)
    model.train(was_training)
    return {name for name, output in outputs.items() if not output.requires_grad}


class Projection(nn.Module):
    """Linear map of a student's hidden frames (B,T',D) to a teacher's: (B,T'·r,D').

    Args:
        student, teacher: the two layers. The result has `stride` input frames to each frame: the
            greatest common divisor of both strides.
    """

    def __init__(self, student: Layer, teacher: Layer) -> None:
        super().__init__()
        self.stride = math.gcd(student.stride, teacher.stride)
        self.frames = student.stride // self.stride
        self.width = teacher.width
        self.affine = nn.Linear(student.width, self.frames * teacher.width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B,T',D) -> (B,T'·r,D')."""
        batch, num_frames, _ = hidden.shape
        projected: Tensor = self.affine(hidden)
        return projected.reshape(batch, num_frames * self.frames, self.width)


def needs_projection(student: Layer, teacher: Layer) -> bool:
    """Whether the student's layer cannot be held against the teacher's as it is."""
    return student.width != teacher.width or teacher.stride % student.stride != 0


def counted_frames(hidden: Tensor, counted: Tensor, stride: int) -> Tensor:
    """The hidden frames that stand for the input frames which the loss counts.

    Args:
        hidden: (B,T',D).
        counted: (B,T) bool; N of them are True.
        stride: input frames of each hidden frame.

    Returns:
        float32 (N,D), in the order of the utterances and of time.
    """
    rows, frames = counted.nonzero(as_tuple=True)
    at = rows * hidden.shape[1] + frames.div(stride, rounding_mode="floor")
    return hidden.flatten(0, 1).index_select(0, at).float()


def hint_loss(student: Tensor, teacher: Tensor, variance: float) -> Tensor:
    """Mean squared error of N frames (N,D), summed over the frames, in units of `variance`.

    With the variance of the teacher's layer (see `layer_variance`) a frame costs 1 where the
    student knows no more than the layer's mean, and 0 where it knows all, whatever layer it is.
    """
    return (student - teacher).square().mean(1).sum() / variance


def layer_variance(hidden: Tensor) -> float:
    """Variance over frames (N,D) of a layer's output, averaged over its D features."""
    return float(hidden.double().var(0, correction=0).mean())


def _tensor(output: object) -> Tensor | None:
    """A layer's output, or the first of several."""
    first = output[0] if isinstance(output, tuple) and output else output
    return first if isinstance(first, Tensor) else None


def _as_frames(output: Tensor | None) -> Tensor | None:
    """A layer's output as (B,T',D), if it is of a kind that can be."""
    if output is None or output.ndim not in (3, 4):
        return None
    return output if output.ndim == 3 else output.transpose(1, 2).flatten(2)


def _probe(model: AcousticModel, num_frames: int) -> dict[str, Layer]:
    """The layers that put out hidden frames once for an input of so many frames."""
    seen: dict[str, list[tuple[Tensor | None, int]]] = {}

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        tensor = _tensor(output)
        version = 0 if tensor is None else tensor._version
        seen.setdefault(name, []).append((tensor, version))

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in model.named_modules()
        if name
    ]
    try:
        mean = model.frontend.mean
        lengths = torch.tensor([num_frames], device=mean.device)
        model(mean.new_zeros(1, num_frames, model.input_dim), lengths)
    finally:
        for handle in handles:
            handle.remove()
    layers = {}
    for name, ((output, version), *again) in seen.items():
        hidden = _as_frames(output)
        if again or hidden is None or output is None or output._version != version:
            continue
        stride = math.ceil(num_frames / max(hidden.shape[1], 1))
        if len(hidden) == 1 and hidden.shape[1] == math.ceil(num_frames / stride):
            layers[name] = Layer(hidden.shape[2], stride)
    return layers
