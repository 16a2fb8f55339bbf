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

_ROWS = 64  # a chunk of rows stays in a core's cache
_CUDA_CHUNKS = 8  # a GPU wants few large kernels: a chunk is at most an eighth of the rows


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
) -> tuple[Tensor, Tensor]:
    """`T²·CE_soft + hard_weight·CE_hard` (paper, section 2).

    The gradient of the soft part shrinks as 1/T²; the factor keeps its balance with the hard part.

    Args:
        logits: (..., V) of the student, valid frames only.
        targets: soft targets formed at T; dense ones are (..., V) probabilities.
        pdf_ids: (...) labels; None leaves the hard part out.
        temperature: T.
        hard_weight: weight of the hard part.

    Returns:
        (sum over frames in nats, number of frames).

    Raises:
        ValueError: if frames or labels of logits, targets and labels do not agree.
    """
    weight = hard_weight if pdf_ids is not None else 0.0
    return _loss(logits, targets, pdf_ids, temperature, temperature**2, weight)


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


class _Chunk(NamedTuple):
    """The targets of a few rows of V labels."""

    rows: slice
    pdf_ids: Tensor | None
    dense: Tensor | None
    entries: Tensor | None  # places of the kept labels in the chunk's flattened (rows, V)
    row_of: Tensor | None  # the row of each entry
    probs: Tensor | None
    left: Tensor | None


