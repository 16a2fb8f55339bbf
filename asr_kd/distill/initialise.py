"""A student that starts from some of a teacher's layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel

Layers = Literal["all", "first", "every"] | Mapping[str, str]


@dataclass(frozen=True)
class Initialisation:
    """What a student took over.

    Attributes:
        sources: each tensor of the student → the teacher's tensor it was copied from, or None
            where the student keeps its own.
        shapes: tensor of the student → shape.
        notes: where a copied layer works otherwise than it did in the teacher.
    """

    sources: dict[str, str | None]
    shapes: dict[str, tuple[int, ...]]
    notes: list[str]

    @property
    def has_frontend(self) -> bool:
        """Whether the input's normalisation was taken over; else it is to be fitted."""
        return all(
            source is not None
            for name, source in self.sources.items()
            if name.startswith("frontend.")
        )

    def table(self, teacher: str) -> str:
        """Markdown: a row for each tensor of the student, and the notes."""
        rows = [
            f"| {name} | {source or _own(name)} | {_shape_text(self.shapes[name])} |"
            for name, source in self.sources.items()
        ]
        header = [f"| student | {teacher} | shape |", "| --- | --- | --- |"]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([*header, *rows, *([""] if notes else []), *notes]) + "\n"


def initialise(
    student: AcousticModel,
    teacher: AcousticModel,
    layers: Layers = "all",
    step: int = 2,
    name: str = "the teacher",
) -> Initialisation:
    """Copies layers of a teacher into a student.

    `all` wants two models of the same shapes. Otherwise the layers (`AcousticModel.blocks`) are
    chosen, and what stands outside of them, input normalisation and output layer among it, is
    copied where it has the same shapes in both models.

    Args:
        student: is changed in place, unless there are faults.
        teacher: any model.
        layers: `all`; the `first` n for the student's n; `every` `step`-th, from layer 0; or names
            of submodules, the student's → the teacher's.
        step: of `every`.
        name: how messages call the teacher.

    Raises:
        InputError: every layer that is not there, and every pair of tensors whose shapes differ,
            with both shapes.
    """
    faults: list[str] = []
    if layers == "all":
        chosen = [("", "")]
    elif layers == "first" or layers == "every":
        chosen = _chosen(student, teacher, 1 if layers == "first" else step, name, faults)
    else:
        chosen = list(layers.items())
        for model, names, who in (
            (student, [ours for ours, _ in chosen], "the student"),
            (teacher, [theirs for _, theirs in chosen], name),
        ):
            faults += _missing(model, names, who)
    if faults:
        raise InputError(faults)

    ours, theirs = student.state_dict(), teacher.state_dict()
    sources: dict[str, str | None] = dict.fromkeys(ours)
    for own, other in chosen:
        sources |= _pair(_below(ours, own), _below(theirs, other), own, other, name, faults)
    if faults:
        raise InputError(faults)
    if layers != "all":
        sources |= _outside(student, teacher, sources)
    with torch.no_grad():
        for tensor, source in sources.items():
            if source is not None:
                ours[tensor].copy_(theirs[source])
    notes = [note for own, other in chosen for note in _changes(student, teacher, own, other)]
    one, two = student.frontend.config, teacher.frontend.config
    if one != two:
        notes.append(f"the front end is {one}, in the teacher {two}")
    shapes = {tensor: tuple(value.shape) for tensor, value in ours.items()}
    return Initialisation(sources, shapes, notes)


def _chosen(
    student: AcousticModel, teacher: AcousticModel, step: int, name: str, faults: list[str]
) -> list[tuple[str, str]]:
    """Each of the student's layers and the layer of the teacher that it starts from."""
    ours, theirs = student.blocks(), teacher.blocks()
    if len(theirs[::step]) < len(ours):
        every = f", of which one in {step} makes {len(theirs[::step])}" if step > 1 else ""
        faults.append(
            f"{name}: {len(theirs)} layers ({_names(theirs)}){every}; the student has {len(ours)} "
            f"({_names(ours)}): give it fewer layers, or name pairs of layers in init.layers"
        )
    pairs = []
    for own, other in zip(ours, theirs[::step], strict=False):
        if len(own) != len(other):
            faults.append(f"{name}: {' + '.join(other)} cannot become {' + '.join(own)}")
        pairs += list(zip(own, other, strict=False))
    return pairs


def _missing(model: AcousticModel, names: Iterable[str], who: str) -> list[str]:
    weights = model.state_dict()
    return [
        f"init.layers: {who} has no layer {layer!r} with weights; its layers: "
        f"{_names(model.blocks())}"
        for layer in names
        if not _below(weights, layer)
    ]


def _pair(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    own: str,
    other: str,
    name: str,
    faults: list[str],
) -> dict[str, str]:
    """Tensors of one layer, by their names within it: the student's name → the teacher's."""
    what = name if not other else f"{name}: {other} for {own}"
    for key in sorted(ours.keys() | theirs.keys()):
        one, two = (_shape(tensors.get(key)) for tensors in (ours, theirs))
        if one != two:
            faults.append(f"{what}: {key} is {two or 'missing'}, here {one or 'missing'}")
    return {_join(own, key): _join(other, key) for key in ours if key in theirs}


def _outside(
    student: AcousticModel, teacher: AcousticModel, sources: Mapping[str, str | None]
) -> dict[str, str]:
    """What belongs to no layer (front end, output) and can be copied as it is, part by part."""
    ours, theirs = student.state_dict(), teacher.state_dict()
    layers = [f"{layer}." for block in student.blocks() for layer in block]
    parts: dict[str, list[str]] = {}
    for tensor in ours:
        if sources[tensor] is None and not tensor.startswith(tuple(layers)):
            parts.setdefault(tensor.partition(".")[0], []).append(tensor)
    if _deltas(student) != _deltas(teacher):
        parts.pop("frontend", None)  # the same shapes, but of other dimensions
    return {
        tensor: tensor
        for tensors in parts.values()
        if all(_shape(theirs.get(t)) == _shape(ours[t]) for t in tensors)
        for tensor in tensors
    }


def _deltas(model: AcousticModel) -> tuple[object, ...]:
    """What the input's normalisation depends on beside the data."""
    config = model.frontend.config
    return config.delta_order, config.delta_window, config.shared_scale


def _changes(student: AcousticModel, teacher: AcousticModel, own: str, other: str) -> list[str]:
    """Weights that fit, in modules that use them otherwise (another dilation or stride)."""
    theirs = dict(teacher.get_submodule(other).named_modules())
    notes = []
    for key, module in student.get_submodule(own).named_modules():
        source = theirs.get(key)
        if source is None or not any(True for _ in module.parameters()):
            continue
        one, two = module.extra_repr(), source.extra_repr()
        if one != two:
            place = _join(own, key).rstrip(".")
            notes.append(f"{place} works with {one}, in the teacher with {two}")
    return notes


def _below(tensors: Mapping[str, Tensor], layer: str) -> dict[str, Tensor]:
    if not layer:
        return dict(tensors)
    start = f"{layer}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _join(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key


def _names(blocks: Sequence[tuple[str, ...]]) -> str:
    return ", ".join(" + ".join(block) for block in blocks)


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _own(name: str) -> str:
    return "— (fitted to the data)" if name.startswith("frontend.") else "— (random)"
