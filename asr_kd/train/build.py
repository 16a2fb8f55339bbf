"""What a training works with, made from its inputs and checked: network and objective."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from asr_kd.distill.initialise import Initialisation, initialise
from asr_kd.errors import InputError
from asr_kd.features.spec import require_same_input
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import BlstmConfig, ConformerConfig, TdnnConfig
from asr_kd.train.config import InitConfig, TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.hints import WithHints
from asr_kd.train.inputs import TrainInputs, contradictions
from asr_kd.train.labels import FrameRate
from asr_kd.train.mmi import WithMmi, mmi_faults
from asr_kd.train.nbest import NbestTargets
from asr_kd.train.objective import HardLabels, Objective, OnlineTeachers, StoredTargets
from asr_kd.train.selection import FrameSelection
from asr_kd.train.sequence import TokenSequences, sequence_faults
from asr_kd.train.specialist import Specialty
from asr_kd.train.student import Student
from asr_kd.train.teachers import Teachers

_logger = logging.getLogger("asr_kd.train")


def read_data(inputs: TrainInputs, config: TrainConfig) -> tuple[AlignedData, AlignedData]:
    """The training set and the dev set.

    Raises:
        InputError: all faults of both together.
    """
    ali, labelled = inputs.ali or inputs.dev_ali, inputs.ali is not None
    speed, model = config.augment.speed, config.model
    rate = FrameRate()
    if isinstance(model, TdnnConfig | BlstmConfig | ConformerConfig):
        rate = FrameRate(model.subsampling.factor)
    faults: list[str] = []
    with _collecting(faults):
        data = AlignedData(
            inputs.data, ali, config.cmvn, labelled, rate._replace(fastest=speed.fastest)
        )
    with _collecting(faults):
        dev = AlignedData(inputs.dev, inputs.dev_ali, config.cmvn, rate=rate)
    if faults:
        raise InputError(faults)
    if labelled and data.label_set.digest == dev.label_set.digest:
        _warn_of_unseen(data, dev)
    return data, dev


def _warn_of_unseen(data: AlignedData, dev: AlignedData) -> None:
    """Says which labels of the dev set nothing in the training set can teach."""
    seen, wanted = (
        {k for i in range(len(x)) for k in np.unique(x.tokens(i) if x.has_tokens else x.pdf_ids(i))}
        for x in (data, dev)
    )
    if unseen := sorted(wanted - seen):
        names = data.label_set.shown(unseen)
        _logger.warning(
            "%s: no %s of %d labels that %s has: %s",
            data.path, "utterance" if data.has_tokens else "frame", len(unseen), dev.path, names,
        )  # fmt: skip


def _require_alike(data: AlignedData, dev: AlignedData) -> None:
    """Refuses a dev set of other labels or features than the training set's."""
    data.label_set.require_same(dev.label_set, str(data.ali_dir), str(dev.ali_dir))
    require_same_input(str(data.path), data.input, str(dev.path), dev.input)


def _require_images(config: TrainConfig, data: AlignedData) -> None:
    """Refuses to shift frames that are no images.

    Raises:
        InputError: with the size of a frame.
    """
    shift = config.augment.shift
    if shift.prob and shift.height * shift.width != data.input_dim:
        raise InputError(
            f"augment.shift: frames are no images of {shift.height} × {shift.width} pixels; "
            f"{data.path} has {data.input_dim} dimensions"
        )


def _select_frames(config: TrainConfig, data: AlignedData) -> FrameSelection:
    """The training frames that count.

    Raises:
        InputError: for a choice of labels none of which has a frame in the training data, with the
            labels' names; and from `FrameSelection.by_label`.
    """
    selection = FrameSelection.by_label(config.frames, data.label_set)
    counted = selection.chances > 0
    rows = map(data.pdf_ids, range(len(data)))
    if not any((counted[pdf_ids] | (pdf_ids < 0)).any() for pdf_ids in rows):  # -1 is unknown
        names = [name for name, counts in zip(data.label_set.names, counted, strict=True) if counts]
        raise InputError(
            f"{data.ali_dir}: the labels that frames.only and frames.exclude leave have no frame "
            f"in {data.path}: {', '.join(names)}"
        )
    return selection


class Building(NamedTuple):
    """What a training works with.

    Attributes:
        student: the network that is trained, with the projections of its hints.
        objective: its loss.
        selection: which training frames the loss counts.
        start: what the network took over from another model, if it did.
        specialty: what it is about, if it is a specialist.
    """

    student: Student
    objective: Objective
    selection: FrameSelection
    start: Initialisation | None
    specialty: Specialty | None


def build(
    inputs: TrainInputs, config: TrainConfig, data: AlignedData, dev: AlignedData
) -> Building:
    """The network, freshly drawn or from another model's layers, and the loss that is asked for.

    Raises:
        InputError: all faults of data, targets, teachers, hints, cluster and the other model
            together.
    """
    hints = config.distill.hints
    faults = contradictions(inputs, config)
    specialty = None
    with _collecting(faults):
        _require_alike(data, dev)
        if inputs.cluster is not None and inputs.ali is not None:
            specialty = Specialty.open(inputs.cluster, config.specialist, data, dev)
    with _collecting(faults):
        _require_images(config, data)
    with _collecting(faults):
        selection = _select_frames(config, data)
    graph_faults = list(mmi_faults(inputs, config, data))
    faults += [*sequence_faults(inputs, config, data, dev), *graph_faults]
    guide: Teachers | None = None
    with _collecting(faults):
        if inputs.guide is not None and (data.has_tokens or inputs.nbest is not None):
            guide = Teachers([inputs.guide], config.distill, data)
    lists: NbestTargets | None = None
    with _collecting(faults):
        if inputs.nbest is not None:
            fastest = config.augment.speed.fastest
            lists = NbestTargets(inputs.nbest, config.nbest, data, fastest)
    objective: Objective = HardLabels()
    if data.has_tokens or lists is not None:
        objective = TokenSequences(config.ctc, guide, lists)
    teachers: Teachers | None = None
    with _collecting(faults):
        if inputs.teachers:
            teachers = Teachers(inputs.teachers, config.distill, data)
    with _collecting(faults):
        if inputs.targets is not None:
            objective = StoredTargets(inputs.targets, config.distill, data, objective)
        elif teachers is not None:
            objective = OnlineTeachers(teachers, config.distill, objective)
    torch.manual_seed(config.seed)
    network = build_model(config.model, data.input_dim, len(data.label_set))
    student, start = Student(network), None
    with _collecting(faults):
        if inputs.init is not None:
            start = _initialise(network, inputs.init, config.init, data)
    with _collecting(faults):
        if hints and teachers is not None:
            objective = hinted = WithHints(objective, hints, network, teachers, data)
            student = hinted.student
    with _collecting(faults):
        if inputs.graph is not None and not graph_faults:
            objective = WithMmi.open(inputs.graph, objective, config, data, dev)
    if faults:
        raise InputError(faults)
    if specialty is not None and start is not None:
        network, objective, start = specialty.start(network, start, config, data)
        student = Student(network)
    return Building(student, objective, selection, start, specialty)


def _initialise(
    network: AcousticModel, init: Path, config: InitConfig, data: AlignedData
) -> Initialisation:
    """Takes over another model's layers."""
    former = Checkpoint.load(init)
    data.require_fits(former, str(init))
    return initialise(network, former.model, config.layers, config.step, str(init))


@contextmanager
def _collecting(faults: list[str]) -> Iterator[None]:
    """Lets the faults of one part wait for those of the next."""
    try:
        yield
    except InputError as error:
        faults += error.faults
