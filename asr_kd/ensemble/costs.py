"""What models cost, one or several together."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from asr_kd.ensemble.teachers import NetworkTeacher
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


def network_costs(networks: Sequence[NetworkTeacher]) -> Costs:
    """The sums over networks."""
    models = [network.checkpoint.model for network in networks]
    names = (checkpoint.WEIGHTS, checkpoint.DESCRIPTION)
    return Costs(
        sum(model.num_params for model in models),
        sum(map(multiply_adds, models)),
        sum(_num_bytes(Path(network.name), names) for network in networks),
    )


def gmm_costs(model: gmm.GmmModel, folder: Path) -> Costs:
    """A GMM's: a frame and its squares against the factors of each Gaussian."""
    files = (gmm.WEIGHTS, gmm.DESCRIPTION)
    return Costs(model.num_params, 2.0 * model.gmms.means.size, _num_bytes(folder, files))


def _num_bytes(folder: Path, names: Iterable[str]) -> int:
    return sum((folder / name).stat().st_size for name in names)
