"""Maximum mutual information against the enumeration of all paths."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_kd.distill.mmi import Paths, aligned_paths, mmi_loss
from asr_kd.io.kaldi.fst import Fst
from asr_kd.search.arrays import Pieces
from asr_kd.search.denominator import Denominator

# Two words of three labels over silence: epsilon arcs back to the start and to the only end, ways
# that add up, self-loops, and a final cost. No path has fewer than two frames.
ARCS = [
    (0, 1, 1, 0.25), (0, 2, 2, 1.0), (0, 0, 3, 0.5), (1, 1, 1, 0.5), (1, 3, 2, 0.5),
    (2, 2, 2, 0.25), (2, 3, 1, 0.125), (2, 3, 3, 0.5), (3, 3, 3, 0.75), (3, 0, 0, 0.5),
    (3, 4, 0, 0.25), (3, 5, 0, 0.5), (5, 4, 0, 0.5),
]  # fmt: skip
FINALS = (*[np.inf] * 4, 0.75, np.inf)
LENGTHS = torch.tensor([3, 5, 2, 4])
ALIGNED = ([0, 1, 2], [2, 0, 0, 1, 2], [1, 0], [1, 2, 2, 2])
PRIOR = torch.tensor([0.5, 0.125, 0.375], dtype=torch.float64).log()
KAPPA, PRIOR_SCALE = 0.7, 0.8


def graph() -> Fst:
    pieces = Pieces()
    for source, target, label, cost in ARCS:
        pieces.add(source, label, 0, cost, target)
    return pieces.arrays(0, np.array(FINALS, np.float32))


def paths() -> Paths:
    return Paths(Denominator.of(graph(), 3), torch.device("cpu"))


def every_path(length: int) -> list[tuple[list[int], float]]:
    """Labels and cost of each path of so many frames."""
    found = []

    def go(state: int, labels: list[int], cost: float) -> None:
        if len(labels) == length and np.isfinite(FINALS[state]):
            found.append((labels, cost + FINALS[state]))
        for source, target, label, weight in ARCS:
            if source == state and (label == 0 or len(labels) < length):
                go(target, labels + [label - 1] * (label > 0), cost + weight)

    go(0, [], 0.0)
    return found


def expected(logits: Tensor, lengths: Tensor, aligned: list[list[int]], tolerance: int) -> Tensor:
    """The loss by its definition, with log-posteriors."""
    total = logits.new_zeros(())
    for row, length, ali in zip(logits, lengths.tolist(), aligned, strict=True):
        scores = KAPPA * (row.log_softmax(1) - PRIOR_SCALE * PRIOR.to(row.dtype))
        near = [set(ali[max(t - tolerance, 0) : t + tolerance + 1]) for t in range(length)]
        every, within = [], []
        for labels, cost in every_path(length):
            every.append(sum(scores[t, k] for t, k in enumerate(labels)) - cost)
            if all(k in near[t] for t, k in enumerate(labels)):
                within.append(every[-1])
        if within:
            total = total + torch.stack(every).logsumexp(0) - torch.stack(within).logsumexp(0)
    return total


def make_logits(rows: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (2 * torch.randn(rows, 5, 3, dtype=dtype)).requires_grad_()


def loss_of(logits: Tensor, lengths: Tensor, aligned: list[list[int]], tolerance: int) -> Tensor:
    labels = torch.tensor([*itertools.chain(*aligned)])
    total, count = mmi_loss(logits, lengths, labels, paths(), PRIOR, KAPPA, PRIOR_SCALE, tolerance)
    assert count == lengths.sum()
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tolerance", [0, 1])
def test_loss_and_gradient_are_those_of_all_paths(tolerance: int, dtype: torch.dtype) -> None:
    logits = make_logits(dtype=dtype)
    ours = loss_of(logits, LENGTHS, list(ALIGNED), tolerance)
    theirs = expected(logits, LENGTHS, list(ALIGNED), tolerance)
    assert theirs > 1
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, check_dtype=False)
    mine, reference = (torch.autograd.grad(x, logits)[0] for x in (ours, theirs))
    torch.testing.assert_close(mine, reference, atol=1e-5, rtol=0)
    assert not mine[2, 2:].any()  # on padding
    torch.testing.assert_close(mine[1].sum(1), torch.zeros(5, dtype=dtype), atol=1e-6, rtol=0)


def test_without_tolerance_the_alignment_itself_is_what_the_gradient_wants() -> None:
    logits = make_logits()
    (gradient,) = torch.autograd.grad(loss_of(logits, LENGTHS, list(ALIGNED), 0), logits)
    scores = KAPPA * (logits.detach() - PRIOR_SCALE * PRIOR)
    _, occupation = paths()(scores, LENGTHS, with_occupation=True)
    for row, ali in enumerate(ALIGNED):
        np.testing.assert_allclose(occupation[row, : len(ali)].sum(1), 1.0, rtol=1e-12)
        one_hot = torch.eye(3, dtype=torch.float64)[ali]
        torch.testing.assert_close(
            gradient[row, : len(ali)], KAPPA * (occupation[row, : len(ali)] - one_hot)
        )


@pytest.mark.parametrize("tolerance", [0, 2])
def test_a_batch_is_a_stack_of_its_utterances(tolerance: int) -> None:
    logits = make_logits()
    (together,) = torch.autograd.grad(loss_of(logits, LENGTHS, list(ALIGNED), tolerance), logits)
    for k, length in enumerate(LENGTHS.tolist()):
        one = logits[k : k + 1, :length].detach().requires_grad_()
        total = loss_of(one, LENGTHS[k : k + 1], [ALIGNED[k]], tolerance)
        (alone,) = torch.autograd.grad(total, one)
        torch.testing.assert_close(alone[0], together[k, :length])


def test_alignments_without_a_path_add_nothing_unless_a_tolerance_finds_one() -> None:
    lost, lengths = [[0, 1, 2], [0, 0, 2, 2, 2], [0, 0]], torch.tensor([3, 5, 2])
    logits = make_logits(3)
    labels, shape = torch.tensor([*itertools.chain(*lost)]), (lengths, 3, paths())
    assert aligned_paths(labels, *shape, 0).tolist() == [True, False, False]
    assert aligned_paths(labels, *shape, 4).tolist() == [True, False, False]
    found = loss_of(logits, lengths, lost, 0)
    torch.testing.assert_close(found, loss_of(logits[:1, :3], lengths[:1], lost[:1], 0))
    (gradient,) = torch.autograd.grad(found, logits)
    assert not gradient[1:].any()
    # No path has these labels, but one has them a frame away at the most.
    jumped, three = [[1, 2, 0, 2, 2]], torch.tensor([5])
    assert aligned_paths(torch.tensor(jumped[0]), three, 3, paths(), 0).tolist() == [False]
    assert aligned_paths(torch.tensor(jumped[0]), three, 3, paths(), 1).tolist() == [True]
    assert loss_of(logits[:1], three, jumped, 1) > 0


def test_an_utterance_without_a_path_of_its_length_is_named() -> None:
    lengths = torch.tensor([3, 1, 2])
    with pytest.raises(ValueError, match="utterance 1: the graph has no path of 1 frames"):
        loss_of(make_logits(3), lengths, [[0, 1, 2], [0], [1, 0]], 1)


def test_long_utterances_and_scores_of_any_size() -> None:
    """Nothing overflows or vanishes; a shift of a frame's logits changes nothing."""
    torch.manual_seed(1)
    logits = 40 * torch.randn(2, 2000, 3)
    labels = [[0] * 1000 + [1] * 500 + [2] * 500, [1] * 1000 + [2] * 900]
    lengths = torch.tensor([2000, 1900])
    shifted = (logits + 500 * torch.randn(2, 2000, 1)).double()
    logits = logits.double().requires_grad_()
    total = loss_of(logits, lengths, labels, 0)
    assert torch.isfinite(total)
    assert total > 0
    torch.testing.assert_close(loss_of(shifted, lengths, labels, 0), total, rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(total, logits)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() <= KAPPA + 1e-9


@pytest.mark.gpu
def test_on_the_gpu_as_on_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    labels = torch.tensor([*itertools.chain(*ALIGNED)])
    found = []
    for name in ("cpu", "cuda"):
        logits = make_logits().detach().to(name).requires_grad_()
        there = Paths(Denominator.of(graph(), 3), torch.device(name))
        total, _ = mmi_loss(
            logits, LENGTHS.to(name), labels.to(name), there, PRIOR.to(name), KAPPA, 1.0, 1
        )
        found.append((total.cpu(), torch.autograd.grad(total, logits)[0].cpu()))
    torch.testing.assert_close(found[0], found[1])
