"""Conformer (Gulati et al. 2020), safe from padding, and in chunks where it has to stream."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.config import ConformerConfig
from asr_kd.models.stages import Stage

_LONGEST_WAVE = 10_000.0  # of the slowest turning pair of features, in units of 2π frames


class Sight(NamedTuple):
    """What all attention layers of a pass share.

    Attributes:
        seen: whether a frame (row) attends to another (column): (B,1,T,T) bool.
        turn: cosine and sine of the angle by which each pair of features is turned: 2 × (T,D/2).
    """

    seen: Tensor
    turn: tuple[Tensor, Tensor]


class FeedForward(nn.Module):
    """Half a step of two affine maps of each frame, after a norm; Swish between them."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.inner = nn.Linear(config.width, config.feed_forward * config.width)
        self.outer = nn.Linear(config.feed_forward * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B,T,D) -> (B,T,D)."""
        y = self.outer(self.dropout(functional.silu(self.inner(self.norm(x)))))
        step: Tensor = x + 0.5 * self.dropout(y)
        return step


class Attention(nn.Module):
    """Self-attention of several heads, after a norm.

    Where frames are relative to each other is told by turning queries and keys (RoPE, Su et al.
    2021), which knows no first frame: a part of an utterance gives what the whole one does.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.chunk, self.left_chunks = config.chunk, config.left_chunks
        self.norm = nn.LayerNorm(config.width)
        self.inputs = nn.Linear(config.width, 3 * config.width)
        self.affine = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def extra_repr(self) -> str:
        """What its weights do not tell."""
        left_chunks = self.left_chunks if self.chunk else None
        return f"num_heads={self.num_heads}, chunk={self.chunk}, left_chunks={left_chunks}"

    def forward(self, x: Tensor, sight: Sight) -> Tensor:
        """(B,T,D) -> (B,T,D)."""
        parts = self.inputs(self.norm(x)).unflatten(2, (3, self.num_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B,H,T,D/H)
        query, key = _turned(query, sight.turn), _turned(key, sight.turn)
        heard = functional.scaled_dot_product_attention(query, key, value, attn_mask=sight.seen)
        step: Tensor = x + self.dropout(self.affine(heard.transpose(1, 2).flatten(2)))
        return step

    def sight(self, mask: Tensor) -> Sight:
        """What the frames of a batch may attend to, from its mask (B,T,1) of 0 and 1."""
        at = torch.arange(mask.shape[1], device=mask.device)
        valid = mask[:, None, :, 0] > 0
        # A padded frame attends to itself: rows without any frame would make gradients NaN.
        seen = valid[:, None] | (at[:, None] == at)
        if self.chunk is not None:
            chunks = torch.div(at, self.chunk, rounding_mode="floor")
            back = chunks[:, None] - chunks
            seen = seen & (back >= 0) & (back <= self.left_chunks)
        pairs = self.affine.in_features // self.num_heads // 2
        # Angles grow with the utterance: in single precision late frames would be blurred. On the
        # CPU, since not every accelerator has double precision.
        waves = torch.arange(pairs, dtype=torch.float64) / pairs
        angles = torch.arange(mask.shape[1])[:, None] * _LONGEST_WAVE**-waves
        return Sight(seen, (angles.cos().to(mask), angles.sin().to(mask)))


class Convolution(nn.Module):
    """Gated, over the neighbouring frames of each feature, after a norm; looks back if causal.

    LayerNorm in place of the published BatchNorm, whose statistics would know the padding and the
    other rows.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        right = 0 if config.chunk is not None else config.kernel // 2
        self.sides = config.kernel - 1 - right, right
        self.norm = nn.LayerNorm(config.width)
        self.gated = nn.Linear(config.width, 2 * config.width)
        # Of images of height 1, as which (B,T,D) already lies in memory: faster than Conv1d.
        self.depthwise = nn.Conv2d(
            config.width, config.width, (1, config.kernel), groups=config.width
        )
        self.second_norm = nn.LayerNorm(config.width)
        self.affine = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def extra_repr(self) -> str:
        """What its weights do not tell."""
        return f"sides={self.sides}"

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B,T,D), mask (B,T,1) of 0 and 1 -> (B,T,D)."""
        y = functional.glu(self.gated(self.norm(x)), 2) * mask
        y = functional.pad(y, (0, 0, *self.sides))
        y = self.depthwise(y.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        y = self.affine(functional.silu(self.second_norm(y)))
        step: Tensor = x + self.dropout(y)
        return step


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention, convolution, the other half, and a norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.first = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.second = FeedForward(config)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor, sight: Sight) -> Tensor:
        """(B,T,D), mask (B,T,1) of 0 and 1 -> (B,T,D)."""
        x = self.convolution(self.attention(self.first(x), sight), mask)
        y: Tensor = self.norm(self.second(x))
        return y

    def stages(self, chunk: int) -> list[Stage]:
        """Its parts; only attention waits for a chunk, and none of the others sees a later frame.

        What is known is kept as the input of each part, and attention and convolution compute
        it again: more work, but no states beside the network.
        """
        left = self.attention.left_chunks * chunk
        return [
            Stage(self.first),
            Stage(lambda x: self.attention(x, self.attention.sight(_all(x))), left, chunk=chunk),
            Stage(lambda x: self.convolution(x, _all(x)), self.convolution.sides[0]),
            Stage(lambda x: self.norm(self.second(x))),
        ]


class Conformer(AcousticModel):
    """Affine map to the blocks' width, the blocks, the output layer."""

    config: ConformerConfig

    def __init__(self, config: ConformerConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.embed = nn.Linear(self.input_width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_layers))
        self.output = nn.Linear(config.width, num_labels)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        x = self.dropout(self.embed(x))
        sight: Sight | None = None
        for layer in self.layers:
            assert isinstance(layer, ConformerBlock)
            sight = sight or layer.attention.sight(mask)
            x = layer(x, mask, sight)
        logits: Tensor = self.output(x)
        return logits

    def hidden_stages(self) -> list[Stage]:
        """See `AcousticModel.hidden_stages`."""
        if self.config.chunk is None:
            raise InputError(
                "a conformer without model.chunk attends to the whole utterance: it cannot stream"
            )
        stages = [Stage(self.embed)]
        for layer in self.layers:
            assert isinstance(layer, ConformerBlock)
            stages += layer.stages(self.config.chunk)
        return stages


def _all(x: Tensor) -> Tensor:
    """(B,T,D) -> mask (B,T,1): all frames are valid."""
    return x.new_ones(x.shape[0], x.shape[1], 1)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """(B,H,T,D), its features (k, k + D/2) turned by their angles (T,D/2)."""
    cos, sin = turn
    one, other = x.chunk(2, -1)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], -1).to(x.dtype)
