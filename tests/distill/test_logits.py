import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_kd.distill.logits import floored_log, logit_matching, teacher_logits
from asr_kd.distill.loss import distillation_loss, soft_cross_entropy
from asr_kd.ensemble.average import average


def normal(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def centred(z: Tensor) -> Tensor:
    return z - z.mean(-1, keepdim=True)


def gradient(loss: Any, z: Tensor) -> Tensor:
    leaf = z.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf)[0], leaf)[0]


def test_equals_the_definition() -> None:
    z, v = normal(4, 3, 7), normal(4, 3, 7, seed=1)
    expected = 0.0
    for row, other in zip(z.reshape(-1, 7).tolist(), v.reshape(-1, 7).tolist(), strict=True):
        mine, theirs = sum(row) / 7, sum(other) / 7
        terms = [(a - mine - b + theirs) ** 2 for a, b in zip(row, other, strict=True)]
        expected += sum(terms) / 2 / 7
    total, count = logit_matching(z, v)
    assert float(total) == pytest.approx(expected, rel=1e-12)
    assert int(count) == 12


def test_gradient() -> None:
    z, v = normal(5, 6), normal(5, 6, seed=1)
    assert torch.autograd.gradcheck(lambda x: logit_matching(x, v)[0], z.clone().requires_grad_())
    found = gradient(lambda x: logit_matching(x, v), z)
    torch.testing.assert_close(found, (centred(z) - centred(v)) / 6)


def test_a_constant_added_to_a_frame_changes_nothing() -> None:
    z, v = normal(5, 6), normal(5, 6, seed=1)
    moved = logit_matching(z + normal(5, 1, seed=2), v - normal(5, 1, seed=3))
    torch.testing.assert_close(moved, logit_matching(z, v))
    assert float(logit_matching(v + 3, v)[0]) < 1e-20


def test_batch_is_a_stack_of_singles() -> None:
    z, v = normal(9, 4), normal(9, 4, seed=1)
    each = sum(float(logit_matching(z[n], v[n])[0]) for n in range(9))
    assert float(logit_matching(z, v)[0]) == pytest.approx(each)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 6\).*\(5, 7\)"):
        logit_matching(normal(5, 7), normal(5, 6))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_logits_of_one_teacher_and_of_the_geometric_mean(temperature: float) -> None:
    one, other = normal(5, 6), normal(5, 6, seed=1)
    alone = average([one], None, "arithmetic", temperature)
    torch.testing.assert_close(teacher_logits(alone, temperature), centred(one))
    both = average([one, other], [3, 1], "geometric", temperature)
    expected = centred(0.75 * one + 0.25 * other)
    torch.testing.assert_close(teacher_logits(both, temperature), expected)


def test_matched_logits_give_the_targets_of_an_arithmetic_mean() -> None:
    for temperature in (1.0, 3.0):
        log_q = average([normal(5, 6), normal(5, 6, seed=1)], [3, 1], "arithmetic", temperature)
        v = teacher_logits(log_q, temperature)
        torch.testing.assert_close(torch.log_softmax(v / temperature, -1), log_q)
        torch.testing.assert_close(v.sum(-1), torch.zeros(5, dtype=torch.float64))


def test_a_probability_of_nothing_has_a_finite_logit() -> None:
    low = math.log(torch.finfo(torch.float32).tiny)
    log_q = torch.tensor([[0.0, -math.inf, -3.0], [0.0, -math.inf, -200.0]])
    v = teacher_logits(log_q, 2.0)
    expected = torch.tensor([[0.0, 2 * low, -6.0], [0.0, -400.0, -400.0]])
    torch.testing.assert_close(v, centred(expected))


def test_a_small_probability_that_is_known_keeps_its_logit() -> None:
    v = torch.tensor([[0.0, -5.0, -90.0, -300.0], [3.0, 2.0, 1.0, 0.0]])
    torch.testing.assert_close(teacher_logits(average([v]), 1.0), centred(v))


def test_what_a_store_has_rounded_to_nothing_counts_as_the_smallest_number() -> None:
    tiny = torch.finfo(torch.float32).tiny
    found = floored_log(torch.tensor([1.0, 0.25, tiny, tiny / 8, 0.0]))
    low = math.log(tiny)
    torch.testing.assert_close(found, torch.tensor([0.0, math.log(0.25), low, low, low]))


def test_soft_cross_entropy_goes_to_it_as_the_temperature_grows() -> None:
    """`V·T²·d CE_soft/dz → z − v` with an error of 1/T (paper, section 2.1)."""
    z, v = normal(40, 11), normal(40, 11, seed=1)
    limit = centred(z) - centred(v)
    errors = []
    for temperature in (100.0, 200.0, 400.0, 800.0):
        q = torch.softmax(v / temperature, -1)
        slope = gradient(lambda x, q=q, t=temperature: soft_cross_entropy(x, q, t), z)
        error = 11 * temperature**2 * slope - limit
        errors.append(float(error.norm() / limit.norm()))
    assert errors[-1] < 0.01
    for error, half in itertools.pairwise(errors):
        assert half == pytest.approx(error / 2, rel=0.02)


def test_weighs_as_much_as_the_soft_loss_at_a_high_temperature() -> None:
    z, v = normal(40, 11), normal(40, 11, seed=1)
    temperature = 1e4
    q = torch.softmax(v / temperature, -1)
    soft = gradient(lambda x: distillation_loss(x, q, None, temperature, 0.0), z)
    matched = gradient(lambda x: logit_matching(x, teacher_logits(q.log(), temperature)), z)
    torch.testing.assert_close(soft, matched, rtol=0, atol=1e-3 * float(matched.abs().max()))
