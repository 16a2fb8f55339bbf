"""CTC against the enumeration of all paths."""

from typing import Any

import pytest
import torch
from torch import Tensor

from asr_kd.distill.ctc import ctc_loss, sequence_log_probs

LENGTHS = torch.tensor([5, 3, 4, 1])
SEQUENCES = ([1, 1, 2], [2], [], [1])


def padded(sequences: Any, fill: int = 0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    tokens = torch.full((len(sequences), max(1, int(lengths.max()))), fill)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = torch.tensor(sequence)
    return tokens, lengths


def make_logits(
    dtype: torch.dtype = torch.float64, device: torch.device = torch.device("cpu")
) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(4, 5, 3, dtype=dtype)).to(device).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_are_those_of_all_paths(
    enumerated: Any, device: torch.device, dtype: torch.dtype
) -> None:
    logits = make_logits(dtype, device)
    there = (x.to(device) for x in (LENGTHS, *padded(SEQUENCES)))
    total, count = ctc_loss(logits, *there)
    rows = zip(logits, LENGTHS, SEQUENCES, strict=True)
    expected = -sum(enumerated(x[:n], tokens) for x, n, tokens in rows)
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=0)
    assert count == LENGTHS.sum()
    theirs, ours = (torch.autograd.grad(loss, logits)[0] for loss in (expected, total))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert not ours[1, 3:].any()  # on padding


def test_all_sequences_together_are_certain(enumerated: Any) -> None:
    logits = make_logits()[:1, :3]
    sequences = [[], [1], [2], [1, 1], [1, 2], [2, 1], [2, 2], [1, 2, 1], [2, 1, 2]]
    tokens, token_lengths = padded(sequences)
    found = sequence_log_probs(logits, torch.tensor([3]), tokens[None], token_lengths[None])
    assert found.shape == (1, 9)
    assert found.exp().sum().item() == pytest.approx(1)
    assert found[0, 3].item() == pytest.approx(enumerated(logits[0], [1, 1]).item())


def test_padding_of_frames_and_tokens_changes_nothing() -> None:
    logits = make_logits()
    total, _ = ctc_loss(logits, LENGTHS, *padded(SEQUENCES))
    longer = torch.cat([logits.detach(), torch.full((4, 2, 3), 1e3)], 1).requires_grad_()
    tokens, token_lengths = padded(SEQUENCES, fill=2)
    tokens = torch.cat([tokens, torch.full((4, 3), 1)], 1)
    again, _ = ctc_loss(longer, LENGTHS, tokens, token_lengths)
    torch.testing.assert_close(again, total, atol=1e-9, rtol=0)
    singles = [
        ctc_loss(x[None, :n], n[None], *padded([tokens]))[0]
        for x, n, tokens in zip(logits, LENGTHS, SEQUENCES, strict=True)
    ]
    torch.testing.assert_close(sum(singles), total)
    grads = [torch.autograd.grad(a, b)[0] for a, b in ((total, logits), (again, longer))]
    torch.testing.assert_close(grads[1][:, :5], grads[0])


def test_what_does_not_fit_is_impossible_and_spoils_no_gradient() -> None:
    logits = make_logits()
    # 1 1 1 needs five frames: there are five, three and four
    log_probs = sequence_log_probs(logits[:3], LENGTHS[:3], *padded([[1, 1, 1]] * 3))
    assert log_probs.isneginf().tolist() == [False, True, True]
    (gradient,) = torch.autograd.grad(log_probs[0], logits)
    assert gradient.isfinite().all()
    assert gradient[0].abs().sum() > 0
    assert ctc_loss(logits[:3], LENGTHS[:3], *padded([[1, 1, 1]] * 3))[0] == torch.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_labels_without_probability(
    enumerated: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """Rows 0 and 1 never say 1; row 2 says it at one frame alone; row 3 says blank for certain."""
    never = torch.zeros(4, 5, 3, dtype=torch.bool)
    never[:2, :, 1] = never[2, 1:, 1] = never[3, :, 1:] = True
    logits = make_logits(dtype).detach().masked_fill(never, -torch.inf).to(device).requires_grad_()
    sequences = ([1], [2], [1, 2], [])
    lengths, tokens, token_lengths = (x.to(device) for x in (LENGTHS, *padded(sequences)))
    log_probs = sequence_log_probs(logits, lengths, tokens, token_lengths)
    assert log_probs.isneginf().tolist() == [True, False, False, False]
    assert log_probs[3] == 0
    for weight in (0.0, 1.0):  # an impossible sequence spoils nothing even where it is counted
        weighted = weight * log_probs[0].clamp_min(-1.0) + log_probs[1:].sum()
        (gradient,) = torch.autograd.grad(weighted, logits, retain_graph=True)
        assert not gradient[0].any()
        assert not gradient[never.to(device)].any()
    for row in (1, 2):
        x = logits[row, : LENGTHS[row]].detach().requires_grad_()
        expected = enumerated(x, sequences[row])
        torch.testing.assert_close(log_probs[row], expected)
        finite = x.detach().clamp_min(-1e3).requires_grad_()  # the limit: a probability of e^-1000
        (theirs,) = torch.autograd.grad(enumerated(finite, sequences[row]), finite)
        torch.testing.assert_close(gradient[row, : len(x)], theirs, atol=1e-5, rtol=0)
    assert ctc_loss(logits[:1], lengths[:1], tokens[:1], token_lengths[:1])[0] == torch.inf


def test_lists_share_the_posteriors() -> None:
    """What is kept for the backward pass does not grow with the lists by their size."""
    logits = torch.randn(4, 5, 50, requires_grad=True)
    tokens = torch.tensor([[[1, 2], [2, 1], [1, 1], [2, 0]]] * 4)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sequence_log_probs(logits, LENGTHS, tokens, torch.tensor([[2, 2, 2, 1]] * 4))
    large = [size for size in kept.values() if size >= logits.nbytes]
    assert large == [logits.nbytes]
