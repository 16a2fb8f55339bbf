"""The distillation loss, sparse or dense targets, with a gradient that is formed row by row.

N frames, V labels. With student logits z, targets q, temperature T and p = softmax(z / T):

    CE_soft = −Σ_kept q_i·log p_i − left·log(Σ_others p_i)

Labels that a sparse target does not keep are one bucket. Its student log-probability is a
logsumexp over those labels; log(1 − Σ_kept p_i) would be infinite on confident frames.

Nothing of the size of the logits is kept for the backward pass: it goes through the logits in
chunks of rows again, and what it needs beside the gradient itself is one chunk.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr_kd.ensemble.soft_targets import SoftTargets

_ENTRIES = 2**19  # a chunk of logits stays in the cache, and few labels make few chunks
_CUDA_CHUNKS = 16  # a GPU wants few large kernels: a chunk is a sixteenth of the rows


def soft_cross_entropy(
    logits: Tensor, targets: SoftTargets | Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the tempered student with soft targets at the same T (paper, section 2).

    Args:
        logits: (..., V) of the student, valid frames only.
        targets: of the same frames in the same order; dense ones are (..., V) probabilities.
        temperature: T, that of the targets.

    Returns:
        (sum over frames in nats, number of frames). There is no factor T² in it.

    Raises:
        ValueError: if frames or labels of logits and targets do not agree.
    """
    return _loss(logits, targets, None, temperature, 1.0, 0.0)


