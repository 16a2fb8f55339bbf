"""What a training works with, made from its inputs and checked: network and objective."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from asr_kd.artefact import hash_file, hash_input
from asr_kd.distill.clusters import parse_cluster
from asr_kd.distill.initialise import Initialisation, initialise
from asr_kd.ensemble.store import HEADER
from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.config import EssenceConfig, InitConfig, TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.hints import WithHints
from asr_kd.train.objective import HardLabels, Objective, OnlineTeachers, StoredTargets
from asr_kd.train.selection import FrameSelection
from asr_kd.train.specialist import Specialty
from asr_kd.train.student import Student
from asr_kd.train.teachers import Teachers

_logger = logging.getLogger("asr_kd.train")


@dataclass(frozen=True)
class TrainInputs:
    """What is trained on.

    Attributes:
        data, dev: feature directories.
        ali, dev_ali: alignments of their utterances; no `ali` for data without transcripts, which
            take label set and label prior from `dev_ali`.
        targets: a soft-target store; then the model is a student.
        teachers: model folders that label each batch on line; then the model is a student.
        init: model folder whose weights the training starts from.
        cluster: `DIR:NUMBER` of a specialist's labels; `init` is its generalist.
    """

    data: Path
    ali: Path | None
    dev: Path
    dev_ali: Path
    targets: Path | None = None
    teachers: tuple[Path, ...] = ()
    init: Path | None = None
    cluster: str | None = None

    def by_name(self) -> dict[str, Path | str]:
        """Name → path or hash, for the manifest."""
        names = ("data", "ali", "dev", "dev_ali", "targets", "init")
        paths = {name: getattr(self, name) for name in names}
        paths |= {f"teacher{k}": path for k, path in enumerate(self.teachers, start=1)}
        if self.targets is not None and (self.targets / HEADER).is_file():
            # It holds the checksums of all shards, which may be larger than one wants to read.
            paths["targets"] = hash_file(self.targets / HEADER)
        if self.cluster is not None:
            folder, number = parse_cluster(self.cluster)
            paths["cluster"] = f"{hash_input(folder)}:{number}"
        return {name: path for name, path in paths.items() if path is not None}


def read_data(inputs: TrainInputs, config: TrainConfig) -> tuple[AlignedData, AlignedData]:
    """The training set and the dev set.

    Raises:
        InputError: all faults of both together.
    """
    ali, labelled = inputs.ali or inputs.dev_ali, inputs.ali is not None
    faults: list[str] = []
    with _collecting(faults):
        data = AlignedData(inputs.data, ali, config.cmvn, labelled)
    with _collecting(faults):
        dev = AlignedData(inputs.dev, inputs.dev_ali, config.cmvn)
    if faults:
        raise InputError(faults)
    if labelled and data.label_set.digest == dev.label_set.digest:
        _warn_of_unseen(data, dev)
    return data, dev


def _warn_of_unseen(data: AlignedData, dev: AlignedData) -> None:
    """Says which labels of the dev set nothing in the training set can teach."""
    seen, wanted = (
        {k for i in range(len(x)) for k in np.unique(x.pdf_ids(i))} for x in (data, dev)
    )
    if unseen := sorted(wanted - seen):
        names = ", ".join(data.label_set.names[k] for k in unseen)
        _logger.warning(
            "%s: no frame of %d labels that %s has: %s", data.path, len(unseen), dev.path, names
        )


def _require_alike(data: AlignedData, dev: AlignedData) -> None:
    """Refuses a dev set of other labels or features than the training set's."""
    data.label_set.require_same(dev.label_set, str(data.ali_dir), str(dev.ali_dir))
    if (data.spec, data.input_dim) != (dev.spec, dev.input_dim):
        raise InputError(f"features differ: {data.describe_input()}; {dev.describe_input()}")


