import struct
from pathlib import Path

import kaldifst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.io.kaldi.fst import ARC, Fst, read_fst, write_fst

Arcs = list[list[tuple[int, int, float, int]]]
COST = st.floats(0, 20, width=32)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[float], Arcs]:
    states = draw(st.integers(1, 5))
    arc = st.tuples(st.integers(0, 9), st.integers(0, 9), COST, st.integers(0, states - 1))
    return (
        draw(st.integers(0, states - 1)),
        [draw(COST | st.just(float("inf"))) for _ in range(states)],
        [draw(st.lists(arc, max_size=4)) for _ in range(states)],
    )


def by_library(start: int, finals: list[float], arcs: Arcs) -> "kaldifst.StdVectorFst":
    fst = kaldifst.StdVectorFst()
    for _ in finals:
        fst.add_state()
    fst.start = start
    for state, final in enumerate(finals):
        if final < float("inf"):
            fst.set_final(state, final)
        for ilabel, olabel, cost, target in arcs[state]:
            fst.add_arc(state, kaldifst.StdArc(ilabel, olabel, cost, target))
    return fst


def content(fst: Fst) -> tuple[int, list[float], Arcs]:
    bounds = np.cumsum(fst.num_arcs)[:-1]
    arcs = [[tuple(arc.tolist()) for arc in part] for part in np.split(fst.arcs, bounds)]
    return fst.start, fst.finals.tolist(), arcs


@settings(max_examples=60)
@given(graph=graphs())
def test_graphs_of_the_library_are_read_and_ours_by_the_library(
    tmp_path_factory: pytest.TempPathFactory, graph: tuple[int, list[float], Arcs]
) -> None:
    folder = tmp_path_factory.mktemp("fst")
    assert by_library(*graph).write(str(folder / "theirs"))
    fst = read_fst(folder / "theirs")
    assert content(fst) == graph
    write_fst(folder / "ours", fst)
    assert content(read_fst(folder / "ours")) == graph
    back = kaldifst.StdVectorFst.read(str(folder / "ours"))
    assert back.start == graph[0]
    for state, final in enumerate(graph[1]):
        assert float(back.final(state).value) == final
        assert [
            (a.ilabel, a.olabel, float(a.weight.value), a.nextstate)
            for a in kaldifst.ArcIterator(back, state)
        ] == graph[2][state]


def const_fst(finals: list[float], arcs: Arcs, aligned: bool, first_shift: int = 0) -> bytes:
    """A const FST by hand, from OpenFst's description of its format."""
    data = struct.pack("<ii5si8s", 2125659606, 5, b"const", 8, b"standard")
    flat = [arc for part in arcs for arc in part]
    flags = 4 if aligned else 0
    data += struct.pack("<iiQqqq", 1 if aligned else 2, flags, 0, 0, len(finals), len(flat))
    data += bytes(-len(data) % 16) if aligned else b""
    first = first_shift
    for final, part in zip(finals, arcs, strict=True):
        data += struct.pack("<fIIII", final, first, len(part), 0, 0)
        first += len(part)
    data += bytes(-len(data) % 16) if aligned else b""
    return data + b"".join(struct.pack("<iifi", i, o, w, to) for i, o, w, to in flat)


ARCS: Arcs = [[(1, 2, 0.5, 1), (0, 3, 0.25, 2)], [], [(4, 0, 1.0, 0)]]
FINALS = [float("inf"), 0.0, 2.0]


@pytest.mark.parametrize("aligned", [False, True])
def test_const_graphs_are_read(tmp_path: Path, aligned: bool) -> None:
    (tmp_path / "c").write_bytes(const_fst(FINALS, ARCS, aligned))
    assert content(read_fst(tmp_path / "c")) == (0, FINALS, ARCS)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a graph"),
        (b"\0" * 80, "does not begin with OpenFst's mark"),
        (const_fst(FINALS, ARCS, False)[:-1], "3 records of 16 bytes, 47 left"),
        (const_fst(FINALS, ARCS, False, first_shift=7), "do not follow one another"),
        (const_fst(FINALS, [[(1, 1, 0.0, 9)], [], []], False), "an arc leads to none of the 3"),
        (const_fst(FINALS, [[(1, 1, 0.0, -1)], [], []], False), "an arc leads to none of the 3"),
        (const_fst(FINALS, [[(-1, 1, 0.0, 0)], [], []], False), "a negative label"),
        (const_fst(FINALS, [[(1, 1, float("nan"), 0)], [], []], False), "a weight that is no"),
        (const_fst([], [], False), "an empty graph"),
        (const_fst(FINALS, ARCS, False).replace(b"const", b"ngram"), "type ngram, expected vector"),
        (const_fst(FINALS, ARCS, False).replace(b"standard", b"log64___"), "type log64___"),
        (const_fst(FINALS, ARCS, False).replace(
            b"standard\2\0\0\0\0", b"standard\2\0\0\0\3"), "symbol tables"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "HCLG.fst").write_bytes(data)
    with pytest.raises(InputError, match=r"HCLG\.fst: ") as error:
        read_fst(tmp_path / "HCLG.fst")
    assert said in str(error.value)


@settings(max_examples=200)
@given(data=st.data(), kind=st.sampled_from(["vector", "const", "aligned"]))
def test_damaged_graphs_are_refused_or_sound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str
) -> None:
    file = tmp_path_factory.mktemp("fst") / "HCLG.fst"
    arcs = np.array([arc for part in ARCS for arc in part], ARC)
    write_fst(file, Fst(0, np.float32(FINALS), np.array([2, 0, 1]), arcs))
    if kind != "vector":
        file.write_bytes(const_fst(FINALS, ARCS, kind == "aligned"))
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        fst = read_fst(file)
    except InputError as error:
        assert "HCLG.fst: " in str(error)  # noqa: PT017
    else:
        assert 0 <= fst.start < len(fst.finals) <= len(whole)
        assert fst.num_arcs.sum() == len(fst.arcs)
        assert set(fst.arcs["next"].tolist()) <= set(range(len(fst.finals)))
