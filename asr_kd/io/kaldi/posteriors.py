"""Kaldi's posteriors: for each frame some (index, weight) pairs, in archives such as post.1.ark."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.stream import KaldiReader

_PAIR = np.dtype([("width", "u1"), ("index", "<i4"), ("size", "u1"), ("weight", "<f4")])
_FRAME = re.compile(rb"\s*\[([^\[\]]*)\]\s*")


class Posterior(NamedTuple):
    """The pairs of all frames, those of a frame side by side.

    Attributes:
        counts: (T,) int64 pairs of each frame.
        indices: (N,) int32: pdf-ids, transition-ids or whatever the archive is over.
        weights: (N,) float32.
    """

    counts: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]


def read_posterior(reader: KaldiReader) -> Posterior:
    """One object of an archive of posteriors.

    Raises:
        InputError: with file and byte, where it is damaged or something else.
    """
    frames = _read_binary(reader) if reader.binary else _read_text(reader)
    counts = np.array([len(frame) for frame in frames], np.int64)
    pairs = np.concatenate(frames) if frames else np.zeros(0, _PAIR)
    return Posterior(counts, pairs["index"].astype(np.int32), pairs["weight"].astype(np.float32))


def _read_binary(reader: KaldiReader) -> list[NDArray[np.void]]:
    frames = []
    for _ in range(reader.count(5)):
        size = reader.count(_PAIR.itemsize) * _PAIR.itemsize
        pairs = np.frombuffer(reader.data[reader.position : reader.position + size], _PAIR)
        if not ((pairs["width"] == 4).all() and (pairs["size"] == 4).all()):
            reader.fail("expected pairs of a 32-bit integer and a 32-bit float")
        reader.position += size
        frames.append(pairs)
    return frames


def _read_text(reader: KaldiReader) -> list[NDArray[np.void]]:
    line, frames, position = reader.line(), [], 0
    while position < len(line.rstrip()):
        match = _FRAME.match(line, position)
        if match is None:
            reader.fail(f"expected [ index weight ... ], found {line[position:][:20]!r}")
        position = match.end()
        words = match[1].split()
        try:
            pairs = [
                (4, np.int32(int(index)), 4, np.float32(float(weight)))
                for index, weight in zip(words[::2], words[1::2], strict=True)
            ]
        except (ValueError, OverflowError):
            reader.fail(f"expected pairs of an integer and a number, found {match[1][:20]!r}")
        frames.append(np.array(pairs, _PAIR))
    return frames
