"""What a training is given, and what of it contradicts its configuration."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_kd.artefact import hash_file, hash_input
from asr_kd.distill.clusters import parse_cluster
from asr_kd.ensemble.store import HEADER
from asr_kd.train.config import EssenceConfig, TrainConfig


@dataclass(frozen=True)
class TrainInputs:
    """What is trained on.

    Attributes:
        data, dev: feature directories.
        ali, dev_ali: alignments or token sequences of their utterances, or both in one folder; no
            `ali` for data without transcripts, which take the label set from `dev_ali`, and the
            label prior of its alignment if it has one.
        targets: a soft-target store; then the model is a student.
        teachers: model folders that label each batch on line; then the model is a student.
        init: model folder whose weights the training starts from.
        cluster: `DIR:NUMBER` of a specialist's labels; `init` is its generalist.
        guide: model folder that shows token sequences where to put their spikes.
        nbest: teachers' n-best lists of the utterances.
        graph: decoding graph for MMI.
    """

    data: Path
    ali: Path | None
    dev: Path
    dev_ali: Path
    targets: Path | None = None
    teachers: tuple[Path, ...] = ()
    init: Path | None = None
    cluster: str | None = None
    guide: Path | None = None
    nbest: Path | None = None
    graph: Path | None = None

    def by_name(self) -> dict[str, Path | str]:
        """Name → path or hash, for the manifest."""
        names = ("data", "ali", "dev", "dev_ali", "targets", "init", "guide", "nbest", "graph")
        paths = {name: getattr(self, name) for name in names}
        paths |= {f"teacher{k}": path for k, path in enumerate(self.teachers, start=1)}
        if self.targets is not None and (self.targets / HEADER).is_file():
            # It holds the checksums of all shards, which may be larger than one wants to read.
            paths["targets"] = hash_file(self.targets / HEADER)
        if self.cluster is not None:
            folder, number = parse_cluster(self.cluster)
            paths["cluster"] = f"{hash_input(folder)}:{number}"
        return {name: path for name, path in paths.items() if path is not None}


def contradictions(inputs: TrainInputs, config: TrainConfig) -> list[str]:
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
    if inputs.targets is None and not inputs.teachers and inputs.nbest is None:
        yield (
            f"{inputs.data}: without an alignment only --targets, --teacher or --nbest can be "
            f"learnt from"
        )
    elif config.distill.hard_weight and inputs.nbest is None:
        yield (
            f"distill.hard_weight is {config.distill.hard_weight:g}, and there is no alignment to "
            f"take hard labels from; set distill.hard_weight=0"
        )
    if config.frames.only or config.frames.exclude:
        yield "frames.only and frames.exclude choose by label, and there is no alignment"
