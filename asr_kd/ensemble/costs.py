"""What models cost, one or several together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from asr_kd.ensemble.bundle import BundleTeacher
from asr_kd.ensemble.described import DescribedTeacher
from asr_kd.ensemble.teachers import NetworkTeacher, Teacher
from asr_kd.labels import gmm
from asr_kd.models import checkpoint
from asr_kd.models.multiply_adds import multiply_adds

Cost = TypeVar("Cost", int, float)


class Costs(NamedTuple):
    """Costs of all models together; None where one of them does not tell its own.

    Attributes:
        params: parameters.
        multiply_adds: of matrix products and convolutions, for one frame of features.
        num_bytes: of the files that hold them.
    """

    params: int | None
    multiply_adds: float | None
    num_bytes: int | None


def network_costs(teachers: Sequence[Teacher]) -> Costs:
    """The sums over networks; nobody knows what made an archive, a program's description may."""
    each = [_costs(teacher) for teacher in teachers]
    return Costs(
        _total(one.params for one in each),
        _total(one.multiply_adds for one in each),
        _total(one.num_bytes for one in each),
    )


def network_latency_ms(teachers: Sequence[Teacher]) -> float | None:
    """What networks that stream together wait for; None where it is not known, or unbounded."""
    each = []
    for teacher in teachers:
        if isinstance(teacher, DescribedTeacher) and not isinstance(teacher.source, NetworkTeacher):
            each.append(teacher.settings.latency_ms)
            continue
        source = teacher.source if isinstance(teacher, DescribedTeacher) else teacher
        found = source.checkpoint.latency if isinstance(source, NetworkTeacher) else None
        each.append(None if found is None else found.ms)
    known = [ms for ms in each if ms is not None]
    return max(known) if known and len(known) == len(each) else None


def _total(costs: Iterable[Cost | None]) -> Cost | None:
    known = list(costs)
    if None in known:
        return None
    return cast(Cost, sum(cost for cost in known if cost is not None))


def _costs(teacher: Teacher) -> Costs:
    if isinstance(teacher, NetworkTeacher):
        model = teacher.checkpoint.model
        names = (checkpoint.WEIGHTS, checkpoint.DESCRIPTION)
        return Costs(model.num_params, multiply_adds(model), _num_bytes(Path(teacher.name), names))
    if isinstance(teacher, DescribedTeacher):
        if isinstance(teacher.source, NetworkTeacher):
            return _costs(teacher.source)
        told = teacher.settings  # 0 where it does not say
        return Costs(told.num_params or None, told.multiply_adds or None, teacher.num_bytes or None)
    if isinstance(teacher, BundleTeacher):
        return Costs(teacher.num_params, None, None)
    return Costs(None, None, None)


def gmm_costs(model: gmm.GmmModel, folder: Path) -> Costs:
    """A GMM's: a frame and its squares against the factors of each Gaussian."""
    files = (gmm.WEIGHTS, gmm.DESCRIPTION)
    return Costs(model.num_params, 2.0 * model.gmms.means.size, _num_bytes(folder, files))


def _num_bytes(folder: Path, names: Iterable[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)
