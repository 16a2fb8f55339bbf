"""The guide's spikes as a mask, against its definition frame by frame."""

import torch

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


def test_a_guide_without_spikes_asks_for_nothing() -> None:
    logits = torch.randn(2, 4, 3, requires_grad=True)
    total, count = guide_loss(logits, LENGTHS, torch.tensor([1.0, 0.0, 0.0]).expand(2, 4, 3))
    (gradient,) = torch.autograd.grad(total, logits)
    assert (float(total.detach()), int(count), float(gradient.abs().sum())) == (0.0, 6, 0.0)
