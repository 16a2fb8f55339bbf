"""The guide's spikes as a mask, and CTC with them, against their definitions."""

from typing import Any

import pytest
import torch

from asr_kd.distill.ctc import ctc_loss
from asr_kd.distill.guided_ctc import guide_loss, spikes

LENGTHS = torch.tensor([4, 2])


def test_the_mask_and_its_gradient() -> None:
    torch.manual_seed(1)
    logits = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    guide = torch.full((2, 4, 3), -5.0, requires_grad=True)
    with torch.no_grad():
        for row, labels in enumerate(([0, 2, 0, 1], [1, 0, 2, 2])):  # the last two are padding
            guide[row, range(4), labels] = 1.0
    total, count = guide_loss(logits, LENGTHS, guide)
    post = logits.exp() / logits.exp().sum(-1, keepdim=True)
    expected = -(post[0, 1, 2] + post[0, 3, 1] + post[1, 0, 1])
    torch.testing.assert_close(total, expected)
    assert count == 6
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (total, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    assert guide.grad is None
    assert [x.tolist() for x in spikes(guide, LENGTHS)] == [[0, 0, 1], [1, 3, 0], [2, 1, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_together_with_ctc_they_are_those_of_all_paths(
    enumerated: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """`L_CTC + 3·L_G`: value and gradient of the sum that is trained."""
    torch.manual_seed(1)
    logits = (2 * torch.randn(2, 4, 3, dtype=dtype)).to(device).requires_grad_()
    guide = torch.randn(2, 4, 3, dtype=dtype).to(device)
    guide[:, ::2, 0] = 9.0  # the blank
    tokens, token_lengths = torch.tensor([[1, 1], [2, 0]]), torch.tensor([2, 1])
    lengths, tokens, token_lengths = (x.to(device) for x in (LENGTHS, tokens, token_lengths))
    total = ctc_loss(logits, lengths, tokens, token_lengths)[0]
    total = total + 3 * guide_loss(logits, lengths, guide)[0]
    expected, spiking = logits.new_zeros(()), 0
    for x, theirs, frames, said in zip(logits, guide, LENGTHS, [[1, 1], [2]], strict=True):
        expected = expected - enumerated(x[:frames], said)
        for frame, scores in zip(x[:frames], theirs.tolist(), strict=False):
            if scores[0] < max(scores):
                post = frame.exp() / frame.exp().sum()
                expected, spiking = expected - 3 * post[scores.index(max(scores))], spiking + 1
    assert 0 < spiking < 6
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)
    ours, reference = (torch.autograd.grad(loss, logits)[0] for loss in (total, expected))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)
    assert not ours[1, 2:].any()  # on padding


def test_a_guide_without_spikes_asks_for_nothing() -> None:
    logits = torch.randn(2, 4, 3, requires_grad=True)
    total, count = guide_loss(logits, LENGTHS, torch.tensor([1.0, 0.0, 0.0]).expand(2, 4, 3))
    (gradient,) = torch.autograd.grad(total, logits)
    assert (float(total.detach()), int(count), float(gradient.abs().sum())) == (0.0, 6, 0.0)
