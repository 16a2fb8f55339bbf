"""The n-best loss against the enumeration of all paths."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_kd.distill.nbest_loss import average_scores, nbest_loss, nbest_weights

LENGTHS = torch.tensor([4, 3])
LISTS = (([1, 2], [1], [2, 2]), ([2], []))
TOKENS = torch.tensor([[[1, 2], [1, 0], [2, 2]], [[2, 0], [0, 0], [0, 0]]])
TOKEN_LENGTHS = torch.tensor([[2, 1, 2], [1, 0, 0]])
SCORES = torch.tensor([[-1.0, -0.5, -3.0], [-0.25, -2.0, -math.inf]], dtype=torch.float64)


def make_logits(
    dtype: torch.dtype = torch.float64, device: torch.device = torch.device("cpu")
) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(2, 4, 3, dtype=dtype)).to(device).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_are_those_of_all_paths(
    enumerated: Any, device: torch.device, dtype: torch.dtype
) -> None:
    logits = make_logits(dtype, device)
    weights = nbest_weights(SCORES.to(device, dtype), scale=0.5)
    there = (x.to(device) for x in (LENGTHS, TOKENS, TOKEN_LENGTHS))
    total, count = nbest_loss(logits, *there, weights)
    expected: Any = 0.0
    for x, n, entries, scores in zip(logits, LENGTHS, LISTS, SCORES, strict=True):
        shares = [math.exp(0.5 * float(score)) for score in scores]
        for tokens, share in zip(entries, shares, strict=False):
            expected = expected - share / sum(shares) * enumerated(x[:n], tokens)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)
    assert count == 7
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in (total, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_whole_distribution_as_a_list_is_kl_divergence(enumerated: Any) -> None:
    """Of all sequences of two frames, the loss is least where student and teacher agree."""
    torch.manual_seed(3)
    teacher, student = torch.randn(2, 1, 2, 3, dtype=torch.float64)
    entries = [[], [1], [2], [1, 2], [2, 1]]
    tokens = torch.tensor([[[*e, 0, 0][:2] for e in entries]])
    token_lengths = torch.tensor([[len(e) for e in entries]])
    scores = torch.stack([enumerated(teacher[0], e) for e in entries])[None]
    weights = nbest_weights(scores)
    torch.testing.assert_close(weights, scores.exp())  # they sum to 1 already
    length = torch.tensor([2])
    student.requires_grad_()
    theirs, _ = nbest_loss(student, length, tokens, token_lengths, weights)
    own, _ = nbest_loss(teacher.requires_grad_(), length, tokens, token_lengths, weights)
    assert own < theirs
    assert torch.autograd.grad(own, teacher)[0].abs().max() < 1e-9
    kl = sum(w * (w.log() - enumerated(student[0], e)) for w, e in zip(weights[0], entries))  # noqa: B905
    assert float(theirs - own) == pytest.approx(float(kl))


def test_what_has_no_weight_costs_nothing_and_what_has_must_fit() -> None:
    logits = make_logits()
    tokens, token_lengths = TOKENS.clone(), TOKEN_LENGTHS.clone()
    weights = nbest_weights(SCORES)
    one, _ = nbest_loss(logits, LENGTHS, tokens, token_lengths, weights)
    tokens = torch.nn.functional.pad(tokens, (0, 3), value=1)
    token_lengths[1, 2] = 5  # beyond the list's end
    two, _ = nbest_loss(logits, LENGTHS, tokens, token_lengths, weights)
    torch.testing.assert_close(one, two)
    assert torch.autograd.grad(two, logits)[0].isfinite().all()
    token_lengths[1, 1] = 5
    with pytest.raises(ValueError, match="entry 1 of utterance 1: 5 tokens do not fit 3 frames"):
        nbest_loss(logits, LENGTHS, tokens, token_lengths, weights)


def test_an_empty_list_weighs_nothing() -> None:
    weights = nbest_weights(torch.tensor([[-1.0, -1.0], [-math.inf, -math.inf]]))
    assert weights.tolist() == [[0.5, 0.5], [0.0, 0.0]]


def test_means_of_teachers_scores() -> None:
    scores = torch.log(torch.tensor([[0.4, 0.1, 0.0], [0.1, 0.4, 0.2], [0.5, 0.5, 0.5]]))
    mean = average_scores(scores, [3.0, 1.0, 0.0], "arithmetic").exp()
    torch.testing.assert_close(mean, torch.tensor([0.325, 0.175, 0.05]))
    mean = average_scores(scores, [1.0, 1.0, 0.0], "geometric").exp()
    torch.testing.assert_close(mean, torch.tensor([0.2, 0.2, 0.0]))
    for weights in ([1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, -1.0]):
        with pytest.raises(ValueError, match="for 3 teachers"):
            average_scores(scores, weights, "arithmetic")
