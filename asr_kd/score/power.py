"""The smallest difference that a test set can show."""

from scipy.special import ndtri

ALPHA, POWER = 0.05, 0.8


def standard_error(low: float, high: float) -> float:
    """That of a normal estimate of which this is the interval at level 1 - `ALPHA`.

    Of few seeds the interval is Student's (`score.bootstrap`), wider by its quantile; so is this.
    """
    return float((high - low) / (2 * ndtri(1 - ALPHA / 2)))


def smallest_difference(error: float, power: float = POWER) -> float | None:
    """The true difference that such a test set shows in `power` of all cases.

    A true difference of z(1 - α/2) + z(power) standard errors is found by a two-sided test at
    α = `ALPHA` with that power (1.96 + 0.84 = 2.80 standard errors; Cohen 1988, "Statistical power
    analysis for the behavioral sciences"). The standard error is the one of the paired difference
    of two systems: between systems that differ in other words than these it is another one.

    Args:
        error: standard error of the difference.
        power: the probability of finding it.

    Returns:
        In the unit of `error`; None where that is 0 (the difference does not vary, be the errors
        the same or not, which says nothing of other systems).
    """
    return float((ndtri(1 - ALPHA / 2) + ndtri(power)) * error) if error > 0 else None
