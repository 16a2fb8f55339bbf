import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from asr_kd.distill import loss
from asr_kd.distill.loss import distillation_loss, hard_cross_entropy, soft_cross_entropy
from asr_kd.ensemble.soft_targets import SoftTargets

SEVERAL_CHUNKS = 150  # rows; a chunk has fewer in these tests


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "_ENTRIES", 300)
        yield


def normal(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def keep_top(probs: Tensor, counts: Tensor) -> SoftTargets:
    """The `counts[n]` largest entries of each row, in a shuffled order."""
    labels, values = [], []
    for row, count in zip(probs, counts.tolist(), strict=True):
        top = row.topk(count).indices
        top = top[torch.randperm(count, generator=torch.Generator().manual_seed(count))]
        labels.append(top)
        values.append(row[top])
    kept = torch.stack([value.sum() for value in values])
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return SoftTargets(indptr, torch.cat(labels), torch.cat(values), (1 - kept).clamp_min(0))


def reference(
    logits: Tensor, targets: SoftTargets, pdf_ids: Tensor | None, temperature: float, weight: float
) -> Tensor:
    """Frame by frame, as the definition reads."""
    total = logits.new_zeros(())
    for n, z in enumerate(logits):
        log_p = z / temperature - (z / temperature).logsumexp(0)
        entries = slice(int(targets.indptr[n]), int(targets.indptr[n + 1]))
        labels, probs = targets.labels[entries], targets.probs[entries]
        soft = -(probs * log_p[labels]).sum()
        others = [v for v in range(len(z)) if v not in labels.tolist()]
        if others and targets.left[n] > 0:
            soft = soft - targets.left[n] * log_p[others].logsumexp(0)
        total = total + temperature**2 * soft
        if pdf_ids is not None:
            total = total - weight * torch.log_softmax(z, 0)[pdf_ids[n]]
    return total


def loss_and_gradient(logits: Tensor, *arguments: object) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    total, _ = distillation_loss(leaf, *arguments)  # type: ignore[arg-type]
    return total.detach(), torch.autograd.grad(total, leaf)[0]


@settings(max_examples=40, deadline=None)
@given(
    num_frames=st.integers(1, SEVERAL_CHUNKS),
    num_labels=st.integers(2, 12),
    temperature=st.sampled_from([0.5, 1.0, 2.0, 5.0]),
    weight=st.sampled_from([0.0, 0.5, 3.0]),
    scale=st.sampled_from([0.1, 3.0, 60.0]),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    num_frames: int, num_labels: int, temperature: float, weight: float, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = normal(num_frames, num_labels, seed=seed, scale=scale)
    probs = normal(num_frames, num_labels, seed=seed + 1).softmax(1)
    counts = torch.randint(1, num_labels + 1, (num_frames,), generator=generator)
    targets = keep_top(probs, counts)
    pdf_ids = torch.randint(num_labels, (num_frames,), generator=generator)
    leaf = logits.clone().requires_grad_()
    expected = reference(leaf, targets, pdf_ids, temperature, weight)
    (slope,) = torch.autograd.grad(expected, leaf)
    total, gradient = loss_and_gradient(logits, targets, pdf_ids, temperature, weight)
    torch.testing.assert_close(total, expected.detach())
    torch.testing.assert_close(gradient, slope, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kept", [0, 2, 4])
def test_gradcheck(temperature: float, kept: int) -> None:
    probs = normal(5, 4, seed=1).softmax(1)
    targets = keep_top(probs, torch.full((5,), kept)) if kept else probs
    pdf_ids = torch.tensor([0, 1, 2, 3, 0])
    logits = normal(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: distillation_loss(z, targets, pdf_ids, temperature)[0], logits
    )
    assert torch.autograd.gradcheck(
        lambda z: soft_cross_entropy(z, targets, temperature)[0], logits
    )
    assert torch.autograd.gradcheck(lambda z: hard_cross_entropy(z, pdf_ids)[0], logits)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_dense_and_sparse_agree_where_all_is_kept(temperature: float) -> None:
    num_frames, num_labels = SEVERAL_CHUNKS, 7
    logits, probs = (
        normal(num_frames, num_labels),
        normal(num_frames, num_labels, seed=1).softmax(1),
    )
    pdf_ids = torch.arange(num_frames) % num_labels
    whole = keep_top(probs, torch.full((num_frames,), num_labels))
    dense = loss_and_gradient(logits, probs, pdf_ids, temperature)
    sparse = loss_and_gradient(logits, whole, pdf_ids, temperature)
    torch.testing.assert_close(sparse, dense)
    # One frame that keeps less sends all others down the sparse way too.
    counts = torch.full((num_frames,), num_labels)
    counts[-1] = 1
    mixed = loss_and_gradient(logits, keep_top(probs, counts), pdf_ids, temperature)
    torch.testing.assert_close(mixed[1][:-1], dense[1][:-1])


def test_dense_is_kl_and_cross_entropy_of_torch() -> None:
    logits, probs = normal(20, 9), normal(20, 9, seed=1).softmax(1)
    pdf_ids = torch.arange(20) % 9
    log_p = (logits / 2).log_softmax(1)
    entropy = -torch.xlogy(probs, probs).sum()
    kl = torch.nn.functional.kl_div(log_p, probs, reduction="sum")
    hard = torch.nn.functional.cross_entropy(logits, pdf_ids, reduction="sum")
    total, count = distillation_loss(logits, probs, pdf_ids, 2.0, hard_weight=0.5)
    torch.testing.assert_close(total, 4 * (kl + entropy) + 0.5 * hard)
    assert int(count) == 20


def test_gradient_does_not_fade_with_temperature() -> None:
    """T² holds the gradient at the high-T limit `(z − v) / V` of centred logits (paper, 2.1)."""
    num_labels = 30
    student, teacher = normal(40, num_labels, scale=1.0), normal(40, num_labels, seed=1, scale=1.0)
    student, teacher = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    limit = (student - teacher) / num_labels
    errors = []
    for temperature in (10.0, 100.0, 1000.0):
        targets = (teacher / temperature).softmax(1)
        _, gradient = loss_and_gradient(student, targets, None, temperature)
        errors.append(float((gradient - limit).abs().max() / limit.abs().max()))
        leaf = student.clone().requires_grad_()
        soft, _ = soft_cross_entropy(leaf, targets, temperature)
        (unscaled,) = torch.autograd.grad(soft, leaf)
        torch.testing.assert_close(gradient, temperature**2 * unscaled)
    assert errors[0] < 0.3
    assert errors[2] < 0.003
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("sparse", [True, False])
def test_leading_axes_do_not_matter(sparse: bool) -> None:
    logits, probs = normal(3, 5, 6), normal(3, 5, 6, seed=1).softmax(-1)
    pdf_ids = torch.arange(15).reshape(3, 5) % 6
    flat = probs.reshape(15, 6)
    targets = keep_top(flat, torch.full((15,), 2)) if sparse else probs
    same = targets if sparse else flat
    total, gradient = loss_and_gradient(logits, targets, pdf_ids, 2.0)
    expected, slope = loss_and_gradient(logits.reshape(15, 6), same, pdf_ids.flatten(), 2.0)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(gradient, slope.reshape(3, 5, 6))


def test_sums_add_up_over_batches() -> None:
    logits, probs = normal(10, 6), normal(10, 6, seed=1).softmax(-1)
    pdf_ids = torch.arange(10) % 6
    parts = [
        distillation_loss(logits[p], probs[p], pdf_ids[p], 2.0) for p in (slice(3), slice(3, 10))
    ]
    total, count = distillation_loss(logits, probs, pdf_ids, 2.0)
    torch.testing.assert_close(parts[0][0] + parts[1][0], total)
    assert int(parts[0][1] + parts[1][1]) == int(count) == 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_confident_frames_stay_finite(dtype: torch.dtype, temperature: float) -> None:
    """log(1 − Σ p) of the kept labels would be −inf here."""
    logits = torch.zeros(3, 50, dtype=dtype)
    logits[:, 0] = torch.tensor([100.0, 1000.0, -1000.0], dtype=dtype)
    indptr, labels = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 0])
    targets = SoftTargets(indptr, labels, torch.full((3,), 0.9), torch.full((3,), 0.1))
    total, gradient = loss_and_gradient(logits, targets, torch.tensor([0, 0, 0]), temperature)
    # The bucket of 49 labels is 100 (1000) below, at T; the third frame has it the other way.
    gaps = torch.tensor([100.0, 1000.0]) / temperature - math.log(49)
    far = 0.9 * (1000 / temperature + math.log(49))
    hard = 0.5 * (1000 + math.log(49))
    expected = temperature**2 * (0.1 * float(gaps.sum()) + far) + hard
    assert float(total) == pytest.approx(expected, rel=1e-4)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient[0, 1:].sum()) == pytest.approx(-0.1 * temperature, rel=1e-2)


