"""Maximum mutual information: the alignment against all paths of a decoding graph.

Lattice-free, after Povey et al. 2016 (Purely sequence-trained neural networks for ASR based on
lattice-free MMI), for networks of frame labels at any rate: the denominator is the whole decoding
graph. The loss of an utterance is `log Σ_all − log Σ_aligned`, sums over paths of

    exp(Σ_t s_t(label of the path at t)) · weight of the path in the graph,

s = acoustic_scale·(log-posterior − prior_scale·log-prior). The numerator's paths are those that
have at each frame a label that the alignment has there or up to `tolerance` frames away. With a
tolerance of 0 it is the alignment's path alone, whose weight in the graph is a constant, as if the
sum of its scores stood there. With more, a boundary may move: on AN4 the greater part of the loss
is about boundaries, which no word error depends on. And an alignment that lost a state, by a change
of speed, still finds a path. (Without one the loss would have no lower bound.) A tolerance of half
a word's frames, however, lets the numerator leave the word out.

The softmax is left out: every path has T frames, its normaliser cancels out, logits do as well as
log-posteriors. The gradient in s is the occupation of labels by all paths less that by the
numerator's.

B utterances, T frames, V labels, N nodes of the graph.
"""

import warnings
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr_kd.search.denominator import Denominator


class Paths:
    """Sums over all paths of a graph, by forward-backward on a device.

    Probabilities in float64, normalised at each frame: a state that is e^-700 times less likely
    than the others at its frame is lost, and no other. The rows of a batch are the columns of the
    matrices, the longest ones first, so that no time is lost on padding.

    Args:
        graph: the paths.
        device: where scores will be.
    """

    def __init__(self, graph: Denominator, device: torch.device) -> None:
        self.graph, self._device = graph, device
        self._labels = torch.from_numpy(graph.labels).to(device)
        self._starts = torch.from_numpy(graph.starts).to(device)[:, None]
        self._finals = torch.from_numpy(graph.finals).to(device)[:, None]
        self._leaving, self._entering = self._matrix(graph.leaving), self._matrix(graph.entering)
        # As stored rows each product is a sum of few rows; transposed ones would be scattered.
        self._left = self._matrix(csr_array(graph.leaving.T))
        self._entered = self._matrix(csr_array(graph.entering.T))

    def __call__(
        self, scores: Tensor, lengths: Tensor, with_occupation: bool
    ) -> tuple[Tensor, Tensor]:
        """Forward, and backward where occupations are wanted.

        Args:
            scores: (B,T,V) scaled log-scores; −∞ forbids a label, not all of them at a frame.
            lengths: valid frames (B,), at least 1.
            with_occupation: whether they are.

        Returns:
            (B,) float64 logsumexp over paths, −∞ where there is none; (B,T,V) float64 probability
            of each label at each frame, 0 on padding and where there is no path.
        """
        lengths, order = lengths.to(self._device).sort(descending=True, stable=True)
        scores = scores[order].double()
        top = scores.amax(2)
        likelihoods = (scores - top[:, :, None]).exp().permute(1, 2, 0).contiguous()  # (T,V,B)
        num_frames = int(lengths[0])
        frames = torch.arange(num_frames, device=self._device)
        active = [*(lengths > frames[:, None]).sum(1).tolist(), 0]
        forward, sums = self._forward(likelihoods, active)
        ends = torch.cat(
            [(self._finals * forward[t][:, active[t + 1] :]).sum(0) for t in _ending(active)]
        )
        padding = frames >= lengths[:, None]
        scale = (sums.log().T + top[:, :num_frames]).masked_fill(padding, 0.0)
        totals = ends.log() + scale.sum(1)
        back = order.argsort()
        occupation = scores.new_zeros(0)
        if with_occupation:
            occupation = scores.new_zeros(top.shape[1], scores.shape[2], len(scores))
            ends.masked_fill_(ends == 0, torch.inf)
            self._backward(likelihoods, active, forward, sums, ends, occupation)
            occupation = occupation.permute(2, 0, 1)[back]
        return totals[back], occupation

    def _forward(self, likelihoods: Tensor, active: list[int]) -> tuple[list[Tensor], Tensor]:
        """Normalised forward probabilities (N,B') of each frame, and what they summed to (T,B)."""
        forward: list[Tensor] = []
        sums = likelihoods.new_ones(len(active) - 1, likelihoods.shape[2])
        for t, rows in enumerate(active[:-1]):
            here = (
                self._entered @ (self._left @ forward[-1][:, :rows])
                if t
                else self._starts.expand(-1, rows)
            ) * likelihoods[t, :, :rows].index_select(0, self._labels)
            sums[t, :rows] = here.sum(0).clamp_min_(torch.finfo(here.dtype).tiny)
            forward.append(here.div_(sums[t, :rows]))
        return forward, sums

    def _backward(
        self,
        likelihoods: Tensor,
        active: list[int],
        forward: list[Tensor],
        sums: Tensor,
        ends: Tensor,
        occupation: Tensor,
    ) -> None:
        """Fills in the occupations (T,V,B)."""
        later = likelihoods.new_zeros(len(self._labels), 0)
        for t in range(len(active) - 2, -1, -1):
            rows, kept = active[t], active[t + 1]
            if rows > kept:  # some utterances end here
                later = torch.cat([later, self._finals / ends[kept:rows]], 1)
            occupation[t, :, :rows].index_add_(0, self._labels, forward[t] * later)
            if t:
                later = later * likelihoods[t, :, :rows].index_select(0, self._labels)
                later = self._leaving @ (self._entering @ later.div_(sums[t, :rows]))

    def _matrix(self, values: "csr_array[np.float64]") -> Tensor:
        values = values.sorted_indices()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse")  # in beta, and not checked at each product
            return torch.sparse_csr_tensor(
                torch.from_numpy(values.indptr.astype(np.int32)),
                torch.from_numpy(values.indices.astype(np.int32)),
                torch.from_numpy(values.data),
                values.shape,
                device=self._device,
                check_invariants=True,
            )


