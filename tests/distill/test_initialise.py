"""A student takes exactly the planted tensors, or nothing and a list of every fault."""

from typing import Any

import pytest
import torch
from torch import Tensor

from asr_kd.distill.initialise import initialise
from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import (
    BlstmConfig,
    DnnConfig,
    FrontendConfig,
    ResnetConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)

PLAIN = FrontendConfig()


def dnn(num_layers: int, width: int = 6) -> DnnConfig:
    return DnnConfig(num_layers=num_layers, width=width, frontend=PLAIN)


def tdnn(*dilations: int, width: int = 6, **more: Any) -> TdnnConfig:
    layers = (TdnnLayerConfig(offsets=(-d, 0, d), width=width) for d in dilations)
    return TdnnConfig(layers=tuple(layers), **more)


def blstm(num_layers: int) -> BlstmConfig:
    return BlstmConfig(num_layers=num_layers, width=3, frontend=PLAIN)


def planted(config: object, seed: int, input_dim: int = 6, num_labels: int = 7) -> AcousticModel:
    """Every tensor has its own numbers."""
    torch.manual_seed(seed)
    model = build_model(config, input_dim, num_labels)  # type: ignore[arg-type]
    for tensor in model.state_dict().values():
        tensor.copy_(torch.randn_like(tensor))
    return model


