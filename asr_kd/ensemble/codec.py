"""How distributions become bytes: the larger probabilities of each frame in 8 bits, or all in 16.

The 8-bit code (`SparseCodec`): a frame keeps its K most probable labels, largest first. Entry
k > 0 is stored as ln(p_0 / p_k) in steps of 1/16 nat. The first entry needs no such code, its ratio
is 1, so its byte holds the mass of all labels not kept, as ln(left / p_0) in steps of 1/8 nat.
Reading scales what the codes say to add up to 1. A frame takes 1 byte for K and K times the width
of a label plus 1; rounding costs about 2e-4 nat, truncation far more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.errors import InputError

Arrays = dict[str, NDArray[Any]]

_STEPS = 16.0  # codes per nat of an entry
_LEFT_STEPS = 8.0  # codes per nat of what is left
_LEFT_LOW = -14.0  # ln(left / p_0) at code 0; the highest code but one stands for 17.6
_NOTHING_LEFT = 255
_RATIOS = np.exp(-np.arange(256) / _STEPS).astype(np.float32)
_LEFT_RATIOS = np.exp(np.arange(256) / _LEFT_STEPS + _LEFT_LOW).astype(np.float32)
_LEFT_RATIOS[_NOTHING_LEFT] = 0.0
_BLOCK = 1 << 16  # entries decoded at a time: they stay in the cache


@dataclass(frozen=True)
class Keep:
    """What is kept of each frame.

    Attributes:
        mass: the most probable labels, until they hold this much; None keeps all labels.
        cap: but never more labels than these.
    """

    mass: float | None = 0.99
    cap: int = 64

    @classmethod
    def parse(cls, text: str) -> "Keep":
        """Reads `all`, or `mass=0.99,cap=64`, either part with its default.

        Raises:
            InputError: for anything else.
        """
        if text == "all":
            return cls(mass=None)
        try:
            parts = dict(part.split("=") for part in text.split(","))
            keep = cls(float(parts.pop("mass", "0.99")), int(parts.pop("cap", "64")))
        except ValueError:
            parts = {text: ""}
        if parts or keep.mass is None or not 0 < keep.mass <= 1 or not 0 < keep.cap < 1 << 16:
            raise InputError(
                f"keep {text!r}: expected `all` or `mass=0.99,cap=64` with a mass in (0, 1] and a "
                f"cap from 1 to 65535"
            )
        return keep

    def __str__(self) -> str:
        return "all" if self.mass is None else f"mass={self.mass:g},cap={self.cap}"


class Field(NamedTuple):
    """One array of the encoded form."""

    name: str
    dtype: np.dtype[Any]
    per_frame: bool  # else per entry


class Codec(Protocol):
    """Distributions of N frames over V labels, to arrays and back.

    Attributes:
        fields: the arrays of the encoded form, in the order in which they are stored.
    """

    fields: tuple[Field, ...]

    def encode(self, log_probs: Tensor) -> Arrays:
        """(N,V) normalised log-probabilities -> the arrays named in `fields`."""
        ...

    def decode(self, arrays: Mapping[str, NDArray[Any]]) -> SoftTargets:
        """What `encode` made, of one utterance or of several one after the other."""
        ...


class SparseCodec:
    """Keeps a part of each frame.

    Args:
        keep: the part; its mass is a number.
        num_labels: V.
    """

    def __init__(self, keep: Keep, num_labels: int) -> None:
        assert keep.mass is not None
        self.mass = keep.mass
        self.cap = min(keep.cap, num_labels)
        self.num_labels = num_labels
        self.fields: tuple[Field, ...] = (
            Field("counts", np.min_scalar_type(self.cap), per_frame=True),
            Field("labels", np.min_scalar_type(num_labels), per_frame=False),
            Field("codes", np.dtype(np.uint8), per_frame=False),
        )

    def encode(self, log_probs: Tensor) -> Arrays:
        """See `Codec`; the selection runs where the tensor is."""
        top, labels = log_probs.topk(self.cap, dim=1)
        probs = top.exp()
        covered = probs.cumsum(1)
        kept = covered - probs < self.mass
        kept[:, 0] = True  # rounding may put a sole label's probability above 1
        counts = kept.sum(1)
        ratios = top[:, :1] - top
        codes = (ratios * _STEPS).round_().clamp_(0, 255)
        left = (1 - covered.gather(1, counts[:, None] - 1)).clamp_min(torch.finfo(top.dtype).tiny)
        left_codes = ((left.log() - top[:, :1] - _LEFT_LOW) * _LEFT_STEPS).round_()
        left_codes = left_codes.clamp_(0, _NOTHING_LEFT - 1)
        codes[:, :1] = left_codes.masked_fill(counts[:, None] == self.num_labels, _NOTHING_LEFT)
        values = {"counts": counts, "labels": labels[kept], "codes": codes[kept]}
        return {f.name: values[f.name].cpu().numpy().astype(f.dtype) for f in self.fields}

    def decode(self, arrays: Mapping[str, NDArray[Any]]) -> SoftTargets:
        """See `Codec`."""
        counts, codes = arrays["counts"], arrays["codes"]
        indptr, labels, probs, left = _empty(len(counts), len(codes))
        indptr[0] = 0
        np.cumsum(counts, out=indptr[1:])
        labels[:] = arrays["labels"]
        frames = max(1, _BLOCK * len(counts) // max(1, len(codes)))
        for begin in range(0, len(counts), frames):
            block = slice(begin, min(begin + frames, len(counts)))
            entries = slice(indptr[block.start], indptr[block.stop])
            first = indptr[block] - entries.start
            part = probs[entries]
            np.take(_RATIOS, codes[entries], out=part, mode="clip")
            part[first] = 1.0
            rest = _LEFT_RATIOS[codes[entries][first]]
            scale = 1.0 / (np.add.reduceat(part, first) + rest)
            part *= np.repeat(scale, counts[block])
            np.multiply(rest, scale, out=left[block])
        return SoftTargets(*(torch.from_numpy(x) for x in (indptr, labels, probs, left)))


def _empty(num_frames: int, num_entries: int) -> tuple[NDArray[Any], ...]:
    """Room for indptr, labels, probs and left.

    One allocation: of several large ones the C library returns a part to the system at each
    batch's end, and getting it back costs more time than all of the decoding.
    """
    memory = np.empty(2 * num_frames + 2 + 3 * num_entries + num_frames, dtype=np.float32)
    indptr, rest = memory[: 2 * num_frames + 2], memory[2 * num_frames + 2 :]
    labels, rest = rest[: 2 * num_entries], rest[2 * num_entries :]
    return indptr.view(np.int64), labels.view(np.int64), rest[:num_entries], rest[num_entries:]


class DenseCodec:
    """Keeps all labels, as 16-bit floating-point log-probabilities in the labels' order."""

    def __init__(self, num_labels: int) -> None:
        self.num_labels = num_labels
        self.fields: tuple[Field, ...] = (
            Field("log_probs", np.dtype(np.float16), per_frame=False),
        )

    def encode(self, log_probs: Tensor) -> Arrays:
        """See `Codec`."""
        # The lowest finite value, not -inf: what was rounded to nothing stays a number.
        low = torch.finfo(torch.float16).min
        return {"log_probs": log_probs.clamp_min(low).half().flatten().cpu().numpy()}

    def decode(self, arrays: Mapping[str, NDArray[Any]]) -> SoftTargets:
        """See `Codec`."""
        log_probs = torch.from_numpy(np.array(arrays["log_probs"]))
        rows = log_probs.float().view(-1, self.num_labels)
        return SoftTargets.from_dense(rows.softmax(1))  # also makes up for the rounding


def make_codec(keep: Keep, num_labels: int) -> Codec:
    """The codec that a rule asks for."""
    return DenseCodec(num_labels) if keep.mass is None else SparseCodec(keep, num_labels)
