"""Means of several teachers' distributions at a temperature."""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from asr_kd.errors import InputError

Mean = Literal["arithmetic", "geometric"]


def average(
    log_posts: Sequence[Tensor],
    weights: Sequence[float] | None = None,
    mean: Mean = "arithmetic",
    temperature: float = 1.0,
) -> Tensor:
    """The mean distribution of M teachers at a temperature T (paper, section 2).

    Every teacher is tempered first, `p_m ∝ exp(z_m / T)`. The arithmetic mean is `Σ w_m p_m`: it
    differs from the tempered mean at T = 1, so it has to be formed at the T of use. The geometric
    mean, `∝ Π p_m^w_m`, is the same either way.

    Args:
        log_posts: M tensors (..., V) of logits or log-posteriors, at T = 1.
        weights: M positive weights, scaled here to add up to 1; default equal.
        mean: "arithmetic" or "geometric".
        temperature: T, positive.

    Returns:
        (..., V) log-probabilities, computed in log space.

    Raises:
        InputError: for weights that are not M positive numbers, an unknown mean, a T that is not
            positive, or teachers of different shapes.
    """
    shares = mean_weights(weights, len(log_posts))
    shapes = {tuple(z.shape) for z in log_posts}
    if len(shapes) != 1:
        raise InputError(f"teachers disagree on the shape of their scores: {sorted(shapes)}")
    if not 0.0 < temperature < float("inf"):
        raise InputError(f"temperature {temperature}: expected a positive number")
    if mean == "geometric":
        # A teacher's normaliser is one factor for all labels: the last softmax cancels it. A
        # product of all teachers could vanish everywhere; that shows as NaN and is refused later.
        total = sum(share * z for share, z in zip(shares, log_posts, strict=True))
        return torch.log_softmax(torch.as_tensor(total) / temperature, dim=-1)
    if mean == "arithmetic":
        weighted = (
            temper(z, temperature).add_(math.log(share))
            for share, z in zip(shares, log_posts, strict=True)
        )
        return reduce(torch.logaddexp, weighted)
    raise InputError(f"mean {mean!r}: expected arithmetic or geometric")


def temper(log_post: Tensor, temperature: float) -> Tensor:
    """Logits or log-posteriors (..., V) -> the log of `softmax(log_post / T)`."""
    return torch.log_softmax(log_post / temperature, dim=-1)


def mean_weights(weights: Sequence[float] | None, num_teachers: int) -> list[float]:
    """M weights that add up to 1.

    Raises:
        InputError: unless there are M of them, all positive and finite.
    """
    if weights is None:
        weights = [1.0] * num_teachers
    if not num_teachers:
        raise InputError("no teachers to average")
    if len(weights) != num_teachers:
        raise InputError(f"{len(weights)} weights for {num_teachers} teachers")
    if not all(0.0 < weight < float("inf") for weight in weights):
        raise InputError(f"weights {list(weights)}: expected positive numbers")
    return [weight / sum(weights) for weight in weights]