def test_nothing_left_and_everything_left() -> None:
    logits = normal(2, 5)
    nothing = SoftTargets(
        torch.tensor([0, 1, 2]), torch.tensor([3, 4]), torch.ones(2), torch.zeros(2)
    )
    total, gradient = loss_and_gradient(logits, nothing, None, 1.0)
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([3, 4]), reduction="sum")
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(
        gradient, logits.softmax(1) - torch.nn.functional.one_hot(torch.tensor([3, 4]), 5)
    )
    no_labels = torch.zeros(0, dtype=torch.int64)
    everything = SoftTargets(
        torch.zeros(3, dtype=torch.int64), no_labels, torch.zeros(0), torch.ones(2)
    )
    total, gradient = loss_and_gradient(logits, everything, None, 1.0)
    assert abs(float(total)) < 1e-12  # the bucket holds all labels: probability 1 for any student
    assert float(gradient.abs().max()) < 1e-12


def test_half_precision_logits_get_their_gradient_in_half_precision() -> None:
    logits, probs = normal(8, 11), normal(8, 11, seed=1).softmax(1)
    targets = keep_top(probs, torch.full((8,), 3))
    half = logits.bfloat16()
    total, gradient = loss_and_gradient(half, targets, torch.zeros(8, dtype=torch.int64), 3.0)
    expected, slope = loss_and_gradient(
        half.double(), targets, torch.zeros(8, dtype=torch.int64), 3.0
    )
    assert total.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient.double(), slope, rtol=0.01, atol=0.01)


