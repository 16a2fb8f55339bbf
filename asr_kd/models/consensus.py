"""One distribution out of a generalist's and its specialists' (paper, section 5.4).

For each frame, the q over V labels that minimises `KL(p_g, q) + Σ_m KL(p_m, q)`, where the
comparison with a specialist sums q over the labels of its dustbin. Up to a constant that is

    F(q) = −Σ_i mass_i·log q_i − Σ_m dust_m·log q(outside_m)

with `mass_i` what all models together give to label i itself, and `dust_m` what specialist m gives
to its dustbin, the labels `outside_m`. F is convex in q, so every stationary point is the minimum.

The paper descends F's gradient on logits z, q = softmax(z). With S the sum of all masses,

    −∂F/∂z_i = mass_i + Σ_{m: i outside m} dust_m·q_i / q(outside_m) − S·q_i = S·(q'_i − q_i)

and q' is a distribution too: what the models say, with each dustbin's share spread over its labels
as q does. Going to q' is the EM algorithm for this F (the dustbins are observations of which only
the group is known): F falls in every step, no step size is needed, and both procedures stop at the
same point, where the gradient is 0. One active specialist takes a single step.

Because F is convex, `F(q) − min F ≤ S·(max_i q'_i/q_i − 1)`: the ratio of a step bounds how far
it is from the end, in nats. That is the tolerance here.
"""

import logging

import torch
from torch import Tensor

_LOWEST = -100.0  # log-posteriors below are taken as this; keeps every logarithm finite
_MAX_STEPS = 20_000
_logger = logging.getLogger("asr_kd.models")


def consensus(mass: Tensor, dust: Tensor, outside: Tensor, tolerance: float = 1e-6) -> Tensor:
    """Minimises F for every row.

    Args:
        mass: (N,V) sums of probabilities that models give to single labels; positive.
        dust: (N,M) probability of each specialist's dustbin; 0 where it takes no part.
        outside: (M,V) bool, the labels in each dustbin; at least one each.
        tolerance: F(q) is at most so much above the minimum, in nats.

    Returns:
        log q (N,V) in double precision; but for rounding, a row does not depend on the others.
    """
    mass, dust = mass.double(), dust.double()
    groups = outside.double()
    q = mass / mass.sum(1, keepdim=True)
    result = torch.empty_like(q)
    rows = torch.arange(len(q), device=q.device)  # that are still on their way
    worst = 0.0
    for _ in range(_MAX_STEPS // 3):
        first = _step(q, mass, dust, groups)
        excess = (mass.sum(1) + dust.sum(1)) * ((first / q).amax(1) - 1)
        arrived = excess <= tolerance
        result[rows[arrived]] = q[arrived]
        if bool(arrived.all()):
            return result.log_()
        left = ~arrived
        rows, mass, dust, worst = rows[left], mass[left], dust[left], float(excess[left].max())
        q = _accelerated(q[left], first[left], mass, dust, groups)
    _logger.warning("%d frames of specialists are up to %.1g nat from their minimum, not %.1g",
                    len(rows), worst, tolerance)  # fmt: skip
    result[rows] = q
    return result.log_()


def floored(log_post: Tensor) -> Tensor:
    """Log-posteriors in double precision -> probabilities that `consensus` can take."""
    return log_post.clamp_min(_LOWEST).exp()


def _step(q: Tensor, mass: Tensor, dust: Tensor, groups: Tensor) -> Tensor:
    """The EM step: q' of rows q (N,V)."""
    share = dust / (q @ groups.T)
    new = mass + q * (share @ groups)
    return new / new.sum(1, keepdim=True)


def _accelerated(q: Tensor, first: Tensor, mass: Tensor, dust: Tensor, groups: Tensor) -> Tensor:
    """Two EM steps, extrapolated on log q where that lowers F further.

    EM alone is slow where specialists contradict one another. This is the squared extrapolation of
    Varadhan and Roland (2008), with a step length for each row.
    """
    second = _step(first, mass, dust, groups)
    origin = q.log()
    slope = first.log() - origin
    bend = second.log() - first.log() - slope
    length = (first * slope**2).sum(1) / (first * bend**2).sum(1).clamp_min(1e-300)
    length = length.sqrt().clamp(1.0, 1e4)[:, None]
    far = torch.softmax((origin + 2 * length * slope + length**2 * bend), 1)
    far = far.clamp_min(torch.finfo(far.dtype).tiny)
    better = _objective(far, mass, dust, groups) < _objective(second, mass, dust, groups)
    return torch.where(better[:, None], _step(far, mass, dust, groups), second)


def _objective(q: Tensor, mass: Tensor, dust: Tensor, groups: Tensor) -> Tensor:
    """F of rows (N,V) -> (N,)."""
    return -(mass * q.log()).sum(1) - (dust * (q @ groups.T).log()).sum(1)