def copy_of(model: AcousticModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check(student: AcousticModel, teacher: AcousticModel, pairs: dict[str, str], **how: Any) -> Any:
    """`pairs` are layers, own → the teacher's; all else of the student must stay."""
    before, theirs = copy_of(student), copy_of(teacher)
    start = initialise(student, teacher, **how)
    after = student.state_dict()
    for name, tensor in after.items():
        own = next((layer for layer in pairs if name.startswith(f"{layer}.")), None)
        source = None if own is None else pairs[own] + name.removeprefix(own)
        assert start.sources[name] == source, name
        assert torch.equal(tensor, before[name] if source is None else theirs[source]), name
    assert all(torch.equal(theirs[name], x) for name, x in teacher.state_dict().items())
    return start


ENDS = {"frontend": "frontend", "output": "output"}


def test_the_first_layers() -> None:
    # The layers of a DNN are those with weights: every third of its modules.
    check(planted(dnn(2), 1), planted(dnn(5), 2),
          {**ENDS, "layers.0": "layers.0", "layers.3": "layers.3"}, layers="first")  # fmt: skip


def test_every_second_layer() -> None:
    check(planted(dnn(3), 1), planted(dnn(5), 2),
          {**ENDS, "layers.0": "layers.0", "layers.3": "layers.6", "layers.6": "layers.12"},
          layers="every", step=2)  # fmt: skip
    check(planted(tdnn(1, 3), 1), planted(tdnn(1, 2, 3, 4), 2),
          {**ENDS, "layers.0": "layers.0", "layers.1": "layers.2"}, layers="every")  # fmt: skip


def test_both_directions_of_a_blstm_go_together() -> None:
    check(
        planted(blstm(2), 1),
        planted(blstm(4), 2),
        {
            **ENDS,
            "ahead.0": "ahead.0",
            "back.0": "back.0",
            "ahead.1": "ahead.3",
            "back.1": "back.3",
        },
        layers="every",
        step=3,
    )


def test_a_table_of_layers() -> None:
    table = {"layers.3": "layers.9", "layers.6": "layers.3"}
    check(planted(dnn(3), 1), planted(dnn(5), 2), {**ENDS, **table}, layers=table)
    # A part of a layer is a layer too.
    table = {"layers.1.norm": "layers.0.norm"}
    check(planted(tdnn(1, 3), 1), planted(tdnn(1, 2), 2), {**ENDS, **table}, layers=table)


def test_all_layers_of_the_same_model() -> None:
    student, teacher = planted(blstm(2), 1), planted(blstm(2), 2)
    start = initialise(student, teacher)
    assert all(torch.equal(x, teacher.state_dict()[n]) for n, x in student.state_dict().items())
    assert start.has_frontend
    assert "random" not in start.table("t")


SMALL = 1 / 32
CNNS = {
    "vgg": (
        VggConfig(depth=11, width_multiplier=SMALL),
        VggConfig(depth=13, width_multiplier=SMALL),
    ),
    "resnet": (
        ResnetConfig(width_multiplier=SMALL),
        ResnetConfig(depth=34, width_multiplier=SMALL),
    ),
}


@pytest.mark.parametrize(("own", "other"), CNNS.values(), ids=CNNS)
def test_convolutional_blocks(own: object, other: object) -> None:
    student, teacher = planted(own, 1), planted(other, 2)
    table = {"layers.0": "layers.0", "layers.7": "layers.9" if "vgg" in own.kind else "layers.14"}
    check(student, teacher, {**ENDS, **table}, layers=table)


def test_front_end_and_output_only_where_they_fit() -> None:
    # Another number of labels, other deltas: both stay.
    deltas = tdnn(1, 2, frontend=FrontendConfig(delta_order=1))
    table = {"layers.1": "layers.1"}
    start = check(planted(deltas, 1, input_dim=3), planted(tdnn(1, 2), 2, num_labels=9),
                  table, layers=table)  # fmt: skip
    assert not start.has_frontend
    assert start.notes[0].startswith("the front end is")
    text = start.table("exp/teacher")
    assert text.splitlines()[0] == "| student | exp/teacher | shape |"
    assert "| frontend.mean | — (fitted to the data) | 6 |" in text
    assert "| layers.0.affine.weight | — (random) | 6×18 |" in text
    assert "| layers.1.affine.weight | layers.1.affine.weight | 6×18 |" in text
    assert "| output.bias | — (random) | 7 |" in text
    # The same shapes by another stride: three frames of the same labels are not nine labels.
    strided = tdnn(1, 2, stride=3)
    check(planted(strided, 1), planted(tdnn(1, 2), 2), {"frontend": "frontend", **table},
          layers=table)  # fmt: skip


def test_layers_that_work_otherwise_are_noted() -> None:
    start = initialise(planted(tdnn(1, 2), 1), planted(tdnn(1, 3), 2), "first")
    assert start.notes == [
        "layers.1 works with offsets=[-2, 0, 2], stride=1, in the teacher with "
        "offsets=[-3, 0, 3], stride=1"
    ]
    assert start.notes[0] in start.table("t")
    assert not initialise(planted(tdnn(1, 2), 1), planted(tdnn(1, 2), 2), "first").notes


def refused(student: AcousticModel, teacher: AcousticModel, *how: Any) -> list[str]:
    before = copy_of(student)
    with pytest.raises(InputError) as caught:
        initialise(student, teacher, *how, name="exp/t")
    assert all(torch.equal(before[name], x) for name, x in student.state_dict().items())
    return caught.value.faults


def test_shapes_that_cannot_match_are_all_named() -> None:
    faults = refused(planted(dnn(2, width=5), 1), planted(dnn(3), 2), "first")
    assert faults == [
        "exp/t: layers.0 for layers.0: bias is (6,), here (5,)",
        "exp/t: layers.0 for layers.0: weight is (6, 6), here (5, 6)",
        "exp/t: layers.3 for layers.3: bias is (6,), here (5,)",
        "exp/t: layers.3 for layers.3: weight is (6, 6), here (5, 5)",
    ]
    # A layer that comes after a change of width.
    faults = refused(planted(dnn(2), 1), planted(dnn(3), 2, input_dim=9), "every", 2)
    assert faults == ["exp/t: layers.0 for layers.0: weight is (6, 9), here (6, 6)"]
    # A table may name layers of different kinds.
    faults = refused(planted(tdnn(1, 2), 1), planted(dnn(3), 2), {"layers.0": "layers.3"}, 2)
    assert "exp/t: layers.3 for layers.0: affine.weight is missing, here (6, 18)" in faults
    assert "exp/t: layers.3 for layers.0: bias is (6,), here missing" in faults


def test_all_wants_the_same_model() -> None:
    faults = refused(planted(dnn(2), 1), planted(dnn(3), 2), "all")
    assert faults == [
        "exp/t: layers.6.bias is (6,), here missing",
        "exp/t: layers.6.weight is (6, 6), here missing",
    ]


def test_too_few_layers() -> None:
    (fault,) = refused(planted(dnn(3), 1), planted(dnn(4), 2), "every", 2)
    assert "exp/t: 4 layers (layers.0, layers.3, layers.6, layers.9)" in fault
    assert "one in 2 makes 2; the student has 3 (layers.0, layers.3, layers.6)" in fault
    (fault,) = refused(planted(blstm(3), 1), planted(blstm(2), 2), "first")
    assert "2 layers (ahead.0 + back.0, ahead.1 + back.1); the student has 3" in fault
    (fault,) = refused(planted(dnn(1), 1), planted(blstm(2), 2), "first")
    assert "ahead.0 + back.0 cannot become layers.0" in fault


def test_layers_that_do_not_exist_are_answered_with_those_that_do() -> None:
    table = {"layers.9": "layers.0", "layers.0": "layer.0", "layers.1": "layers.3"}
    faults = refused(planted(dnn(2), 1), planted(dnn(3), 2), table)
    assert faults == [
        "init.layers: the student has no layer 'layers.9' with weights; its layers: "
        "layers.0, layers.3",
        "init.layers: the student has no layer 'layers.1' with weights; its layers: "
        "layers.0, layers.3",
        "init.layers: exp/t has no layer 'layer.0' with weights; its layers: "
        "layers.0, layers.3, layers.6",
    ]
