"""Weights of teachers: rules that find them on dev data, and the file that hands them on."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pydantic
from numpy.typing import NDArray

from asr_kd.config import Config
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.teachers import Teacher, open_teachers
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text

FILE = "weights.json"
_LEAST = 1e-4  # a smaller weight is none, if it is not worth a forward pass
_RISE = 1e-4  # nats a frame that all such weights together may be worth
_DIGEST = 12
_logger = logging.getLogger("asr_kd.ensemble")


class Fit(NamedTuple):
    """Fitted weights.

    Attributes:
        weights: (M,), adding up to 1.
        cross_entropy: of the mixture with the labels, nats a frame.
        gap: at most this much above the least possible cross-entropy.
        iterations: steps taken.
    """

    weights: NDArray[np.float64]
    cross_entropy: float
    gap: float
    iterations: int


def fit_weights(
    log_posts: NDArray[np.float64], tolerance: float = 1e-6, max_iterations: int = 20_000
) -> Fit:
    """Weights of the arithmetic mean with the least cross-entropy: `min −mean_n log Σ_m w_m p_nm`.

    The problem is convex, so there is one least value. Expectation maximisation,
    `w_m ← mean_n w_m·p_nm / Σ_k w_k·p_nk`, never raises the cross-entropy and keeps the weights
    positive and their sum 1. The factor g_m of each weight is minus its derivative, and `Σ w_m g_m`
    is 1, so by convexity no weights are better than the present ones by more than `max g_m − 1`.
    Below the tolerance it ends. Weights under 1e-4 then become 0, the smallest first, as long as
    that raises the cross-entropy by at most 1e-4 nats a frame in all.

    Args:
        log_posts: (N,M) log-posterior that each of M teachers gives the label of each frame.
        tolerance: nats a frame.
        max_iterations: where it ends in any case; `gap` says how far it came.

    Raises:
        ValueError: if there is no frame, or one whose label all teachers give the probability 0.
    """
    top = log_posts.max(axis=1, keepdims=True) if len(log_posts) else log_posts
    if not len(log_posts) or not np.isfinite(top).all():
        raise ValueError("a frame's label has the probability 0")
    probs = np.exp(log_posts - top)
    weights = np.full(probs.shape[1], 1 / probs.shape[1])
    iterations = 0
    factors = _factors(probs, weights)
    while factors.max() - 1 > tolerance and iterations < max_iterations:
        weights *= factors
        factors = _factors(probs, weights)
        iterations += 1
    gap = float(factors.max() - 1)
    fitted = cross_entropy = _cross_entropy(probs, weights)
    for m in np.argsort(weights):
        fewer = np.where(np.arange(len(weights)) == m, 0.0, weights)
        if weights[m] < _LEAST and (without := _cross_entropy(probs, fewer)) <= fitted + _RISE:
            weights, cross_entropy = fewer, without
    weights /= weights.sum()
    gap += cross_entropy - fitted
    return Fit(weights, cross_entropy - float(top.mean()), gap, iterations)


def _cross_entropy(probs: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Of the mixture by weights that are scaled to add up to 1; infinite where it gives 0."""
    with np.errstate(divide="ignore"):
        return float(-np.log(probs @ (weights / weights.sum())).mean())


