import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.ensemble.average import average
from asr_kd.errors import InputError


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row by row in float64."""
    rows = []
    for row in logits:
        powers = [math.exp(z - max(row)) for z in row]
        rows.append([power / sum(powers) for power in powers])
    return np.array(rows)


def reference(
    logits: np.ndarray, weights: list[float], mean: str, temperature: float
) -> np.ndarray:
    """Probabilities, by the definition of the means."""
    tempered = [softmax(z / temperature) for z in logits]
    total = np.zeros_like(tempered[0]) if mean == "arithmetic" else np.ones_like(tempered[0])
    for weight, probs in zip(weights, tempered, strict=True):
        share = weight / sum(weights)
        if mean == "arithmetic":
            total += share * probs
        else:
            total *= probs**share
    return total / total.sum(1, keepdims=True)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(2, 8)),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 10.0]),
    mean=st.sampled_from(["arithmetic", "geometric"]),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    shape: tuple[int, int, int], temperature: float, mean: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = 4 * rng.standard_normal(shape)
    weights = rng.uniform(0.1, 2.0, shape[0]).tolist()
    got = average([torch.from_numpy(z) for z in logits], weights, mean, temperature)
    expected = reference(logits, weights, mean, temperature)
    np.testing.assert_allclose(got.exp(), expected, rtol=1e-9)
    # Log-posteriors in place of logits: the same distribution.
    posts = [torch.from_numpy(z).log_softmax(1) for z in logits]
    torch.testing.assert_close(average(posts, weights, mean, temperature), got)


def test_averaging_tempered_posteriors_is_not_tempering_an_average() -> None:
    teachers = [torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])]
    for mean, commutes in (("arithmetic", False), ("geometric", True)):
        at_once = average(teachers, None, mean, temperature=3.0)
        afterwards = (average(teachers, None, mean) / 3.0).log_softmax(-1)
        assert torch.allclose(at_once, afterwards, atol=1e-6) is commutes
    tempered = [z.div(3).softmax(-1) for z in teachers]
    torch.testing.assert_close(average(teachers, temperature=3.0).exp(), sum(tempered) / 2)


def test_small_probabilities_survive() -> None:
    teachers = [torch.tensor([[0.0, -300.0, -400.0]]), torch.tensor([[0.0, -310.0, -390.0]])]
    arithmetic = average(teachers)[0]
    expected = torch.tensor([0.0, -300 - math.log(2), -390 - math.log(2)])
    torch.testing.assert_close(arithmetic, expected, atol=1e-3, rtol=1e-6)
    geometric = average(teachers, mean="geometric")[0]
    torch.testing.assert_close(geometric, torch.tensor([0.0, -305.0, -395.0]))


def test_zero_probability_of_one_teacher() -> None:
    sure, other = torch.tensor([[0.0, -torch.inf]]), torch.tensor([[0.5, 0.5]]).log()
    torch.testing.assert_close(average([sure, other]).exp(), torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(
        average([sure, other], mean="geometric").exp(), torch.tensor([[1.0, 0.0]])
    )


def test_order_and_equal_weights_do_not_matter() -> None:
    teachers = list(torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)))
    for mean in ("arithmetic", "geometric"):
        each = [average(list(p), None, mean, 2.0) for p in itertools.permutations(teachers)]
        for got in [*each, average(teachers, [7, 7, 7], mean, 2.0)]:
            torch.testing.assert_close(got, each[0])


@pytest.mark.parametrize(
    ("weights", "said"),
    [([1.0], "1 weights for 2"), ([1.0, 0.0], "positive"), ([1.0, math.nan], "positive")],
)
def test_bad_weights(weights: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        average([torch.zeros(2, 3)] * 2, weights)


def test_other_bad_input() -> None:
    with pytest.raises(InputError, match="temperature -1"):
        average([torch.zeros(2, 3)], temperature=-1.0)
    with pytest.raises(InputError, match="harmonic"):
        average([torch.zeros(2, 3)], mean="harmonic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(2, 3\), \(2, 4\)"):
        average([torch.zeros(2, 3), torch.zeros(2, 4)])
    with pytest.raises(InputError, match="no teachers"):
        average([])
