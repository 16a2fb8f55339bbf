"""Graphs as matrices, against a walk over all of their paths."""

from pathlib import Path

import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.io.kaldi.fst import Fst, write_fst
from asr_kd.labels.label_set import LabelSet
from asr_kd.search import denominator
from asr_kd.search.arrays import Pieces
from asr_kd.search.denominator import Denominator

LABELS = LabelSet("hmm-states", ("a", "b", "c"))
INF = float("inf")


def graph(arcs: list[tuple[int, int, int, float]], finals: list[float], start: int = 0) -> Fst:
    """Arcs (from, to, label + 1 or 0, cost)."""
    pieces = Pieces()
    for source, target, label, cost in arcs:
        pieces.add(source, label, 0, cost, target)
    return pieces.arrays(start, np.array(finals, np.float32))


# Two ways of epsilons from 0 to 3 (which must add up), one after the last label, a loop on both
# sides of an epsilon, two labels into state 4, a final state that only epsilons lead to, and a
# dead end.
ARCS = [
    (0, 1, 0, 0.5), (0, 2, 0, 0.25), (1, 3, 0, 0.5), (2, 3, 0, 1.0), (0, 4, 1, 0.125),
    (3, 4, 2, 0.75), (3, 5, 1, 0.5), (4, 4, 2, 0.25), (4, 0, 0, 1.5), (5, 5, 1, 0.125),
    (5, 6, 0, 0.25), (5, 4, 3, 0.5), (4, 7, 3, 0.25),
]  # fmt: skip
FINALS = [INF, INF, INF, INF, 1.0, INF, 0.5, INF]


def walk(fst: Fst, length: int) -> dict[tuple[int, ...], float]:
    """Label sequences of a length with the summed weight of their paths, one path after another."""
    firsts = np.cumsum(fst.num_arcs) - fst.num_arcs
    found: dict[tuple[int, ...], float] = {}

    def go(state: int, labels: tuple[int, ...], cost: float) -> None:
        if len(labels) == length and np.isfinite(fst.finals[state]):
            weight = np.exp(-cost - float(fst.finals[state]))
            found[labels] = found.get(labels, 0.0) + weight
        for arc in fst.arcs[firsts[state] : firsts[state] + fst.num_arcs[state]]:
            read = (int(arc["ilabel"]) - 1,) if arc["ilabel"] else ()
            if len(labels) + len(read) <= length:
                go(int(arc["next"]), labels + read, cost + float(arc["weight"]))

    go(fst.start, (), 0.0)
    return found


def weight_of(paths: Denominator, labels: tuple[int, ...]) -> float:
    here = paths.starts * (paths.labels == labels[0])
    for label in labels[1:]:
        here = ((here @ paths.leaving) @ paths.entering) * (paths.labels == label)
    return float(here @ paths.finals)


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_every_sequence_of_labels_has_the_weight_of_all_its_paths(length: int) -> None:
    fst = graph(ARCS, FINALS)
    paths = Denominator.of(fst, 3)
    expected = walk(fst, length)
    assert len(expected) >= 3 * length - 1
    for labels in np.ndindex(*(3,) * length):
        assert weight_of(paths, labels) == pytest.approx(expected.get(labels, 0.0), rel=1e-12)


def test_lengths_that_paths_can_have() -> None:
    # Two frames to the first end, two more back to the start, which is final too. No frames are no
    # path all the same.
    arcs = [(0, 1, 1, 0.0), (1, 2, 2, 0.0), (2, 3, 0, 0.0), (3, 4, 1, 0.0), (4, 0, 1, 0.0)]
    fst = graph(arcs, [0.0, INF, 0.0, INF, INF])
    paths = Denominator.of(fst, 2)
    assert np.flatnonzero(paths.lengths(9)).tolist() == [2, 4, 6, 8]
    assert np.flatnonzero(paths.lengths(0)).tolist() == []


def test_what_cannot_be_summed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^g: epsilon arcs go round in a circle"):
        Denominator.of(graph([*ARCS, (3, 0, 0, 0.5)], FINALS), 3, "g")
    with pytest.raises(InputError, match="go round"):
        Denominator.of(graph([*ARCS, (3, 3, 0, 0.5)], FINALS), 3)
    with pytest.raises(InputError, match="g: label 2, the network has 2"):
        Denominator.of(graph(ARCS, FINALS), 2, "g")
    write_fst(tmp_path / "HCLG.fst", graph(ARCS, FINALS))
    LABELS.save(tmp_path / "labels.json")
    assert len(Denominator.read(tmp_path, LABELS, "ali").labels) == 5
    with pytest.raises(InputError, match="ali has 2 hmm-states"):
        Denominator.read(tmp_path, LabelSet("hmm-states", ("a", "b")), "ali")
    monkeypatch.setattr(denominator, "MAX_ARCS", 12)
    with pytest.raises(InputError, match=r"13 arcs; .* at most 12 .*smaller language model"):
        Denominator.read(tmp_path, LABELS, "ali")