def _require_images(config: TrainConfig, data: AlignedData) -> None:
    """Refuses to shift frames that are no images.

    Raises:
        InputError: with the size of a frame.
    """
    shift = config.augment.shift
    if shift.prob and shift.height * shift.width != data.input_dim:
        raise InputError(
            f"augment.shift: frames are no images of {shift.height} × {shift.width} pixels; "
            f"{data.describe_input()}"
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
    faults = _contradictions(inputs, config)
    specialty = None
    with _collecting(faults):
        _require_alike(data, dev)
        if inputs.cluster is not None and inputs.ali is not None:
            specialty = Specialty.open(inputs.cluster, config.specialist, data, dev)
    with _collecting(faults):
        _require_images(config, data)
    with _collecting(faults):
        selection = _select_frames(config, data)
    objective: Objective = HardLabels()
    teachers: Teachers | None = None
    with _collecting(faults):
        if inputs.teachers:
            teachers = Teachers(inputs.teachers, config.distill, data)
    with _collecting(faults):
        if inputs.targets is not None:
            objective = StoredTargets(inputs.targets, config.distill, data)
        elif teachers is not None:
            objective = OnlineTeachers(teachers, config.distill)
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
    if faults:
        raise InputError(faults)
    if specialty is not None and start is not None:
        network, objective, start = specialty.start(network, start, config, data)
        student = Student(network)
    return Building(student, objective, selection, start, specialty)


def _contradictions(inputs: TrainInputs, config: TrainConfig) -> list[str]:
    """What inputs and configuration ask for in vain."""
    distill = config.distill
    faults = [] if inputs.ali is not None else list(_needs_labels(inputs, config))
    if inputs.targets is not None and inputs.teachers and not distill.hints:
        faults.append(
            "targets come from a store or from teachers on line, not from both (unless the "
            "teachers give distill.hints)"
        )
    if distill.hints and not inputs.teachers:
        faults.append("distill.hints need the teachers themselves: give --teacher MODEL")
    if (inputs.targets or inputs.teachers) and not (
        distill.soft_weight or distill.hard_weight or distill.hints
    ):
        faults.append("distill.soft_weight and distill.hard_weight are 0: nothing is left to learn")
    is_set = distill.loss != "cross-entropy" or distill.essence != EssenceConfig()
    if (inputs.targets or inputs.teachers) and is_set and not distill.soft_weight:
        faults.append("distill.loss and distill.essence do nothing: distill.soft_weight is 0")
    if distill.hints and distill.teachers_per_batch is not None:
        faults.append("distill.teachers_per_batch leaves teachers out, distill.hints need them all")
    if inputs.targets is not None:
        if config.augment.mix.prob:
            faults.append("augment.mix needs hard labels or teachers on line: no store knows a mix")
        if distill.teachers_per_batch is not None:
            faults.append("distill.teachers_per_batch is for teachers on line, not for a store")
    if config.augment.mix.prob and (config.frames.only or config.frames.exclude):
        faults.append(
            "augment.mix brings back labels that frames.only and frames.exclude leave out: they "
            "look at the first of two mixed utterances; set augment.mix.prob=0"
        )
    if config.max_weight_norm and config.model.kind == "blstm":
        faults.append(
            "max_weight_norm is for linear layers, and of a blstm only the output layer is one: "
            "its LSTM layers would not be limited; leave it out"
        )
    if config.init.layers != "all" and inputs.init is None:
        faults.append("init.layers chooses from another model's layers: give --init MODEL")
    if inputs.cluster is not None:
        faults += _no_specialist(inputs, config)
    return faults


def _no_specialist(inputs: TrainInputs, config: TrainConfig) -> Iterator[str]:
    """What keeps a model from being a specialist."""
    if inputs.init is None:
        yield "--cluster: a specialist starts from its generalist: give it by --init"
    elif config.init.layers != "all":
        yield "--cluster: a specialist starts from its whole generalist: leave init.layers out"
    if inputs.ali is None:
        yield "--cluster: which frames are of a specialist's labels only an alignment can tell"
    if inputs.targets is not None or inputs.teachers:
        yield (
            "--cluster: a specialist learns hard labels, and with specialist.rest=soft targets of "
            "its generalist, --init; leave out --targets and --teacher"
        )
    if config.frames.only or config.frames.exclude:
        yield "--cluster chooses the frames that count; leave out frames.only and frames.exclude"
    if config.augment.mix.prob:
        yield (
            "--cluster: the oversampling of the special labels cannot be undone where frames are "
            "mixed; leave out augment.mix"
        )


def _needs_labels(inputs: TrainInputs, config: TrainConfig) -> Iterator[str]:
    """What data without an alignment cannot do."""
    if inputs.targets is None and not inputs.teachers:
        yield f"{inputs.data}: without an alignment only --targets or --teacher can be learnt from"
    elif config.distill.hard_weight:
        yield (
            f"distill.hard_weight is {config.distill.hard_weight:g}, and there is no alignment to "
            f"take hard labels from; set distill.hard_weight=0"
        )
    if config.frames.only or config.frames.exclude:
        yield "frames.only and frames.exclude choose by label, and there is no alignment"


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
