"""OpenFst's files as Kaldi's graphs come in them: vector and const, arcs with one weight.

Their arcs become arrays, so that a whole graph is checked and relabelled at once; the library that
searches graphs reads a damaged file without looking at its numbers.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.atomic import replacing

ARC = np.dtype([("ilabel", "<i4"), ("olabel", "<i4"), ("weight", "<f4"), ("next", "<i4")])
_CONST_STATE = np.dtype(
    [("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("ieps", "<u4"), ("oeps", "<u4")]
)
_MAGIC = 2125659606
_SYMBOLS, _ALIGNED = 0b011, 0b100
_VECTOR_VERSION, _OLD_ALIGNED_CONST = 2, 1
_EXPANDED_MUTABLE = 0b11  # all other properties are left for OpenFst to find out


@dataclass(frozen=True)
class Fst:
    """A weighted transducer; weights are costs (tropical).

    Attributes:
        start: its first state.
        finals: (S,) float32 cost of ending in each state, inf where it does not.
        num_arcs: (S,) int64 arcs of each state.
        arcs: (A,) ARC records, those of a state side by side.
    """

    start: int
    finals: NDArray[np.float32]
    num_arcs: NDArray[np.int64]
    arcs: NDArray[np.void]


def read_fst(path: Path) -> Fst:
    """Reads a graph.

    Raises:
        InputError: naming the file, for another format, a damaged or a cut-off file.
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such file") from None
    try:
        fst = _parse(data)
    except (ValueError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise InputError(f"{path}: not a graph as OpenFst writes it: {error}") from None
    states = len(fst.finals)
    if not 0 <= fst.start < states:
        raise InputError(f"{path}: an empty graph, or one that begins in no state")
    arcs = fst.arcs
    if len(arcs) and not (arcs["next"].min() >= 0 and arcs["next"].max() < states):
        raise InputError(f"{path}: damaged: an arc leads to none of the {states} states")
    if len(arcs) and min(arcs["ilabel"].min(), arcs["olabel"].min()) < 0:
        raise InputError(f"{path}: damaged: a negative label")
    if np.isnan(arcs["weight"]).any() or np.isnan(fst.finals).any():
        raise InputError(f"{path}: damaged: a weight that is no number")
    return fst


def _parse(data: bytes) -> Fst:
    if struct.unpack_from("<i", data)[0] != _MAGIC:
        raise ValueError("it does not begin with OpenFst's mark")
    kind, position = _string(data, 4)
    arc_type, position = _string(data, position)
    if arc_type != "standard":
        raise ValueError(f"arcs of type {arc_type}, expected standard")
    version, flags, _, start, states, arcs = struct.unpack_from("<iiQqqq", data, position)
    position += 40
    if flags & _SYMBOLS:
        raise ValueError("it holds symbol tables; take them out by fstsymbols --clear_isymbols "
                         "--clear_osymbols")  # fmt: skip
    if not 0 <= states <= len(data):
        raise ValueError(f"{states} states in {len(data)} bytes")
    if kind == "vector":
        return _vector(data, position, start, states)
    if kind == "const":
        aligned = bool(flags & _ALIGNED) or version == _OLD_ALIGNED_CONST
        return _const(data, position, start, states, arcs, aligned)
    raise ValueError(f"type {kind}, expected vector or const; see fstconvert")


def _vector(data: bytes, position: int, start: int, states: int) -> Fst:
    finals, counts, pieces = np.empty(states, np.float32), np.empty(states, np.int64), []
    for state in range(states):
        finals[state], count = struct.unpack_from("<fq", data, position)
        position += 12
        if not 0 <= count <= (len(data) - position) // ARC.itemsize:
            raise ValueError(f"{count} arcs of state {state}, {len(data) - position} bytes left")
        counts[state] = count
        pieces.append(data[position : position + count * ARC.itemsize])
        position += count * ARC.itemsize
    return Fst(start, finals, counts, np.frombuffer(b"".join(pieces), ARC))


def _const(data: bytes, position: int, start: int, states: int, arcs: int, aligned: bool) -> Fst:
    if aligned:
        position += -position % 16
    table = _array(data, position, states, _CONST_STATE)
    position += table.nbytes
    if aligned:
        position += -position % 16
    counts = table["arcs"].astype(np.int64)
    found = _array(data, position, arcs, ARC)
    if not np.array_equal(np.cumsum(counts) - counts, table["first"]) or counts.sum() != arcs:
        raise ValueError("the states' arcs do not follow one another")
    return Fst(start, table["final"].astype(np.float32), counts, found)


def _array(data: bytes, position: int, count: int, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    if not 0 <= count * dtype.itemsize <= len(data) - position:
        raise ValueError(f"{count} records of {dtype.itemsize} bytes, {len(data) - position} left")
    return np.frombuffer(data, dtype, count, position)


def _string(data: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<i", data, position)
    if not 0 <= length <= 64:
        raise ValueError(f"a name of {length} letters")
    position += 4
    return data[position : position + length].decode("ascii"), position + length


def write_fst(path: Path, fst: Fst) -> None:
    """Writes a vector FST, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        put_fst(file, fst)


def put_fst(file: BinaryIO, fst: Fst) -> None:
    """Writes a vector FST to an open file."""
    header = struct.pack("<ii6si8s", _MAGIC, 6, b"vector", 8, b"standard")
    header += struct.pack("<iiQqqq", _VECTOR_VERSION, 0, _EXPANDED_MUTABLE, fst.start,
                          len(fst.finals), len(fst.arcs))  # fmt: skip
    # Everything is made of units of 4 bytes: 3 for a state, 4 for an arc.
    states, counts = len(fst.finals), fst.num_arcs
    heads = 4 * (np.cumsum(counts) - counts) + 3 * np.arange(states)
    body = np.empty(3 * states + 4 * len(fst.arcs), "<u4")
    is_head = np.zeros(len(body), np.bool_)
    is_head[(heads[:, None] + np.arange(3)).ravel()] = True
    body[heads] = fst.finals.astype("<f4").view("<u4")
    body[heads + 1] = counts & 0xFFFFFFFF
    body[heads + 2] = counts >> 32
    body[~is_head] = np.ascontiguousarray(fst.arcs).view("<u4")
    file.write(header)
    file.write(body.data)
