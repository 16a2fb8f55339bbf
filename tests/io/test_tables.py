import errno
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter, read_matrix
from asr_kd.io.atomic import replacing, write_text
from asr_kd.io.table import read_table, write_table

WORD = st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters=" "),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(WORD, st.lists(WORD, max_size=3).map(" ".join), max_size=6))
@example({"u\u00a01": "\u3000a b\u00a0", "\u2028": "\u00a0", "v": ""})
def test_tables_read_back(tmp_path_factory: pytest.TempPathFactory, table: dict[str, str]) -> None:
    file = tmp_path_factory.mktemp("table") / "text"
    write_table(file, table)
    assert read_table(file, allow_empty=True) == table


def test_tables_are_sorted_as_kaldi_expects(tmp_path: Path) -> None:
    write_table(tmp_path / "t", {"b": "1", "B": "2", "a-b": "3", "ab": "4", "é": "5"})
    assert (tmp_path / "t").read_text() == "B 2\na-b 3\nab 4\nb 1\né 5\n"


def test_every_fault_of_a_table_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a one\n\nb\na two\n")
    with pytest.raises(InputError) as error:
        read_table(tmp_path / "text")
    places = [fault.split(": ")[0].rsplit(":", 1)[1] for fault in error.value.faults]
    assert places == ["2", "3", "4"]


def test_a_binary_table_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a one\nb \xff\xfe\n")
    with pytest.raises(InputError, match=r"text:2: not UTF-8"):
        read_table(tmp_path / "text")


@settings(max_examples=25)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)),
    hnp.arrays(np.int32, st.integers(0, 9)),
)
def test_archives_read_back_and_by_kaldi_native_io(
    tmp_path_factory: pytest.TempPathFactory, matrix: np.ndarray, vector: np.ndarray
) -> None:
    folder = tmp_path_factory.mktemp("ark")
    with ArkWriter(folder / "x.ark") as writer:
        writer.write("spk-é-1", matrix)
        writer.write("spk-2", vector)
    archive = Archive(writer.scp, folder / "x.scp")
    np.testing.assert_array_equal(archive["spk-é-1"], matrix)
    np.testing.assert_array_equal(archive["spk-2"], vector)
    np.testing.assert_array_equal(read_matrix(writer.scp["spk-é-1"]), matrix)
    np.testing.assert_array_equal(
        kaldi_native_io.FloatMatrix.read(writer.scp["spk-é-1"]).numpy(), matrix
    )
    assert kaldi_native_io.read_int32_vector(writer.scp["spk-2"]) == vector.tolist()


@pytest.fixture
def scp(tmp_path: Path) -> dict[str, str]:
    with ArkWriter(tmp_path / "x.ark") as writer:
        writer.write("a", np.ones((3, 2), np.float32))
        writer.write("b", np.arange(4, dtype=np.int32))
    return writer.scp


def test_a_truncated_archive_names_utterance_and_file(tmp_path: Path, scp: dict[str, str]) -> None:
    whole = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(whole[:-3])
    archive = Archive(scp, tmp_path / "x.scp")
    assert archive["a"].shape == (3, 2)
    with pytest.raises(InputError, match=r"x\.ark: b: corrupt or truncated"):
        archive["b"]


@settings(max_examples=200)
@example(junk=b"x ]\n", flag=b"[")
@example(junk=b" x\n", flag=b"[")
@given(junk=st.binary(max_size=40), flag=st.sampled_from([b"", b"\0B", b"\0BFM ", b"\0B\4", b"["]))
def test_any_junk_is_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, flag: bytes
) -> None:
    file = tmp_path_factory.mktemp("junk") / "j.ark"
    file.write_bytes(flag + junk)
    try:
        array = Archive({"utt": f"{file}:0"}, file)["utt"]
    except InputError as error:
        assert "j.ark: utt" in str(error)  # noqa: PT017
    else:
        assert array.size <= len(junk)


def test_a_pickle_in_an_archive_is_never_loaded(tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = f"cos\nmkdir\n(S'{made}'\ntR.".encode()
    (tmp_path / "p.ark").write_bytes(b"PKL" + code)
    with pytest.raises(InputError, match="corrupt"):
        read_matrix(f"{tmp_path}/p.ark:0")
    assert not made.exists()


def test_a_pipe_in_an_scp_is_never_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (tmp_path / "feats.scp").write_text(f"utt touch {made} |\n")
    with pytest.raises(InputError, match=r"utt: .* is a pipe"):
        Archive.read(tmp_path / "feats.scp")
    assert not made.exists()


def test_a_failed_write_leaves_neither_half_an_archive_nor_a_temporary(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ArkWriter(tmp_path / "x.ark") as writer:
        writer.write("a", np.ones((3, 2), np.float32))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_archive_refuses_what_kaldi_could_not_read(tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "x.ark") as writer:
        with pytest.raises(ValueError, match="float64"):
            writer.write("a", np.ones((3, 2)))  # type: ignore[arg-type]
        writer.write("a", np.ones((3, 2), np.float32))
        with pytest.raises(ValueError, match="twice"):
            writer.write("a", np.ones((3, 2), np.float32))


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "f", "before")
    with pytest.raises(OSError, match="No space"), replacing(tmp_path / "f") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "f").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