def hard_cross_entropy(logits: Tensor, pdf_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy with labels (...) at T = 1: (sum over frames in nats, number of frames)."""
    return _loss(logits, None, pdf_ids, 1.0, 0.0, 1.0)


def distillation_loss(
    logits: Tensor,
    targets: SoftTargets | Tensor,
    pdf_ids: Tensor | None,
    temperature: float,
    hard_weight: float = 0.5,
    soft_weight: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """`soft_weight·T²·CE_soft + hard_weight·CE_hard` (paper, section 2).

    The gradient of the soft part shrinks as 1/T²; the factor keeps its balance with the hard part.

    Args:
        logits: (..., V) of the student, valid frames only.
        targets: soft targets formed at T; dense ones are (..., V) probabilities.
        pdf_ids: (...) labels; None leaves the hard part out.
        temperature, hard_weight, soft_weight: as in the formula, T the first.

    Returns:
        (sum over frames in nats, number of frames).

    Raises:
        ValueError: if frames or labels of logits, targets and labels do not agree.
    """
    return _loss(logits, targets, pdf_ids, temperature, soft_weight * temperature**2, hard_weight)


def _loss(
    logits: Tensor,
    targets: SoftTargets | Tensor | None,
    pdf_ids: Tensor | None,
    temperature: float,
    soft_weight: float,
    hard_weight: float,
) -> tuple[Tensor, Tensor]:
    num_labels = logits.shape[-1]
    rows = logits.reshape(-1, num_labels)
    count = len(rows)
    if isinstance(targets, SoftTargets):
        frames = targets.num_frames
        if len(targets.labels) == count * num_labels:
            targets = targets.dense(num_labels)  # nothing is left out: the dense way is shorter
    elif targets is not None:
        targets = targets.reshape(-1, targets.shape[-1])
        frames = len(targets)
        if targets.shape[1] != num_labels:
            raise ValueError(f"targets of {targets.shape[1]} labels, logits of {num_labels}")
    if targets is not None and frames != count:
        raise ValueError(f"targets of {frames} frames, logits of {count}")
    if pdf_ids is not None:
        pdf_ids = pdf_ids.reshape(-1)
        if len(pdf_ids) != count:
            raise ValueError(f"{len(pdf_ids)} labels, logits of {count} frames")
    terms = _Terms(targets, pdf_ids, temperature, soft_weight, hard_weight)
    total: Tensor = _ChunkedLoss.apply(rows, terms)
    return total, torch.tensor(count, device=logits.device)


class _Terms(NamedTuple):
    """Everything but the logits."""

    targets: SoftTargets | Tensor | None
    pdf_ids: Tensor | None
    temperature: float
    soft_weight: float
    hard_weight: float

    @property
    def is_tempered(self) -> bool:
        """Whether the hard part needs a softmax of its own."""
        return self.temperature != 1.0 or self.targets is None


class _Kept(NamedTuple):
    """Sparse targets of R rows."""

    places: Tensor  # of the kept labels in the flattened (R,V)
    row_of: Tensor  # the row of each entry
    probs: Tensor
    left: Tensor  # (R,1)


class _Chunk(NamedTuple):
    """What R rows of logits are held against; dense targets are (R,V)."""

    rows: slice
    pdf_ids: Tensor | None
    targets: _Kept | Tensor | None


class _ChunkedLoss(torch.autograd.Function):
    """Loss of all rows; saves the logits and two numbers a row."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, terms: _Terms) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=logits.device)
        # log Σ exp at T over all labels, and over those not kept
        lse, rest = (logits.new_empty((len(logits), 1), dtype=dtype) for _ in range(2))
        scratch, spare = _scratch(logits, dtype, 2)
        inverse_temperature = lse.new_tensor([1 / terms.temperature])
        for chunk in _chunks(logits, terms, dtype):
            part, rows = chunk.rows, logits[chunk.rows]
            size = len(rows)
            if chunk.targets is not None:
                z = torch.mul(rows, inverse_temperature, out=scratch[:size])
                soft, lse[part], rest[part] = _soft_forward(z, spare[:size], chunk.targets)
                total += terms.soft_weight * soft
            if chunk.pdf_ids is not None and terms.hard_weight:
                hard = _lse(rows.to(dtype), spare[:size]) if terms.is_tempered else lse[part]
                picked = rows.gather(1, chunk.pdf_ids[:, None])
                total += terms.hard_weight * (hard - picked).sum()
        ctx.save_for_backward(logits, lse, rest)
        ctx.terms = terms
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, None]:
        logits, lse, rest = ctx.saved_tensors
        terms: _Terms = ctx.terms
        gradient = torch.empty_like(logits)
        scratch, spare, result = _scratch(logits, lse.dtype, 3)
        exact = logits.dtype == lse.dtype  # else the gradient is rounded, once it is whole
        inverse_temperature = lse.new_tensor([1 / terms.temperature])
        slope = grad_total * (terms.soft_weight / terms.temperature)
        weight = grad_total * (terms.hard_weight if terms.pdf_ids is not None else 0.0)
        for chunk in _chunks(logits, terms, lse.dtype):
            part, rows = chunk.rows, logits[chunk.rows]
            size = len(rows)
            out = gradient[part] if exact else result[:size]
            if chunk.targets is None:
                torch.softmax(rows.to(lse.dtype), 1, out=out).mul_(weight)
            else:
                z = torch.mul(rows, inverse_temperature, out=scratch[:size])
                merged = torch.zeros_like(weight) if terms.is_tempered else weight
                _soft_backward(z, out, chunk.targets, lse[part], rest[part], slope, merged)
                if terms.is_tempered and chunk.pdf_ids is not None and terms.hard_weight:
                    hard = torch.softmax(rows.to(lse.dtype), 1, out=spare[:size])
                    out.addcmul_(hard, weight)
            if chunk.pdf_ids is not None:
                out.scatter_add_(1, chunk.pdf_ids[:, None], (-weight).expand(len(out), 1))
            if not exact:
                gradient[part] = out
        return gradient, None


def _chunks(logits: Tensor, terms: _Terms, dtype: torch.dtype) -> Iterator[_Chunk]:
    count, num_labels = logits.shape
    rows = _chunk_rows(logits)
    sparse = terms.targets if isinstance(terms.targets, SoftTargets) else None
    starts = list(range(0, count, rows))
    bounds = [] if sparse is None else sparse.indptr[[*starts, count]].tolist()
    for k, start in enumerate(starts):
        part = slice(start, min(start + rows, count))
        pdf_ids = None if terms.pdf_ids is None else terms.pdf_ids[part].long()
        targets: _Kept | Tensor | None = None
        if sparse is not None:
            kept = slice(bounds[k], bounds[k + 1])
            counts = sparse.indptr[part.start : part.stop + 1].diff()
            numbers = torch.arange(len(counts), device=logits.device)
            row_of = numbers.repeat_interleave(counts, output_size=kept.stop - kept.start)
            places = row_of * num_labels + sparse.labels[kept]
            probs, left = sparse.probs[kept].to(dtype), sparse.left[part, None].to(dtype)
            targets = _Kept(places, row_of, probs, left)
        elif isinstance(terms.targets, Tensor):
            targets = terms.targets[part].to(dtype)
        yield _Chunk(part, pdf_ids, targets)


