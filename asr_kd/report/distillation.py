"""The distillation view: what a smaller model knows and costs, beside its word errors.

Frame figures and costs come from what `decode` recorded in its folders. Folders of earlier
versions, other tools' folders and text files lack some or all of them; those are None. Which errors
a student inherited is told by words alone (`report.inheritance`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from asr_kd.errors import InputError
from asr_kd.report.comparison import Comparison, Decoding
from asr_kd.report.inheritance import Inheritance, inheritance
from asr_kd.report.statistics import (
    BASELINE,
    ENSEMBLE,
    HARD_STUDENT,
    STUDENT,
    TEACHER,
    Estimate,
    estimate,
)
from asr_kd.score.bootstrap import RESAMPLES, Floats, Interval, block_sums, resampled_sums
from asr_kd.score.calibration import Calibration

ROLES = (BASELINE, TEACHER, ENSEMBLE, HARD_STUDENT, STUDENT)


@dataclass(frozen=True)
class RoleFigures:
    """What `Statistics` does not have of one role. None unless all its folders have a figure.

    Attributes:
        role: its row.
        cross_entropy: with the alignment's labels, nats a frame; drawn as `Statistics` draws.
        calibration_error: expected calibration error, 0 to 1, mean of its folders' errors; None
            where a part of the utterances is left out of the comparison.
        multiply_adds: for one second of speech, of all models together: least and most of a folder.
        num_bytes: of all models' files together: least and most of a folder.
    """

    role: str
    cross_entropy: Estimate | None
    calibration_error: float | None
    multiply_adds: tuple[float, float] | None
    num_bytes: tuple[float, float] | None


@dataclass(frozen=True)
class Distillation:
    """The view of one test set.

    Attributes:
        rows: every role, in the order given; empty where no role has any of these figures.
        inheritance: which errors were inherited; None where there is nobody to inherit from.
    """

    rows: list[RoleFigures]
    inheritance: Inheritance | None


def distillation(
    comparison: Comparison, resamples: int = RESAMPLES, seed: int = 0
) -> Distillation | None:
    """The view of one test set.

    Args:
        comparison: the systems; at least two roles of `ROLES` for there to be a view.
        resamples, seed: of the bootstrap.

    Returns:
        None where there is nothing to show.

    Raises:
        InputError: for figures in decode folders that cannot be read, all of them together.
    """
    if len(set(ROLES) & set(comparison.roles)) < 2:
        return None
    measured = _measured(comparison)
    entropies = _cross_entropies(comparison, measured, resamples, seed)
    rows = [
        RoleFigures(
            role,
            entropies.get(role),
            _calibration_error([measured[id(d)] for d in folders], comparison),
            _range([d.info.get("multiply_adds_per_second") for d in folders]),
            _range([d.info.get("bytes") for d in folders]),
        )
        for role in comparison.roles
        if (folders := comparison.of(role))
    ]
    if all(_is_empty(row) for row in rows):
        rows = []
    found = inheritance(comparison, resamples, seed)
    return Distillation(rows, found) if rows or found is not None else None


def _is_empty(row: RoleFigures) -> bool:
    figures = (row.cross_entropy, row.calibration_error, row.multiply_adds, row.num_bytes)
    return all(figure is None for figure in figures)


@dataclass(frozen=True)
class _Measured:
    """A decode folder's frames.json, as far as it goes beyond frame accuracy."""

    utterances: Mapping[str, Mapping[str, Any]]
    calibration: Calibration | None

    @cached_property
    def cross_entropies(self) -> dict[str, float]:
        """Utterance id → summed cross-entropy; empty where one is not known."""
        if not all("cross_entropy" in one for one in self.utterances.values()):
            return {}
        return {utt_id: float(one["cross_entropy"]) for utt_id, one in self.utterances.items()}


def _measured(comparison: Comparison) -> dict[int, _Measured | None]:
    """By the decoding's id()."""
    found, faults = {}, []
    for decoding in comparison.decodings:
        try:
            found[id(decoding)] = _read(decoding)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return found


def _read(decoding: Decoding) -> _Measured | None:
    if not decoding.frames:
        return None
    path = decoding.path / "frames.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stored = content.get("calibration")
        calibration = None if stored is None else Calibration.from_dict(stored)
        return _Measured(content["utterances"], calibration)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the frame figures of `asr-kd decode`: {error!r}") from error


def _calibration_error(
    measured: Sequence[_Measured | None], comparison: Comparison
) -> float | None:
    errors = [
        one.calibration.error
        for one in measured
        if one is not None and one.calibration and one.utterances.keys() <= comparison.ref.keys()
    ]
    return float(np.mean(errors)) if errors and len(errors) == len(measured) else None


def _range(figures: Sequence[float | None]) -> tuple[float, float] | None:
    known = [float(figure) for figure in figures if figure is not None]
    return (min(known), max(known)) if known and len(known) == len(figures) else None


def _cross_entropies(
    comparison: Comparison,
    measured: Mapping[int, _Measured | None],
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """Role → nats a frame, for the roles of which all folders know it."""
    known: dict[int, Mapping[str, float]] = {
        of: one.cross_entropies for of, one in measured.items() if one is not None
    }
    roles = [r for r in comparison.roles if all(known.get(id(d)) for d in comparison.of(r))]
    if not roles:
        return {}

    def sums(decoding: Decoding) -> Floats:
        """(G, 2): frames and cross-entropy of each block."""
        lost = known[id(decoding)]
        counts = [
            (decoding.frames[utt][0], lost[utt]) if utt in decoding.frames else (0, 0)
            for utt in comparison.ref
        ]
        return block_sums(comparison.block_of, counts)

    of_decoding = {id(d): sums(d) for role in roles for d in comparison.of(role)}
    seeds: Sequence[str | None] = comparison.seeds or [None]
    # (S, G, 2R): frames and cross-entropy of each role's mean member
    values = np.stack([
        np.concatenate([
            np.mean([of_decoding[id(d)] for d in comparison.of(role) if d.seed in (one, None)], 0)
            for role in roles
        ], axis=1)
        for one in seeds
    ])  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):  # draws without frames, infinite losses
        totals = np.vstack([values.sum(axis=(0, 1)), resampled_sums(values, resamples, seed)])
        rates = totals[:, 1::2] / totals[:, ::2]
    return {role: _estimate(rates[:, k]) for k, role in enumerate(roles)}


def _estimate(samples: Floats) -> Estimate:
    if not math.isfinite(samples[0]):  # a label with the probability 0
        return Estimate(float(samples[0]), Interval(math.nan, math.nan))
    return estimate(samples, 0.0)
