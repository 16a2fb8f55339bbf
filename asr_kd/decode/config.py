"""What decoding needs to know beside the models, the features and the graph."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from asr_kd.artefact import read_manifest
from asr_kd.config import C, Config
from asr_kd.errors import InputError


class Scales(Config):
    """How scores are formed: acoustic_scale · (log_post − prior_scale · log_prior), and words.

    Attributes:
        acoustic_scale: weight of the acoustic scores against the graph's costs.
        prior_scale: weight of the log prior that is taken off log-posteriors. A GMM has none.
        insertion_penalty: cost of each word of the path, in the graph's units (nats); a positive
            one gives fewer words.
    """

    acoustic_scale: PositiveFloat = 0.2
    prior_scale: Annotated[float, Field(ge=0)] = 1.0
    insertion_penalty: float = 0.0

    def apply(
        self, scores: NDArray[np.float32], log_prior: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Scores (T,V) as the search wants them; without a prior (V,) they are likelihoods."""
        if log_prior is not None:
            scores = scores - np.float32(self.prior_scale) * log_prior
        return np.ascontiguousarray(np.float32(self.acoustic_scale) * scores)


class Grid(Config):
    """The coarse grid of scales tried on dev data, and how often it is refined around its best.

    Attributes:
        acoustic_scale: coarse values; refined by geometric means of neighbours.
        prior_scale: values; not refined.
        insertion_penalty: coarse values; refined by means of neighbours.
        rounds: refinements after the coarse grid.
    """

    acoustic_scale: tuple[PositiveFloat, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    prior_scale: tuple[Annotated[float, Field(ge=0)], ...] = (1.0,)
    insertion_penalty: tuple[float, ...] = (-2.0, 0.0, 2.0)
    rounds: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _axes_hold_values(self) -> Self:
        for name in ("acoustic_scale", "prior_scale", "insertion_penalty"):
            if not getattr(self, name):
                raise ValueError(f"{name} needs at least one value")
        return self


# Most frames are blank: a whole prior would make all other labels likely there, a part of it makes
# words of weak spikes win over their blanks.
_CTC_SCALES: dict[str, Any] = {"acoustic_scale": 1.0, "prior_scale": 0.0}
_CTC_GRID: dict[str, Any] = {
    "acoustic_scale": (0.25, 0.5, 1.0, 2.0, 4.0),
    "prior_scale": (0.0, 0.3),
}


class UnitSearch(Config):
    """How CTC models are searched without a graph.

    Attributes:
        kind: greedy takes the most probable label of each frame.
        prefixes: kept after each frame.
        shared: whether models search together, and their prefixes' probabilities are averaged;
            else their frames are.
    """

    kind: Literal["greedy", "prefix-beam"] = "prefix-beam"
    prefixes: PositiveInt = 16
    shared: bool = False


class DecodeConfig(Config):
    """Configuration of the verb `decode`.

    Attributes:
        scales: fixed scales; where they are tuned or taken from another decoding, leave them out.
        grid: where to look for scales when tuning.
        beam: width of the search, in scaled cost.
        max_active: most active states of a frame; bounds the time that noise can take.
        shard_size: utterances decoded between two marks of progress.
        units: the search, where there are units in place of a graph.
    """

    scales: Scales | None = None
    grid: Grid = Grid()
    beam: PositiveFloat = 13.0
    max_active: PositiveInt = 7000
    shard_size: PositiveInt = 25
    units: UnitSearch = UnitSearch()

    def for_ctc(self, weighed: bool = True) -> "DecodeConfig":
        """The same with scales and grid of CTC models, where they are not set.

        Args:
            weighed: whether models are weighed against the costs of a graph or a language model;
                else their scale says no more than the penalty's.
        """
        scales = self.scales and _filled(self.scales, _CTC_SCALES)
        grid = _CTC_GRID if weighed else {**_CTC_GRID, "acoustic_scale": (1.0,)}
        return self.model_copy(update={"scales": scales, "grid": _filled(self.grid, grid)})


def default_scales(ctc: bool) -> Scales:
    """The scales of decoding where none are given."""
    return Scales(**_CTC_SCALES) if ctc else Scales()


def _filled(config: C, defaults: dict[str, Any]) -> C:
    """The configuration with other defaults."""
    unset = {key: value for key, value in defaults.items() if key not in config.model_fields_set}
    return config.model_copy(update=unset)


def read_scales(folder: Path, kind: type[C], verb: str = "decode") -> C:
    """Scales of a kind from scales.json in the output of `decode` or `rescore`.

    Raises:
        InputError: for the output of another verb, or a damaged file.
    """
    read_manifest(folder, verb)
    path = folder / "scales.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return kind(**{name: stored[name] for name in kind.model_fields})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); {verb} again") from None
