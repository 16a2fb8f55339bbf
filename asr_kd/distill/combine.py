"""The stage `combine-specialists`: a generalist and its specialists into one model's folder."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from asr_kd.artefact import Artefact, hash_input
from asr_kd.config import config_dict
from asr_kd.distill.clusters import Clusters, parse_cluster
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.specialist import is_specialist, special_labels
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import MemberConfig, SpecialistsConfig
from asr_kd.models.specialists import Specialists
from asr_kd.models.trained_on import read_trained_on, write_trained_on
from asr_kd.shards import rank_and_world

_logger = logging.getLogger("asr_kd.distill")


@dataclass(frozen=True)
class Specialist:
    """A specialist by its name on the command line.

    Attributes:
        path: the model's folder.
        cluster: `DIR:NUMBER` of its labels; needed where it has no dustbin to tell them.
    """

    path: Path
    cluster: str | None

    @classmethod
    def parse(cls, spec: str) -> "Specialist":
        """Reads `MODEL` or `MODEL=CLUSTERS:NUMBER`."""
        model, _, cluster = spec.partition("=")
        return cls(Path(model), cluster or None)


def combine_specialists(
    generalist: Path, specialists: Sequence[str], out: Path, num_active: int = 1
) -> None:
    """Publishes a checkpoint of the kind `specialists`, which is used as any other model is.

    Args:
        generalist: a model's folder.
        specialists: models as `Specialist.parse` takes them.
        out: folder to publish.
        num_active: a specialist takes part where one of so many most probable labels is its own.

    Raises:
        InputError: all faults together: specialists of another generalist's labels or of other
            features, and one given twice.
    """
    if rank_and_world()[0] != 0:
        return
    members = [Specialist.parse(spec) for spec in specialists]
    inputs: dict[str, Path | str] = {"generalist": generalist}
    for k, member in enumerate(members, start=1):
        inputs[f"specialist{k}"] = member.path
        if member.cluster is not None:
            folder, number = parse_cluster(member.cluster)
            inputs[f"cluster{k}"] = f"{hash_input(folder)}:{number}"
    config = {"num_active": num_active, "specialists": list(specialists)}
    artefact = Artefact(out, "combine-specialists", config, inputs)
    if artefact.is_done():
        return
    checkpoint = _combined(generalist, members, num_active)
    work = artefact.begin()
    checkpoint.save(work)
    seen = [read_trained_on(path) for path in (generalist, *(m.path for m in members))]
    known = [utt_ids for utt_ids in seen if utt_ids is not None]
    if len(known) == len(seen):
        write_trained_on(work, frozenset().union(*known))
    artefact.publish({"num_params": checkpoint.model.num_params, "specialists": len(members)})
    _logger.info(
        "%s: %d specialists beside their generalist, %d parameters",
        out, len(members), checkpoint.model.num_params,
    )  # fmt: skip


def _combined(generalist: Path, members: Sequence[Specialist], num_active: int) -> Checkpoint:
    whole = Checkpoint.load(generalist)
    faults = []
    if isinstance(whole.model.config, SpecialistsConfig):
        faults.append(
            f"{generalist}: has specialists already; combine them all with its generalist"
        )
    if not members:
        faults.append("no specialist given")
    checkpoints, configs = [], []
    digests: dict[str, Path] = {}
    for member in members:
        try:
            checkpoint = Checkpoint.load(member.path)
            configs.append(_member_config(member, checkpoint, whole, str(generalist)))
        except InputError as error:
            faults += error.faults
            continue
        checkpoints.append(checkpoint)
        if checkpoint.digest in digests:
            faults.append(f"{member.path}: the same model as {digests[checkpoint.digest]}")
        digests[checkpoint.digest] = member.path
    if faults:
        raise InputError(faults)
    assert not isinstance(whole.model.config, SpecialistsConfig)
    config = SpecialistsConfig(
        generalist=whole.model.config, members=tuple(configs), num_active=num_active
    )
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, whole.model.input_dim, len(whole.label_set))
    assert isinstance(model, Specialists)
    parts = [model.generalist, *model.specialists]
    for part, trained in zip(parts, [whole, *checkpoints], strict=True):
        part.load_state_dict(trained.model.state_dict())
    return Checkpoint(model.eval(), whole.label_set, whole.spec, whole.cmvn, whole.log_prior)


def _member_config(
    member: Specialist, checkpoint: Checkpoint, whole: Checkpoint, generalist: str
) -> MemberConfig:
    name, config = str(member.path), checkpoint.model.config
    if isinstance(config, SpecialistsConfig):
        raise InputError(f"{name}: is a generalist with specialists, no specialist")
    faults = []
    pairs = [
        ("input dimensions", checkpoint.model.input_dim, whole.model.input_dim),
        ("cmvn", checkpoint.cmvn, whole.cmvn),
        ("features", config_dict(checkpoint.spec), config_dict(whole.spec)),
    ]
    faults += [
        f"{name}: {what} {ours}, those of {generalist} are {theirs}"
        for what, ours, theirs in pairs
        if ours != theirs
    ]
    labels: tuple[int, ...] = ()
    try:
        labels = _labels(member, checkpoint.label_set, whole.label_set, generalist)
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return MemberConfig(model=config, labels=labels, dustbin=is_specialist(checkpoint.label_set))


def _labels(member: Specialist, own: LabelSet, whole: LabelSet, generalist: str) -> tuple[int, ...]:
    """The generalist's indices of a specialist's special labels."""
    name = str(member.path)
    told: tuple[int, ...] | None = None
    if member.cluster is not None:
        clusters, number = Clusters.open(member.cluster)
        clusters.label_set.require_same(whole, member.cluster, generalist)
        told = clusters.members[number - 1]
    if not is_specialist(own):
        own.require_same(whole, name, generalist)
        if told is None:
            raise InputError(
                f"{name}: has a softmax over all labels, which does not tell what it is special "
                f"about: give its cluster as {name}=CLUSTERS:NUMBER"
            )
        return told
    labels = special_labels(own, whole, name, generalist)
    if told is not None and told != labels:
        raise InputError(f"{name}: its labels are not those of {member.cluster}")
    return labels