class _ChunkedLoss(torch.autograd.Function):
    """Loss of all rows; saves the logits and three numbers a row."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, terms: _Terms) -> Tensor:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=logits.device)
        shape = (len(logits), 1)
        # log Σ exp over all labels at T, over those not kept at T, over all at T = 1
        lse, rest, hard_lse = (torch.empty(shape, dtype=dtype, device=logits.device) for _ in "123")
        for chunk in _chunks(logits, terms, dtype):
            part = chunk.rows
            if terms.targets is not None:
                z = logits[part].to(dtype, copy=True).div_(terms.temperature)
                soft, lse[part], rest[part] = _soft_forward(z, chunk)
                total += terms.soft_weight * soft
            if chunk.pdf_ids is not None and terms.hard_weight:
                if terms.is_tempered:
                    hard_lse[part] = logits[part].to(dtype).logsumexp(1, keepdim=True)
                else:
                    hard_lse[part] = lse[part]
                picked = logits[part].gather(1, chunk.pdf_ids[:, None])
                total += terms.hard_weight * (hard_lse[part] - picked).sum()
        ctx.save_for_backward(logits, lse, rest, hard_lse)
        ctx.terms = terms
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, None]:
        logits, lse, rest, hard_lse = ctx.saved_tensors
        terms: _Terms = ctx.terms
        gradient = torch.empty_like(logits)
        for chunk in _chunks(logits, terms, lse.dtype):
            part = chunk.rows
            slope = terms.soft_weight / terms.temperature
            weight = terms.hard_weight if chunk.pdf_ids is not None else 0.0
            z = logits[part].to(lse.dtype, copy=True)
            if terms.targets is not None:
                z.div_(terms.temperature)
                merged = 0.0 if terms.is_tempered else weight
                _soft_backward(z, chunk, lse[part], rest[part], slope, merged)
                if weight and terms.is_tempered:
                    hard = (logits[part] - hard_lse[part]).exp_()
                    z.add_(hard, alpha=weight)
            else:
                z.sub_(hard_lse[part]).exp_().mul_(weight)
            if weight and chunk.pdf_ids is not None:
                minus = z.new_full((1, 1), -weight).expand(len(z), 1)
                z.scatter_add_(1, chunk.pdf_ids[:, None], minus)
            torch.mul(z, grad_total, out=z)
            gradient[part] = z
        return gradient, None


def _chunks(logits: Tensor, terms: _Terms, dtype: torch.dtype) -> Iterator[_Chunk]:
    count, num_labels = logits.shape
    rows = max(_ROWS, count // _CUDA_CHUNKS) if logits.is_cuda else _ROWS
    sparse = terms.targets if isinstance(terms.targets, SoftTargets) else None
    starts = list(range(0, count, rows))
    bounds = [] if sparse is None else sparse.indptr[[*starts, count]].tolist()
    for k, start in enumerate(starts):
        part = slice(start, min(start + rows, count))
        pdf_ids = None if terms.pdf_ids is None else terms.pdf_ids[part].long()
        dense = entries = row_of = probs = left = None
        if sparse is not None:
            kept = slice(bounds[k], bounds[k + 1])
            counts = sparse.indptr[part.start : part.stop + 1].diff()
            numbers = torch.arange(len(counts), device=logits.device)
            row_of = numbers.repeat_interleave(counts, output_size=kept.stop - kept.start)
            entries = row_of * num_labels + sparse.labels[kept]
            probs = sparse.probs[kept].to(dtype)
            left = sparse.left[part, None].to(dtype)
        elif isinstance(terms.targets, Tensor):
            dense = terms.targets[part].to(dtype)
        yield _Chunk(part, pdf_ids, dense, entries, row_of, probs, left)


def _soft_forward(z: Tensor, chunk: _Chunk) -> tuple[Tensor, Tensor, Tensor]:
    """Tempered logits (R,V), overwritten -> cross-entropy, lse (R,1), lse of labels not kept."""
    if chunk.dense is not None:
        lse = z.logsumexp(1, keepdim=True)
        soft = (chunk.dense.sum(1, keepdim=True) * lse).sum() - torch.vdot(
            chunk.dense.flatten(), z.flatten()
        )
        return soft, lse, lse
    assert chunk.entries is not None and chunk.row_of is not None
    assert chunk.probs is not None and chunk.left is not None
    flat = z.view(-1)
    kept = flat[chunk.entries]
    flat[chunk.entries] = -torch.inf
    top = z.amax(1, keepdim=True).clamp_min_(torch.finfo(z.dtype).min)  # -inf if all are kept
    rest = z.sub_(top).exp_().sum(1, keepdim=True).log_().add_(top)
    lse = torch.logaddexp(rest, _segment_lse(kept, chunk.row_of, len(z)))
    soft = -torch.dot(chunk.probs, kept - lse[chunk.row_of, 0])
    bucket = torch.where(chunk.left > 0, chunk.left * (rest - lse), 0.0)
    return soft - bucket.sum(), lse, rest


def _segment_lse(values: Tensor, row_of: Tensor, num_rows: int) -> Tensor:
    """(entries,) -> (R,1); -inf for a row without entries."""
    top = values.new_full((num_rows,), -torch.inf).scatter_reduce(0, row_of, values, "amax")
    scaled = (values - top[row_of]).exp()
    return (top + values.new_zeros(num_rows).index_add(0, row_of, scaled).log())[:, None]


def _soft_backward(
    z: Tensor, chunk: _Chunk, lse: Tensor, rest: Tensor, slope: float, hard: float
) -> None:
    """Turns tempered logits (R,V) into `slope·(mass·p − q) + hard·p`, in place.

    Among the labels not kept the bucket's gradient is shared as their probabilities are.
    """
    if chunk.dense is not None:
        mass = slope * chunk.dense.sum(1, keepdim=True) + hard
        z.sub_(lse).exp_().mul_(mass).sub_(chunk.dense, alpha=slope)
        return
    assert chunk.entries is not None and chunk.row_of is not None
    assert chunk.probs is not None and chunk.left is not None
    flat = z.view(-1)
    kept = (flat[chunk.entries] - lse[chunk.row_of, 0]).exp_()
    mass = chunk.left.clone()
    mass[:, 0].index_add_(0, chunk.row_of, chunk.probs)
    mass.mul_(slope).add_(hard)
    flat[chunk.entries] = -torch.inf
    z.sub_(rest.clamp_min(torch.finfo(z.dtype).min)).exp_()
    z.mul_((rest - lse).exp_().mul_(mass).sub_(chunk.left, alpha=slope))
    flat[chunk.entries] = kept * mass[chunk.row_of, 0] - slope * chunk.probs
