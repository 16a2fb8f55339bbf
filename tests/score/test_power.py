import numpy as np
import pytest
from scipy import stats

from asr_kd.score.mapsswe import mapsswe, mapsswe_error
from asr_kd.score.power import smallest_difference, standard_error


def test_of_the_normal_distribution() -> None:
    difference = smallest_difference(2.0)
    assert difference is not None
    found = stats.norm.sf(1.959964 - difference / 2) + stats.norm.cdf(-1.959964 - difference / 2)
    assert found == pytest.approx(0.8, abs=1e-4)
    assert smallest_difference(1.0, power=0.5) == pytest.approx(1.959964)
    assert smallest_difference(0.0) is None


def test_standard_error_of_an_interval() -> None:
    assert standard_error(1 - 1.959964 * 0.3, 1 + 1.959964 * 0.3) == pytest.approx(0.3)


def test_mapsswe_finds_a_difference_of_that_size_in_eight_of_ten() -> None:
    rng = np.random.default_rng(3)
    size, trials = 400, 1000
    smallest = smallest_difference(mapsswe_error(*rng.poisson(1.0, (2, size))))
    assert smallest is not None
    found = 0
    for _ in range(trials):
        a, b = rng.poisson(1 + smallest / size, size), rng.poisson(1, size)
        p_value = mapsswe(a, b).p_value
        assert p_value is not None
        found += p_value < 0.05
    assert 0.74 < found / trials < 0.86
