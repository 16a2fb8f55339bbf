"""Search of CTC models without a graph: greedy, or by prefixes, spelled in units."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.decode.config import DecodeConfig, Scales, UnitSearch
from asr_kd.ensemble.average import Mean
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import MODEL, SETTINGS, Units
from asr_kd.score.normalise import NONE, Normaliser
from asr_kd.search.ngram import NgramModel
from asr_kd.search.open_graph import GRAPH_FILES
from asr_kd.search.prefix_beam import PrefixSearch, greedy
from asr_kd.search.stages import ARPA
from asr_kd.search.unit_lm import UnitLm, require_units

Floats = NDArray[np.float32]


class UnitDecoder:
    """Searches with a folder of units.

    Args:
        folder: output of `train-units`, or any folder with its files.
        how: the search.
        lm: language model of units, an ARPA file or the output of `train-lm`; None for none.
        mean, weights: of prefixes' probabilities, where models search together.

    Raises:
        InputError: if units or language model cannot be read, or do not belong together.
    """

    def __init__(
        self,
        folder: Path,
        how: UnitSearch,
        lm: Path | None,
        mean: Mean,
        weights: tuple[float, ...] | None,
    ) -> None:
        self._units = Units.read(folder)
        self._how = how
        self._lm = read_unit_lm(lm, self._units) if lm is not None else None
        self._mean, self._weights = mean, weights
        self._starts = np.asarray(self._units.starts_word(), np.float64)

    def search(self, log_posts: Floats, scales: Scales, utt_id: str) -> tuple[list[str], bool]:
        """The best words, and whether any were possible.

        Args:
            log_posts: (M,T,V) less the scaled prior; of one model or average, M is 1.
            scales: weight of the models against the language model; cost of each word.
            utt_id: for messages.

        Raises:
            InputError: for NaN or +inf among the scores, naming the utterance.
        """
        if not (log_posts < np.inf).all():
            raise InputError(
                f"{utt_id}: a score is NaN or +inf; the model or its features are broken"
            )
        if self._how.kind == "greedy":
            return self._units.decode(greedy(log_posts[0])).split(), True
        found = PrefixSearch(
            prefixes=self._how.prefixes,
            acoustic_scale=scales.acoustic_scale,
            costs=scales.insertion_penalty * self._starts if scales.insertion_penalty else None,
            lm=self._lm,
            mean=self._mean,
            weights=self._weights if len(log_posts) > 1 else None,
        ).search(log_posts)
        return (self._units.decode(found[0].tokens).split(), True) if found else ([], False)


def read_unit_lm(lm: Path, units: Units) -> UnitLm:
    """A language model of these units.

    Raises:
        InputError: if it cannot be read, or is one of other units or of words.
    """
    model = NgramModel.read_arpa(lm / ARPA if lm.is_dir() else lm)
    require_units(lm, model, units)
    return UnitLm(model, units.label_set)


def has_graph(folder: Path) -> bool:
    """Whether a folder is searched as a graph; without one, units are searched by themselves."""
    return any((folder / name).is_file() for name in GRAPH_FILES) or not is_units(folder)


def is_ctc(graph: Path) -> bool:
    """Whether a graph, or units, are of CTC's labels; a faulty folder is not."""
    try:
        return LabelSet.load(graph / "labels.json").is_ctc
    except InputError:
        return False


def is_units(folder: Path) -> bool:
    """Whether a folder holds units."""
    return (folder / MODEL).is_file()


def normaliser_of(graph: Path) -> Normaliser:
    """What is done to both sides before words are compared: what the units were made with."""
    return Units.read(graph).normaliser if (graph / SETTINGS).is_file() else NONE


def search_faults(
    graph: Path, config: DecodeConfig, lm: Path | None, tuned: bool, listed: bool
) -> list[str]:
    """What contradicts itself: options of searches with a graph, and of those without."""
    given = sorted(f"units.{name}" for name in config.units.model_fields_set)
    if has_graph(graph):
        given += ["--lm"] if lm is not None else []
        if not given:
            return []
        are, them = ("is", "it") if len(given) == 1 else ("are", "them")
        return [
            f"{graph}: a graph; {' and '.join(given)} {are} for the search without one: "
            f"leave {them} out, or give the folder of train-units as --graph"
        ]
    faults = []
    if listed:
        faults.append(f"{graph}: units, no graph: --nbest keeps lists of a graph's search")
    if pruning := sorted({"beam", "max_active"} & config.model_fields_set):
        faults.append(
            f"{graph}: units, no graph, whose search has no use for {' and '.join(pruning)}: set "
            f"units.prefixes"
        )
    if config.units.kind == "greedy":
        useless = ["--lm"] if lm is not None else []
        useless += ["--tune-on"] if tuned else []
        useless += ["units.shared"] if config.units.shared else []
        useless += ["units.prefixes"] if "prefixes" in config.units.model_fields_set else []
        scales = config.scales.model_fields_set if config.scales is not None else set()
        useless += [f"scales.{name}" for name in sorted(scales - {"prior_scale"})]
        if useless:
            faults.append(f"units.kind=greedy has no use for {' and '.join(useless)}")
    return faults