def _scratch(logits: Tensor, dtype: torch.dtype, count: int) -> Iterator[Tensor]:
    """Room for `count` chunks; memory that is not touched costs nothing on the CPU."""
    shape = (min(_chunk_rows(logits), len(logits)), logits.shape[1])
    return (logits.new_empty(shape, dtype=dtype) for _ in range(count))


def _chunk_rows(logits: Tensor) -> int:
    return max(_ENTRIES // logits.shape[1], len(logits) // _CUDA_CHUNKS if logits.is_cuda else 1)


def _lse(z: Tensor, spare: Tensor) -> Tensor:
    """Logsumexp over the columns, (R,V) -> (R,1); -inf if all of a row is.

    By way of the largest probability, `exp(max − lse)`: torch's softmax is one pass with a fast
    exponential, which makes it twice as fast as torch's logsumexp.
    """
    top = z.amax(1, keepdim=True)
    largest = torch.softmax(z, 1, out=spare).amax(1, keepdim=True)
    return torch.where(top.isneginf(), top, top - largest.log_())


def _soft_forward(
    z: Tensor, spare: Tensor, targets: _Kept | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Tempered logits (R,V), overwritten -> cross-entropy, lse (R,1), lse of labels not kept."""
    if isinstance(targets, Tensor):
        lse = _lse(z, spare)
        crossed = torch.dot(targets.flatten(), z.flatten())
        return torch.dot(targets.sum(1), lse[:, 0]) - crossed, lse, lse
    places, row_of, probs, left = targets
    flat = z.view(-1)
    kept = flat[places]
    flat[places] = -torch.inf
    rest = _lse(z, spare)
    lse = torch.logaddexp(rest, _segment_lse(kept, row_of, len(z)))
    soft = -torch.dot(probs, kept - lse[row_of, 0])
    bucket = _held(left, rest)
    return soft - torch.where(bucket > 0, bucket * (rest - lse), 0.0).sum(), lse, rest


def _soft_backward(
    z: Tensor,
    out: Tensor,
    targets: _Kept | Tensor,
    lse: Tensor,
    rest: Tensor,
    slope: Tensor,
    hard: Tensor,
) -> None:
    """Tempered logits (R,V), overwritten -> `slope·(mass·p − q) + hard·p` in `out`.

    Among the labels not kept the bucket's gradient is shared as their probabilities are.
    """
    if isinstance(targets, Tensor):
        mass = slope * targets.sum(1, keepdim=True) + hard
        torch.softmax(z, 1, out=out).mul_(mass).addcmul_(targets, -slope)
        return
    places, row_of, probs, left = targets
    flat = z.view(-1)
    kept = (flat[places] - lse[row_of, 0]).exp_()
    bucket = _held(left, rest)
    mass = bucket.clone()
    mass[:, 0].index_add_(0, row_of, probs)
    mass.mul_(slope).add_(hard)
    flat[places] = -torch.inf
    share = (rest - lse).exp_().mul_(mass).sub_(slope * bucket)
    torch.softmax(z, 1, out=out).mul_(share)
    out.view(-1)[places] = kept * mass[row_of, 0] - slope * probs


def _held(left: Tensor, rest: Tensor) -> Tensor:
    """What is left, or 0 where no label is: rounding must not turn a loss into infinity."""
    return left.masked_fill(rest.isneginf(), 0.0)


def _segment_lse(values: Tensor, row_of: Tensor, num_rows: int) -> Tensor:
    """(entries,) -> (R,1); -inf for a row without entries."""
    top = values.new_full((num_rows,), -torch.inf).scatter_reduce(0, row_of, values, "amax")
    scaled = (values - top[row_of]).exp()
    return (top + values.new_zeros(num_rows).index_add(0, row_of, scaled).log())[:, None]
