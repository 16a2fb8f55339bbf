"""n-best lists under another language model: what each hypothesis costs, and which scales are best.

A hypothesis costs acoustic_scale · acoustic + (graph − old) + lm_scale · new + insertion_penalty ·
words: `old` is what the decoding graph's own language model has in the graph's cost, `new` the cost
by the other one. What is left of the graph, pronunciations and transitions, stays as it is.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from asr_kd.artefact import Manifest, read_manifest
from asr_kd.config import Config, config_dict
from asr_kd.decode.config import Scales, read_scales
from asr_kd.decode.nbest import NBEST, Candidate, errors_of, read_nbest
from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.score.normalise import Normaliser, read_normaliser
from asr_kd.score.text import read_text
from asr_kd.search.needed_ngrams import SentenceModel

Floats = NDArray[np.float64]
# Nats by which a graph's cost may fall short of its language model's: graphs are rounded.
_ROUNDING = 0.5
_logger = logging.getLogger("asr_kd.decode")


class LmScales(Config):
    """How the language model counts.

    Attributes:
        lm_scale: weight of the new model's costs.
        insertion_penalty: cost of each word (nats), in place of decoding's.
    """

    lm_scale: PositiveFloat = 1.0
    insertion_penalty: float = 0.0


class LmGrid(Config):
    """The scales tried on dev lists.

    Attributes:
        lm_scale: values.
        insertion_penalty: values.
    """

    lm_scale: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5,
    )  # fmt: skip
    insertion_penalty: Annotated[tuple[float, ...], Field(min_length=1)] = tuple(
        k / 2 for k in range(-10, 11)
    )


@dataclass(frozen=True)
class Decoded:
    """A decode directory with its lists.

    Attributes:
        path: the folder.
        manifest: of the decoding.
        scales: of the decoding.
        lists: utterance id → hypotheses.
        ref: reference words; empty where there are none.
        partial: utterances whose path is not complete.
        normaliser: what is done to words before they are compared.
    """

    path: Path
    manifest: Manifest
    scales: Scales
    lists: dict[str, list[Candidate]]
    ref: dict[str, list[str]]
    partial: frozenset[str]
    normaliser: Normaliser

    @classmethod
    def read(cls, path: Path) -> "Decoded":
        """Reads the output of `decode --nbest`.

        Raises:
            InputError: for another folder, or faults of its lists.
        """
        manifest = read_manifest(path, "decode")
        lists = read_nbest(path / NBEST)
        ref = read_text(path / "ref") if (path / "ref").is_file() else {}
        if other := lists.keys() ^ read_table(path / "hyp", allow_empty=True).keys():
            raise InputError(f"{path}: {min(other)} is not in both of {NBEST} and hyp")
        partial = frozenset((path / "partial.txt").read_text(encoding="utf-8").split())
        scales, normaliser = read_scales(path, Scales), read_normaliser(path)
        return cls(path, manifest, scales, lists, ref, partial, normaliser)


@dataclass(frozen=True)
class Ranking:
    """Costs of U lists of at most N hypotheses; where a list is shorter, `rest` is inf.

    Attributes:
        lists: utterance id → hypotheses.
        rest: (U, N) what does not depend on the scales: acoustic, and graph without its language
            model.
        new: (U, N) cost by the new language model.
        words: (U, N) numbers of words.
    """

    lists: Mapping[str, Sequence[Candidate]]
    rest: Floats
    new: Floats
    words: Floats

    @classmethod
    def of(
        cls, decoded: Decoded, new: SentenceModel, old: SentenceModel, old_path: Path
    ) -> "Ranking":
        """Scores all hypotheses.

        Raises:
            InputError: if `old` cannot be the model of the graph: it has no such sentence, or costs
                more than the whole graph.
        """
        lists = decoded.lists
        shape = len(lists), max(map(len, lists.values()), default=0)
        rest, costs, words = np.full(shape, np.inf), np.zeros(shape), np.zeros(shape)
        wrong = []
        for u, (utt_id, found) in enumerate(lists.items()):
            for k, one in enumerate(found):
                paid = old.least_cost(one.words) if utt_id not in decoded.partial else 0.0
                # Pronunciations and transitions cost something, never less than nothing.
                if paid > one.graph + _ROUNDING:
                    wrong.append((utt_id, one, paid))
                acoustic = decoded.scales.acoustic_scale * one.acoustic
                rest[u, k] = acoustic + one.graph - paid
                costs[u, k] = new.cost(one.words)
                words[u, k] = len(one.words)
        if wrong:
            utt_id, one, paid = wrong[0]
            raise InputError(
                f"{old_path}: not the language model of the graph of {decoded.path}: "
                f"{' '.join(one.words)!r} of {utt_id} costs {paid:.2f} by it, {one.graph:.2f} by "
                f"the whole graph ({len(wrong)} such hypotheses); give the model that make-graph "
                f"had as --old-lm"
            )
        return cls(lists, rest, costs, words)

    def chosen(self, scales: LmScales) -> NDArray[np.int64]:
        """(U,) number of the best hypothesis of each list, from 0; the first of equals."""
        cost = self.rest + scales.lm_scale * self.new + scales.insertion_penalty * self.words
        return cost.argmin(axis=1)

    def best(self, scales: LmScales) -> dict[str, tuple[str, ...]]:
        """The words of the best hypothesis of each utterance."""
        numbers = self.chosen(scales).tolist()
        return {utt_id: self.lists[utt_id][k].words
                for utt_id, k in zip(self.lists, numbers, strict=True)}  # fmt: skip


def tune_lm(
    ranking: Ranking, decoded: Decoded, grid: LmGrid
) -> tuple[LmScales, list[dict[str, Any]]]:
    """The scales with the fewest word errors on dev lists, and all that were tried, best first.

    Ties go to the scale nearest to 1, then to the penalty nearest to 0, then to the smaller ones.
    """
    errors = np.zeros(ranking.rest.shape, np.int64)
    words = 0
    counted = errors_of(decoded.lists, decoded.ref, decoded.normaliser)
    for u, counts in enumerate(counted.values()):
        errors[u, : len(counts)] = [count.errors for count in counts]
        words += counts[0].words
    rows = np.arange(len(errors))
    tried = {
        (scales := LmScales(lm_scale=scale, insertion_penalty=penalty)): int(
            errors[rows, ranking.chosen(scales)].sum()
        )
        for scale in grid.lm_scale
        for penalty in grid.insertion_penalty
    }
    order = sorted(
        tried,
        key=lambda s: (
            tried[s], abs(math.log(s.lm_scale)), abs(s.insertion_penalty), s.lm_scale,
            s.insertion_penalty,
        ),
    )  # fmt: skip
    chosen = order[0]
    for name in ("lm_scale", "insertion_penalty"):
        axis = getattr(grid, name)
        if len(axis) > 1 and getattr(chosen, name) in (min(axis), max(axis)):
            _logger.warning(
                "tuned %s = %g lies at the edge of the grid; widen grid.%s",
                name, getattr(chosen, name), name,
            )  # fmt: skip
    return chosen, [{**config_dict(s), "errors": tried[s], "words": words} for s in order]
