"""What models cost, one or several together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from asr_kd.ensemble.described import DescribedTeacher
from asr_kd.ensemble.teachers import NetworkTeacher, Teacher
from asr_kd.labels import gmm
from asr_kd.models import checkpoint
from asr_kd.models.multiply_adds import multiply_adds


class Costs(NamedTuple):
    """Costs of all models together.

    Attributes:
        params: parameters.
        multiply_adds: of matrix products and convolutions, for one frame of features.
        num_bytes: of the files that hold them.
    """

    params: int
    multiply_adds: float
    num_bytes: int


def network_costs(teachers: Sequence[Teacher]) -> Costs:
    """The sums over networks; an archive costs nothing, a program what its description says."""
    each = [_costs(teacher) for teacher in teachers]
    params, products, num_bytes = (sum(column) for column in zip(*each, strict=True))
    return Costs(int(params), products, int(num_bytes))


def _costs(teacher: Teacher) -> Costs:
    if isinstance(teacher, NetworkTeacher):
        model = teacher.checkpoint.model
        names = (checkpoint.WEIGHTS, checkpoint.DESCRIPTION)
        return Costs(model.num_params, multiply_adds(model), _num_bytes(Path(teacher.name), names))
    if isinstance(teacher, DescribedTeacher):
        if isinstance(teacher.source, NetworkTeacher):
            return _costs(teacher.source)
        return Costs(teacher.settings.num_params, teacher.settings.multiply_adds, teacher.num_bytes)
    return Costs(0, 0.0, 0)


def gmm_costs(model: gmm.GmmModel, folder: Path) -> Costs:
    """A GMM's: a frame and its squares against the factors of each Gaussian."""
    files = (gmm.WEIGHTS, gmm.DESCRIPTION)
    return Costs(model.num_params, 2.0 * model.gmms.means.size, _num_bytes(folder, files))


def _num_bytes(folder: Path, names: Iterable[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)