def mmi_loss(
    logits: Tensor,
    lengths: Tensor,
    pdf_ids: Tensor,
    paths: Paths,
    log_prior: Tensor,
    acoustic_scale: float,
    prior_scale: float = 1.0,
    tolerance: int = 0,
) -> tuple[Tensor, Tensor]:
    """The loss above, of a batch; an utterance whose alignment finds no path adds nothing.

    Args:
        logits: (B,T,V).
        lengths: valid frames (B,), at least 1.
        pdf_ids: labels of all valid frames (ΣT,), row by row.
        paths: of the decoding graph, on the logits' device.
        log_prior: natural-log label prior (V,).
        acoustic_scale: as in decoding.
        prior_scale: as in decoding.
        tolerance: frames by which the numerator may differ from the alignment.

    Returns:
        (sum over utterances in nats, at least 0, number of valid frames).

    Raises:
        ValueError: naming the first utterance that no path of the graph is as long as.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    scores = acoustic_scale * (logits.to(dtype) - prior_scale * log_prior.to(dtype))
    allowed = _allowed(pdf_ids, lengths, logits.shape, tolerance)
    both = torch.cat([scores, scores.masked_fill(~allowed, -torch.inf)])
    every, aligned = _LogSum.apply(both, lengths.repeat(2), paths).chunk(2)
    if (missing := every == -torch.inf).any():
        row = int(missing.nonzero()[0, 0])
        raise ValueError(f"utterance {row}: the graph has no path of {int(lengths[row])} frames")
    found = aligned != -torch.inf
    return (every - aligned)[found].sum(), lengths.sum()


def aligned_paths(
    pdf_ids: Tensor, lengths: Tensor, num_labels: int, paths: Paths, tolerance: int
) -> Tensor:
    """Whether the graph has a path for each alignment (B,); arguments as for `mmi_loss`."""
    shape = torch.Size((len(lengths), int(lengths.max()), num_labels))
    allowed = _allowed(pdf_ids, lengths, shape, tolerance)
    scores = torch.zeros(shape, device=pdf_ids.device).masked_fill(~allowed, -torch.inf)
    return paths(scores, lengths, with_occupation=False)[0] != -torch.inf


def _allowed(pdf_ids: Tensor, lengths: Tensor, shape: torch.Size, tolerance: int) -> Tensor:
    """Labels (B,T,V) bool that the numerator may have; none on padding."""
    allowed = torch.zeros(shape, dtype=torch.bool, device=pdf_ids.device)
    valid = torch.arange(shape[1], device=pdf_ids.device) < lengths[:, None]
    row, frame = valid.nonzero(as_tuple=True)
    for shift in range(-tolerance, tolerance + 1):
        near = (frame + shift).clamp_min(0).minimum(lengths[row] - 1)
        allowed[row, near, pdf_ids] = True
    return allowed


class _LogSum(torch.autograd.Function):
    """Logsumexp over all paths (B,) of scores (B,T,V)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, lengths: Tensor, paths: Paths) -> Tensor:
        totals, occupation = paths(scores, lengths, ctx.needs_input_grad[0])
        ctx.save_for_backward(occupation)
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (occupation,) = ctx.saved_tensors
        return occupation * grad[:, None, None], None, None


def _ending(active: list[int]) -> list[int]:
    """Frames behind which utterances end, the last first: their columns are those of the batch."""
    return [t for t in range(len(active) - 2, -1, -1) if active[t] > active[t + 1]]
