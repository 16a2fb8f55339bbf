"""Deltas, input normalisation and splicing as a part of the model.

They live inside the model, so that augmentation works on the static features and an on-line
teacher can have another front end than its student.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from asr_kd.models.config import FrontendConfig
from asr_kd.models.stages import Stage

_MIN_STD = 1e-4  # a constant dimension (digital silence, a dead filter) must not divide by zero


def length_mask(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,) lengths -> (B, T) bool, True on valid frames."""
    return torch.arange(num_frames, device=lengths.device)[None, :] < lengths[:, None]


def delta_filters(order: int, window: int) -> Tensor:
    """Regression filters of orders 0..order over ±order·window frames: (order+1, 2·order·window+1).

    As Kaldi's add-deltas: order n is the n-fold convolution of the slope
    `d_t = Σ_k k·x_{t+k} / Σ_k k²`, applied to the statics, so that the edges are clamped once.
    """
    slope = torch.arange(-window, window + 1, dtype=torch.float64)
    slope = slope / slope.square().sum()
    width = 2 * order * window + 1
    rows = []
    row = torch.ones(1, dtype=torch.float64)
    for _ in range(order + 1):
        pad = (width - len(row)) // 2
        rows.append(nn.functional.pad(row, (pad, pad)))
        # correlation with the reversed kernel composes two correlations
        row = nn.functional.conv1d(
            nn.functional.pad(row, (2 * window, 2 * window))[None, None], slope.flip(0)[None, None]
        )[0, 0]
    return torch.stack(rows).float()


class Frontend(nn.Module):
    """Static features (B,T,F) -> deltas, normalised by the training data, spliced: (B,T,D).

    Beyond its edges an utterance continues as its first or last *valid* frame, so padding never
    enters. `mean` and `std` are buffers (saved with the weights), set by `fit`.
    """

    mean: Tensor
    std: Tensor
    filters: Tensor

    def __init__(self, config: FrontendConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.input_dim = input_dim
        self.normalised_dim = input_dim * (config.delta_order + 1)
        self.output_dim = self.normalised_dim * (config.left + 1 + config.right)
        self.register_buffer("mean", torch.zeros(self.normalised_dim))
        self.register_buffer("std", torch.ones(self.normalised_dim))
        self.register_buffer(
            "filters", delta_filters(config.delta_order, config.delta_window), persistent=False
        )

    def add_deltas(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """(B,T,F) -> (B,T,F·(order+1)), laid out [statics, deltas, delta-deltas, ...]."""
        order = self.config.delta_order
        if order == 0:
            return feats
        context = order * self.config.delta_window
        windows = _neighbours(feats, lengths, context, context)
        return torch.einsum("btkf,ok->btof", windows, self.filters).flatten(2)

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """(B,T,F), (B,) -> (B,T,D); what stands on padded frames is finite but meaningless."""
        valid = length_mask(lengths, feats.shape[1])[:, :, None]
        feats = torch.where(valid, feats, 0.0)  # padding may hold anything, even NaN
        normed = (self.add_deltas(feats, lengths) - self.mean) / self.std
        if self.config.left or self.config.right:
            normed = _neighbours(normed, lengths, self.config.left, self.config.right).flatten(2)
        return normed

    def stage(self) -> Stage:
        """Its context, of deltas and splicing together."""
        config = self.config
        deltas = config.delta_order * config.delta_window

        def run(x: Tensor) -> Tensor:
            return self(x, torch.tensor([x.shape[1]], device=x.device))

        return Stage(run, deltas + config.left, deltas + config.right)

    @torch.no_grad()
    def fit(self, utterances: Iterable[Tensor]) -> None:
        """Sets mean and std (per dimension, in float64) from utterances of shape (T,F)."""
        count = 0
        total = torch.zeros(self.normalised_dim, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for feats in utterances:
            x = self.add_deltas(feats[None], torch.tensor([len(feats)]))[0].double()
            count += len(x)
            total += x.sum(0)
            squares += x.square().sum(0)
        if count == 0:
            raise ValueError("no frames to take the input statistics from")
        mean, square = total / count, squares / count
        if self.config.shared_scale:
            mean, square = (x.mean().expand_as(x) for x in (mean, square))
        std = (square - mean.square()).clamp_min(_MIN_STD**2).sqrt()
        self.mean.copy_(mean.float())
        self.std.copy_(std.float())


def _neighbours(x: Tensor, lengths: Tensor, left: int, right: int) -> Tensor:
    """(B,T,D) -> (B,T,left+1+right,D): each frame's context, clamped to the valid frames."""
    batch, num_frames, _ = x.shape
    at = torch.arange(num_frames, device=x.device)[:, None]
    at = at + torch.arange(-left, right + 1, device=x.device)
    at = torch.minimum(at.clamp_min(0)[None], (lengths - 1).clamp_min(0)[:, None, None])
    return x[torch.arange(batch, device=x.device)[:, None, None], at]
