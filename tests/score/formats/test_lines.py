"""What people's files hold that is no text, and where words end."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.formats.lines import cut, numbered, numbered_nist, read_utf8


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "hyp"
    path.write_bytes(data)
    return path


def test_words_end_at_ascii_white_space_only() -> None:
    assert cut(" a\tb\r c\x0bd\x0ce ") == ["a", "b", "c", "d", "e"]
    assert cut("zehn\u00a0000 \u3000x\u2028y é") == ["zehn\u00a0000", "\u3000x\u2028y", "é"]
    assert cut("é") == ["é"]
    assert cut(" ") == cut("") == []


@given(st.text().filter(lambda text: not any(ord(c) in range(0x1C, 0x20) for c in text)))
def test_words_are_those_of_bytes(line: str) -> None:
    # bytes.split knows ASCII white space only: an independent way to the same.
    line = line.encode(errors="replace").decode()
    assert cut(line) == [word.decode() for word in line.encode().split()]


def test_only_newlines_end_lines() -> None:
    assert list(numbered("a\u2028b\r\n\nc\n")) == [(1, "a\u2028b"), (2, ""), (3, "c")]
    assert list(numbered("a\n\n")) == [(1, "a"), (2, "")]
    assert list(numbered("")) == []


def test_byte_order_mark_is_no_part_of_the_first_id(tmp_path: Path) -> None:
    assert read_utf8(_file(tmp_path, b"\xef\xbb\xbfu1 a\n")) == "u1 a\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"u1 a\n", mtime=0), "gzip data; unpack"),
        ("u1 ä\n".encode("utf-16"), "UTF-16; convert"),
        (b"u1 a\nu2 \0BFM \n", "zero byte in line 2"),
        (b"\x7fELF\x02\xb7\n\x15\xa7\n", "binary data, not a text file"),
    ],
)
def test_binary_files_are_one_fault(tmp_path: Path, data: bytes, message: str) -> None:
    path = _file(tmp_path, data)
    with pytest.raises(InputError, match=message) as refused:
        read_utf8(path)
    assert len(refused.value.faults) == 1
    assert refused.value.faults[0].startswith(f"{path}: ")


def test_control_characters_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_utf8(_file(tmp_path, b"u1 a\nu2 \x1b[31mred\nu3 b\x7f\n"))
    assert [fault.partition(":")[2] for fault in refused.value.faults] == [
        "2: control character 0x1b at column 4",
        "3: control character 0x7f at column 5",
    ]


@pytest.mark.parametrize(
    ("data", "places"),
    [
        (b"u1 a\ru2 b\r", ["1: a carriage return at column 5"]),
        (b"u1 a\r\nu2 b\rc\nu3 d\r\r\n", ["2: a carriage return at column 5",
                                          "3: a carriage return at column 5"]),
    ],
)  # fmt: skip
def test_carriage_returns_that_end_no_line_are_named(
    tmp_path: Path, data: bytes, places: list[str]
) -> None:
    path = _file(tmp_path, data)
    with pytest.raises(InputError, match=r"tr '\\r' '\\n'") as refused:
        read_utf8(path)
    assert refused.value.faults[1:] == [f"{path}:{place} that ends no line" for place in places]
    assert read_utf8(_file(tmp_path, b"u1 a\r\nu2 b\r")) == "u1 a\r\nu2 b\r"


def test_a_line_of_no_break_spaces_is_not_blank() -> None:
    assert list(numbered_nist("\u00a0\n \t\x0b\n;; a\nb\n")) == [(1, "\u00a0"), (4, "b")]


def test_every_line_of_another_encoding_is_named(tmp_path: Path) -> None:
    latin = "u1 a\nu2 café\nu3 süß\n".encode("latin-1")
    with pytest.raises(InputError) as refused:
        read_utf8(_file(tmp_path, latin))
    advice, first, second = refused.value.faults
    assert "hyp:2: not UTF-8 (byte 0xe9 at column 7)" in first
    assert "'u2 café'" in first
    assert "hyp:3:" in second
    assert "`iconv -f LATIN1 -t UTF-8`" in advice


def test_mixed_encodings_are_not_to_be_converted_whole(tmp_path: Path) -> None:
    mixed = b"".join(f"u{i} ä\n".encode() for i in range(1, 8)) + "u8 ä\n".encode("latin-1")
    with pytest.raises(InputError) as refused:
        read_utf8(_file(tmp_path, mixed))
    advice, line = refused.value.faults
    assert "hyp:8:" in line
    assert "mixed encodings: line 1, 2, 3, 4, 5, … is UTF-8" in advice
    assert "iconv" not in advice


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file"):
        read_utf8(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_utf8(tmp_path)
