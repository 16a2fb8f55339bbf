"""Is the divergence from an average the average of the divergences? Up to a constant, one way."""

import pytest
import torch
from torch import Tensor

from asr_kd.distill.loss import distillation_loss
from asr_kd.ensemble.average import average, mean_weights

WEIGHTS = (1.0, 2.0, 0.5, 4.0)


def logits(num: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in range(num)]


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def tempered(z: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(z / temperature, -1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_forward_divergence_and_the_arithmetic_mean(temperature: float) -> None:
    """Σ w_m KL(p_m ‖ s) = KL(p̄ ‖ s) + Σ w_m KL(p_m ‖ p̄); the last term knows nothing of s."""
    teachers = logits(4)
    shares = mean_weights(WEIGHTS, 4)
    mean = average(teachers, WEIGHTS, "arithmetic", temperature)
    each = [tempered(z, temperature) for z in teachers]
    spread = sum(w * kl(p, mean) for w, p in zip(shares, each, strict=True))
    assert float(torch.as_tensor(spread).min()) > 0
    for student in logits(3, seed=1):
        s = tempered(student, temperature)
        left = sum(w * kl(p, s) for w, p in zip(shares, each, strict=True))
        torch.testing.assert_close(left, kl(mean, s) + spread)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_backward_divergence_and_the_geometric_mean(temperature: float) -> None:
    """Σ w_m KL(s ‖ p_m) = KL(s ‖ g) − log Z, where g = Π p_m^w_m / Z."""
    teachers = logits(4)
    shares = mean_weights(WEIGHTS, 4)
    mean = average(teachers, WEIGHTS, "geometric", temperature)
    each = [tempered(z, temperature) for z in teachers]
    product = sum(w * p for w, p in zip(shares, each, strict=True))
    log_z = torch.as_tensor(product).logsumexp(-1)
    assert float(log_z.max()) < 0
    for student in logits(3, seed=1):
        s = tempered(student, temperature)
        left = sum(w * kl(s, p) for w, p in zip(shares, each, strict=True))
        torch.testing.assert_close(left, kl(s, mean) - log_z)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_learns_the_same_from_the_mean_as_from_all_losses(temperature: float) -> None:
    teachers = logits(4)
    student = logits(1, seed=1)[0].requires_grad_()

    def gradient(probs: Tensor) -> Tensor:
        total, _ = distillation_loss(student, probs, None, temperature, 0.0)
        return torch.autograd.grad(total, student)[0]

    each = [gradient(tempered(z, temperature).exp()) for z in teachers]
    averaged = sum(w * g for w, g in zip(mean_weights(WEIGHTS, 4), each, strict=True))
    arithmetic = average(teachers, WEIGHTS, "arithmetic", temperature)
    torch.testing.assert_close(gradient(arithmetic.exp()), averaged)
    # Not from the geometric mean, and not from the mean at T = 1, tempered afterwards.
    others = [average(teachers, WEIGHTS, "geometric", temperature)]
    if temperature != 1:
        others.append(tempered(average(teachers, WEIGHTS, "arithmetic", 1.0), temperature))
    for other in others:
        assert float((gradient(other.exp()) - averaged).abs().max()) > 0.01
