"""The smallest difference that a test set can show."""

from asr_kd.score.bootstrap import Interval

ALPHA, POWER = 0.05, 0.8


def smallest_difference(interval: Interval, power: float = POWER) -> float | None:
    """The true difference that such a test set shows in `power` of all cases.

    A difference of (z(1 - α/2) + z(power)) standard errors is found by a two-sided test at α with
    that power; the standard error is the interval's half-width over z(1 - α/2).

    Args:
        interval: of the paired difference of two systems, at level 1 - `ALPHA`.
        power: the probability of finding it.

    Returns:
        In the unit of the interval; None where the interval has no width (the systems make the
        same errors, which says nothing of others).
    """
    raise NotImplementedError
