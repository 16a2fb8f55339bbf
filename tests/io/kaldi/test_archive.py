from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kaldi_native_io
import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.io.kaldi.alignments import read_int_vector
from asr_kd.io.kaldi.archive import index_matrices, read_archive, read_objects
from asr_kd.io.kaldi.posteriors import read_posterior
from asr_kd.io.kaldi.stream import KaldiReader

KEY = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8)
INT32 = st.integers(-(2**31), 2**31 - 1)
FRAMES = st.lists(
    st.dictionaries(st.integers(0, 99), st.floats(0, 1, width=32), max_size=4), max_size=5
)


def objects(data: bytes, read: Any) -> dict[str, Any]:
    reader = KaldiReader(data, "a.ark")
    reader.position = 0
    return {key: found for key, _, found in read_objects(reader, read)}


@settings(max_examples=60)
@given(vectors=st.dictionaries(KEY, st.lists(INT32, max_size=6), max_size=4))
def test_alignments_read_back(kaldi: Any, vectors: Mapping[str, list[int]]) -> None:
    found = objects(kaldi.alignments(vectors), read_int_vector)
    assert {key: ids.tolist() for key, ids in found.items()} == vectors


@settings(max_examples=60)
@given(frames_of=st.dictionaries(KEY, FRAMES, max_size=3))
def test_posteriors_read_back(kaldi: Any, frames_of: Mapping[str, list[dict[int, float]]]) -> None:
    found = objects(kaldi.posteriors(frames_of), read_posterior)
    assert found.keys() == frames_of.keys()
    for key, frames in frames_of.items():
        counts, indices, weights = found[key]
        assert counts.tolist() == [len(frame) for frame in frames]
        assert indices.tolist() == [i for frame in frames for i in frame]
        np.testing.assert_array_equal(weights, np.float32([p for f in frames for p in f.values()]))


def test_what_kaldi_native_io_writes_is_read(tmp_path: Path) -> None:
    frames = [[(3, 0.25), (7, 0.75)], [], [(1, 1.0)]]
    for kind in ("ark", "ark,t"):
        ark = tmp_path / f"{kind}.post"
        with kaldi_native_io.PosteriorWriter(f"{kind}:{ark}") as writer:
            writer.write("a", frames)
            writer.write("b", [])
        found = dict(read_archive(ark, read_posterior))
        assert found["a"].indices.tolist() == [3, 7, 1]
        assert found["a"].counts.tolist() == [2, 0, 1]
        assert found["b"].counts.tolist() == []
        ali = tmp_path / f"{kind}.ali"
        with kaldi_native_io.Int32VectorWriter(f"{kind}:{ali}") as writer:
            writer.write("a", [5, 4, 4])
            writer.write("b", [])
        assert {k: v.tolist() for k, v in read_archive(ali, read_int_vector)} == {
            "a": [5, 4, 4], "b": [],
        }  # fmt: skip


@pytest.mark.parametrize("method", [None, 2, 3, 5])
def test_archives_of_matrices_get_a_table(tmp_path: Path, method: int) -> None:
    rng = np.random.default_rng(0)
    matrices = {f"utt-{k}": rng.random((k + 2, 3 + k)).astype(np.float32) for k in range(3)}
    matrices["wide"] = rng.random((2, 2)).astype(np.float64)
    kaldiio.save_ark(str(tmp_path / "x.ark"), matrices, compression_method=method)
    entries = index_matrices(tmp_path / "x.ark")
    archive = Archive(entries, tmp_path / "x.ark")
    assert list(archive) == list(matrices)
    for key, matrix in matrices.items():
        np.testing.assert_allclose(archive[key], matrix, atol=0.01 if method else 0)


def test_text_archives_of_matrices_get_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_text("a  [\n  1 2\n  3 4 ]\nb  [ ]\nc  [\n  5 ]\n")
    archive = Archive(index_matrices(tmp_path / "x.ark"), tmp_path / "x.ark")
    assert archive["a"].tolist() == [[1, 2], [3, 4]]
    assert archive["c"].tolist() == [[5]]


def test_a_gzipped_archive_of_matrices_is_refused(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "x.ark").write_bytes(gzip.compress(b"a  [ 1 ]\n"))
    with pytest.raises(InputError, match=r"x\.ark: gzipped; unpack it first"):
        index_matrices(tmp_path / "x.ark")


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"a 1 2\na 3\n", "a: stands twice in the archive"),
        (b"a 1 x\n", "byte 6: expected transition-ids, found b'x' (object of a)"),
        (b"a 99999999999\n", "more than 32 bits"),
        (b"a 1e3\n", "expected transition-ids, found b'1e3'"),
        (b"a \0B\4\xff\xff\xff\x7f", "2147483647 elements of 5 bytes or more, 0 bytes left"),
        (b"a \0B\4\2\0\0\0\4\1\0\0\0", "2 elements of 5 bytes or more, 5 bytes left"),
        (b"a \0B\4\1\0\0\0\2\1\0\0\0", "whose elements are no 32-bit integers"),
        (b"\0B\4\1\0\0\0\2\1\0\0\0", "expected a key and a blank"),
        (b"a", "expected a key and a blank"),
        (b"\xff\xfe 1\n", "expected a key in UTF-8"),
    ],
)
def test_a_damaged_archive_is_named(archive: bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"^a\.ark: byte ") as error:
        objects(archive, read_int_vector)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (b"a 1 2 3\n", "expected [ index weight ... ], found b'1 2 3'"),
        (b"a [ 1 0.5 2 ]\n", "pairs of an integer and a number"),
        (b"a [ 1.5 0.5 ]\n", "pairs of an integer and a number"),
        (b"a [ 1 0.5 \n", "expected [ index weight"),
        (b"a [ 99999999999 0.5 ]\n", "pairs of an integer and a number"),
        (b"a \0B\4\1\0\0\0\4\2\0\0\0\4\1\0\0\0\4\0\0\0\0", "2 elements of 10 bytes or more"),
        (b"a \0B\4\1\0\0\0\4\1\0\0\0\4\1\0\0\0\x08\0\0\0\0", "pairs of a 32-bit integer"),
    ],
)
def test_what_are_no_posteriors(archive: bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"^a\.ark: byte .*\(object of a\)$") as error:
        objects(archive, read_posterior)
    assert said in str(error.value)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_archives_are_refused_or_read_but_never_break(
    kaldi: Any, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = data.draw(st.sampled_from(["alignments", "posteriors", "matrices"]))
    matrix = kaldi.mark + kaldi.matrix([[1.0, 2.0], [3.0, 4.0]])
    whole = bytearray({
        "alignments": kaldi.alignments({"a": [1, 2, 3], "b": [4]}),
        "posteriors": kaldi.posteriors({"a": [{1: 0.5, 2: 0.5}, {}], "b": [{3: 1.0}]}),
        "matrices": b"a " + matrix + b"b " + matrix,
    }[kind])  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "a.ark"
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        if kind == "matrices":
            index_matrices(file)
        else:
            read = read_int_vector if kind == "alignments" else read_posterior
            list(read_archive(file, read))
    except InputError as error:
        assert "a.ark: " in str(error)  # noqa: PT017