def _factors(probs: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(probs.T @ (1 / (probs @ weights))) / len(probs)


def weights_of_errors(errors: Sequence[int]) -> NDArray[np.float64]:
    """Weights by dev WER: `w_m ∝ 1 / (word errors of m + 1)`, on the same words.

    Half the errors, twice the weight; the 1 is there for a teacher without errors.
    """
    inverse = 1 / (np.asarray(errors, dtype=np.float64) + 1)
    return np.asarray(inverse / inverse.sum())


class Figures(Config):
    """Frame accuracy, and cross-entropy with the labels in nats a frame; it may be infinite."""

    model_config = pydantic.ConfigDict(ser_json_inf_nan="constants")

    accuracy: float
    cross_entropy: float


class Means(Config):
    """Figures of an average, either way."""

    arithmetic: Figures
    geometric: Figures


class WeighedTeacher(Config):
    """A teacher alone, and the averages without it; word errors where it was decoded."""

    name: str
    digest: str
    alone: Figures
    without: Means
    word_errors: int | None = None
    words: int | None = None


class Rule(Config):
    """Weights that add up to 1, a teacher of weight 0 being left out; and what they are worth."""

    weights: tuple[float, ...]
    means: Means


class TeacherWeights(Config):
    """What `weigh-teachers` found; rules: equal, fitted, best, and wer if teachers were decoded.

    Attributes:
        teachers: in the order of all weights.
        rules: name → weights.
        num_frames: of the dev data.
        gap: fitted weights are at most this many nats a frame from the best ones.
        iterations: steps of the fit.
    """

    format: Literal["asr_kd.weights/1"] = "asr_kd.weights/1"
    teachers: tuple[WeighedTeacher, ...]
    rules: dict[str, Rule]
    num_frames: int
    gap: float
    iterations: int

    def save(self, folder: Path) -> None:
        """Writes `weights.json`."""
        write_text(Path(folder) / FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "TeacherWeights":
        """Reads what `save` wrote.

        Raises:
            InputError: if it is not there or not readable.
        """
        file = Path(folder) / FILE
        try:
            return cls.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise InputError(f"{folder}: not the output of weigh-teachers: no {FILE}") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read: {error}") from error


@dataclass(frozen=True)
class WeightsFrom:
    """Weights by a rule of `weigh-teachers`: on the command line `FOLDER:RULE`."""

    folder: Path
    rule: str

    @classmethod
    def parse(cls, text: str) -> "WeightsFrom | tuple[float, ...]":
        """Reads `2,1,1`, or `FOLDER:RULE`.

        Raises:
            InputError: for anything else.
        """
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            folder, colon, rule = text.rpartition(":")
        if not colon or not folder or not rule:
            raise InputError(
                f"weights {text!r}: expected a number for each teacher (2,1,1), or the output of "
                f"weigh-teachers and a rule (exp/weights:fitted)"
            )
        return cls(Path(folder), rule)

    def of(self, teachers: Sequence[Teacher]) -> tuple[float, ...]:
        """The weights (M,) of these teachers; 0 leaves one out.

        Raises:
            InputError: for a rule that is not there, or naming each teacher that is another one
                than was weighed.
        """
        found = TeacherWeights.load(self.folder)
        faults = []
        if self.rule not in found.rules:
            hint = "; wer needs --decoded" if self.rule == "wer" else ""
            faults.append(f"{self.folder}: no rule {self.rule!r}: {', '.join(found.rules)}{hint}")
        if len(teachers) != len(found.teachers):
            weighed = ", ".join(teacher.name for teacher in found.teachers)
            faults.append(
                f"{self.folder}: weighs {len(found.teachers)} teachers ({weighed}), not the "
                f"{len(teachers)} given"
            )
        else:
            faults += [
                f"{self.folder}: teacher {m} is {theirs.name} (digest {theirs.digest[:_DIGEST]}), "
                f"here {own.name} ({own.digest[:_DIGEST]}); weigh these teachers again, in the "
                f"same order"
                for m, (own, theirs) in enumerate(zip(teachers, found.teachers, strict=True), 1)
                if own.digest != theirs.digest
            ]
        if faults:
            raise InputError(faults)
        return found.rules[self.rule].weights


class Weighed(NamedTuple):
    """Teachers, their names on the command line and their weights; None for equal ones."""

    specs: tuple[str, ...]
    teachers: list[Teacher]
    weights: tuple[float, ...] | None


def weighed(
    specs: Sequence[str],
    teachers: Sequence[Teacher],
    weights: WeightsFrom | Sequence[float] | None,
    mean: Mean,
) -> Weighed:
    """Looks the weights up if a rule gives them; a teacher to which it gives none is left out.

    Warns of fitted weights for another mean than the arithmetic one that they are fitted for.

    Raises:
        InputError: from `WeightsFrom.of`.
    """
    if not isinstance(weights, WeightsFrom):
        return Weighed(tuple(specs), list(teachers), None if weights is None else tuple(weights))
    found = weights.of(teachers)
    if weights.rule == "fitted" and mean != "arithmetic":
        _logger.warning("weights fitted: fitted for the arithmetic mean, used for the %s", mean)
    kept = [m for m, weight in enumerate(found) if weight > 0]
    left_out = [teacher.name for m, teacher in enumerate(teachers) if m not in kept]
    if left_out:
        _logger.info("weights %s: left out: %s", weights.rule, ", ".join(left_out))
    return Weighed(
        tuple(specs[m] for m in kept), [teachers[m] for m in kept], tuple(found[m] for m in kept)
    )


def weighed_specs(
    specs: Sequence[str],
    data: Path,
    weights: WeightsFrom | Sequence[float] | None,
    mean: Mean,
    trust: bool,
) -> tuple[tuple[str, ...], tuple[float, ...] | None]:
    """Names and weights of `weighed`; teachers are opened for a rule alone, which looks at them."""
    by_rule = isinstance(weights, WeightsFrom)
    teachers = open_teachers(specs, data, trust=trust) if by_rule else ()
    kept, _, shares = weighed(specs, teachers, weights, mean)
    return kept, shares