def test_backward_twice_and_scaled() -> None:
    logits = normal(6, 5).requires_grad_()
    targets = normal(6, 5, seed=1).softmax(1)
    total, count = distillation_loss(logits, targets, None, 2.0)
    (first,) = torch.autograd.grad(total / count, logits, retain_graph=True)
    (second,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(6 * first, second)


class LargeStorages(TorchDispatchMode):
    """Notes every piece of memory that an operation makes or writes, from a size on."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.seen: dict[int, UntypedStorage] = {}  # kept alive, so that no address comes twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor) and value.untyped_storage().nbytes() >= self.least:
                self.seen[value.untyped_storage().data_ptr()] = value.untyped_storage()
        return result


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("sparse", [True, False])
def test_makes_nothing_of_the_logits_size_but_their_gradient(
    temperature: float, sparse: bool
) -> None:
    num_frames, num_labels = 1024, 50
    logits = normal(num_frames, num_labels).requires_grad_()
    probs = normal(num_frames, num_labels, seed=1).softmax(1)
    targets = keep_top(probs, torch.full((num_frames,), 3)) if sparse else probs
    pdf_ids = torch.zeros(num_frames, dtype=torch.int64)
    with LargeStorages(least=num_frames * num_labels * 8 // 8) as large:
        distillation_loss(logits, targets, pdf_ids, temperature)[0].backward()
    assert logits.grad is not None
    given = {x.untyped_storage().data_ptr() for x in (logits, probs)}
    assert large.seen.keys() - given == {logits.grad.untyped_storage().data_ptr()}


def test_empty_batch() -> None:
    targets = SoftTargets.from_dense(torch.zeros(0, 5))
    total, count = distillation_loss(torch.zeros(0, 5), targets, None, 2.0)
    assert (float(total), int(count)) == (0.0, 0)


@pytest.mark.parametrize(
    ("frames", "labels", "pdf_ids", "said"),
    [(4, 5, 3, "targets of 4 frames, logits of 3"), (3, 6, 3, "targets of 6 labels, logits of 5"),
     (3, 5, 2, "2 labels, logits of 3 frames")],
)  # fmt: skip
def test_sizes_that_disagree(frames: int, labels: int, pdf_ids: int, said: str) -> None:
    targets = torch.full((frames, labels), 1 / labels)
    with pytest.raises(ValueError, match=said):
        distillation_loss(torch.zeros(3, 5), targets, torch.zeros(pdf_ids, dtype=torch.int64), 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_on_cuda() -> None:
    logits, probs = normal(1000, 40), normal(1000, 40, seed=1).softmax(1)
    targets, pdf_ids = keep_top(probs, torch.full((1000,), 5)), torch.arange(1000) % 40
    here = loss_and_gradient(logits, targets, pdf_ids, 2.0)
    there = loss_and_gradient(logits.cuda(), targets.to("cuda"), pdf_ids.cuda(), 2.0)
    torch.testing.assert_close(tuple(x.cpu() for x in there), here)


def test_one_chunk_is_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, probs = normal(SEVERAL_CHUNKS, 7), normal(SEVERAL_CHUNKS, 7, seed=1).softmax(1)
    small = loss_and_gradient(logits, probs, None, 2.0)
    monkeypatch.setattr(loss, "_ENTRIES", 7 * SEVERAL_CHUNKS)
    for found, expected in zip(loss_and_gradient(logits, probs, None, 2.0), small, strict=True):
        torch.testing.assert_close(found, expected)
