"""FSTs of the library as arrays and back, through a file in the temporary folder.

The library shows single arcs only, at a microsecond each; a decoding graph has tens of millions.
"""

import tempfile
from pathlib import Path

import kaldifst
import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr_kd.io.kaldi.fst import ARC, Fst, put_fst, read_fst


def to_arrays(fst: "kaldifst.StdVectorFst") -> Fst:
    """The states and arcs of a non-empty FST of the library."""
    with tempfile.TemporaryDirectory(prefix="asr_kd-") as folder:
        path = Path(folder) / "fst"
        # Constant FSTs keep all arcs in one block.
        if not kaldifst.StdConstFst(fst).write(str(path)):
            raise OSError(f"{path}: cannot be written (is the disk full?)")
        return read_fst(path)


def from_arrays(fst: Fst) -> "kaldifst.StdVectorFst":
    """An FST of the library with these states and arcs."""
    with tempfile.TemporaryDirectory(prefix="asr_kd-") as folder:
        path = Path(folder) / "fst"
        with path.open("wb") as file:
            put_fst(file, fst)
        return kaldifst.StdVectorFst.read(str(path))


def num_arcs(fst: "kaldifst.StdVectorFst") -> int:
    """The number of all arcs."""
    return sum(map(fst.num_arcs, range(fst.num_states)))


def arc_array(
    ilabels: ArrayLike, olabels: ArrayLike, weights: ArrayLike, targets: ArrayLike
) -> NDArray[np.void]:
    """ARC records from numbers or arrays, broadcast against each other and made flat."""
    columns = np.broadcast_arrays(ilabels, olabels, weights, targets)
    arcs = np.empty(columns[0].size, ARC)
    for name, column in zip(("ilabel", "olabel", "weight", "next"), columns, strict=True):
        arcs[name] = column.ravel()
    return arcs


def collect(
    start: int,
    finals: NDArray[np.float32],
    sources: NDArray[np.integer],
    arcs: NDArray[np.void],
) -> Fst:
    """Puts arcs in any order beside those of the same source.

    Args:
        start: first state.
        finals: (S,) cost of ending in a state, inf where it does not.
        sources: (A,) state that each arc leaves.
        arcs: (A,) ARC records.
    """
    order = np.argsort(sources, kind="stable")
    return Fst(start, finals, np.bincount(sources, minlength=len(finals)), arcs[order])


class Pieces:
    """Arcs of an FST in the making, many at a time and in any order."""

    def __init__(self) -> None:
        self._sources: list[NDArray[np.int32]] = []
        self._arcs: list[NDArray[np.void]] = []

    def add(
        self,
        sources: ArrayLike,
        ilabels: ArrayLike,
        olabels: ArrayLike,
        weights: ArrayLike,
        targets: ArrayLike,
    ) -> None:
        """Adds arcs from numbers or arrays that are broadcast against one another."""
        columns = np.broadcast_arrays(sources, ilabels, olabels, weights, targets)
        self.add_arcs(columns[0].ravel().astype(np.int32), arc_array(*columns[1:]))

    def add_arcs(self, sources: NDArray[np.int32], arcs: NDArray[np.void]) -> None:
        """Adds ARC records with the states that they leave."""
        self._sources.append(sources)
        self._arcs.append(arcs)

    def arrays(self, start: int, finals: NDArray[np.float32]) -> Fst:
        """What was added, which it then gives up. Arguments: see `collect`."""
        sources, arcs = np.concatenate(self._sources), np.concatenate(self._arcs)
        self._sources, self._arcs = [], []
        return collect(start, finals, sources, arcs)

    def build(self, start: int, finals: NDArray[np.float32]) -> "kaldifst.StdVectorFst":
        """The same as an FST of the library."""
        return from_arrays(self.arrays(start, finals))
