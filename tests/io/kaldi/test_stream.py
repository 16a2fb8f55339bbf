import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asr_kd.errors import InputError
from asr_kd.io.kaldi.stream import KaldiReader, read_file

INT32 = st.integers(-(2**31), 2**31 - 1)


def reader(data: bytes, binary: bool) -> KaldiReader:
    found = KaldiReader(data, "file")
    found.binary = binary
    return found


def test_what_stands_in_a_file_one_after_the_other(kaldi: Any) -> None:
    data = (
        kaldi.mark + kaldi.tokens("<A>") + kaldi.ints(-7, 8) + kaldi.floats(0.5)
        + kaldi.int_vector([1, -2]) + kaldi.vector([0.25, -1.5])
        + kaldi.matrix([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) + kaldi.tokens("</A>")
    )  # fmt: skip
    stream = KaldiReader(data, "file")
    assert stream.binary == kaldi.binary
    assert stream.peek() == "<A>"
    assert stream.expect("<B>", "<A>") == "<A>"
    assert (stream.integer(), stream.integer(), stream.number()) == (-7, 8, 0.5)
    assert stream.integers().tolist() == [1, -2]
    assert stream.vector().tolist() == [0.25, -1.5]
    assert stream.matrix().tolist() == [[1, 2, 3], [4, 5, 6]]
    assert stream.token() == "</A>"
    assert stream.left == 0


def test_doubles_and_unsigned_numbers() -> None:
    data = b"\0B\x08" + np.float64(0.1).tobytes() + b"\xfc\xff\xff\xff\xff"
    data += b"DV \4\1\0\0\0" + np.float64(0.5).tobytes()
    stream = KaldiReader(data, "file")
    assert stream.number() == 0.1
    assert stream.integer() == 2**32 - 1
    assert stream.vector().tolist() == [0.5]


@given(hnp.arrays(np.int32, st.integers(0, 9)))
def test_integers_read_back(values: np.ndarray) -> None:
    binary = b"\4" + len(values).to_bytes(4, "little") + values.astype("<i4").tobytes()
    assert reader(binary, True).integers().tolist() == values.tolist()
    text = f" [ {' '.join(map(str, values))} ]".encode()
    assert reader(text, False).integers().tolist() == values.tolist()


@pytest.mark.parametrize(
    ("data", "method", "said"),
    [
        (b"\0B\4\1\0", "integer", "byte 3: 4 bytes expected, 2 left"),
        (b"\0B\1\1\0\0\0", "integer", "an integer of 4 bytes, not of 1"),
        (b"\0B\3\1\0\0\0", "number", "a float of 4 or 8 bytes, not of 3"),
        (b"\0B\4\xff\xff\xff\x7f", "integers", "8589934588 bytes expected, 0 left"),
        (b"\0B\4\xff\xff\xff\xff", "integers", "-4 bytes expected"),
        (b"\0BFM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f", "matrix", "bytes expected, 0 left"),
        (b"\0BFM \4\xff\xff\xff\xff\4\xff\xff\xff\xff", "matrix", "-1 rows and -1 columns"),
        (b"\0BCM ", "matrix", "expected FM or DM, found CM"),
        (b"[ 1 2 \n 3 ]", "matrix", "rows are of different lengths"),
        (b"[ 1 2", "vector", "numbers in brackets"),
        (b"1 2 ]", "integers", "numbers in brackets"),
        (b"[ 1_0 ]", "vector", "expected a number, found b'1_0'"),
        (b"2147483648", "integer", "32-bit integer"),
        (b"1.5", "integer", "32-bit integer"),
        (b"", "token", "expected a token"),
        ("é ".encode(), "token", "expected a token"),
    ],
)
def test_damage_is_named_with_file_and_byte(data: bytes, method: str, said: str) -> None:
    with pytest.raises(InputError, match=r"^file: byte ") as error:
        getattr(KaldiReader(data, "file"), method)()
    assert said in str(error.value)


def test_infinity_and_nan_are_numbers() -> None:
    stream = KaldiReader(b"[ inf -inf nan 1e-3 ]", "file")
    np.testing.assert_array_equal(
        stream.vector(), np.array([np.inf, -np.inf, np.nan, 1e-3], np.float32)
    )


@given(
    st.binary(max_size=60), st.booleans(),
    st.lists(
        st.sampled_from(["token", "integer", "number", "integers", "vector", "matrix", "line"]),
        min_size=1, max_size=6,
    ),
)  # fmt: skip
def test_junk_never_reads_past_the_end(data: bytes, binary: bool, methods: list[str]) -> None:
    stream = reader(data, binary)
    stream.position = 0
    try:
        for method in methods:
            found = getattr(stream, method)()
            assert stream.position <= len(data)
            if isinstance(found, np.ndarray):
                assert found.size <= len(data)
    except InputError as error:
        assert str(error).startswith("file: byte ")  # noqa: PT017


def test_gzipped_files_are_unpacked_whatever_their_name(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_bytes(b"abc")
    (tmp_path / "packed").write_bytes(gzip.compress(b"abc"))
    (tmp_path / "empty").write_bytes(b"")
    for name in ("plain.gz", "packed"):
        assert read_file(tmp_path / name)[:] == b"abc"
    assert read_file(tmp_path / "empty") == b""


@pytest.mark.parametrize("damage", [slice(0, -9), slice(0, 12)])
def test_a_damaged_gzip_file_is_named(tmp_path: Path, damage: slice) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(range(256)) * 9)[damage])
    with pytest.raises(InputError, match=r"a\.gz: gzip data is damaged or cut off"):
        read_file(tmp_path / "a.gz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        read_file(tmp_path / "nowhere")
