"""Archives from elsewhere: what is unpacked, and what is refused whole."""

import gzip
import io
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import AsrKdError
from asr_kd.io.unpack import unpack

Add = Callable[[tarfile.TarFile], None]


def member(name: str, content: bytes = b"words", kind: bytes = tarfile.REGTYPE) -> Add:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid = kind, 0o4777, 0
        info.linkname = "/etc/passwd"
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(content))

    return add


def folder_member(name: str) -> Add:
    return member(name, kind=tarfile.DIRTYPE)


def make(path: Path, *members: Add) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        member("corpus/1/first.txt", b"one")(tar)
        for add in members:
            add(tar)
    return path


def test_files_and_folders_and_what_was_read(tmp_path: Path) -> None:
    archive = make(
        tmp_path / "a.tar.gz", folder_member("./corpus/empty/"),
        member("./corpus/2/big", bytes(3_000_000)), folder_member("."),
    )  # fmt: skip
    read: list[int] = []
    unpack(archive, tmp_path / "out", 4_000_000, read.append)
    out = tmp_path / "out"
    assert {str(p.relative_to(out)) for p in out.rglob("*")} == {
        "corpus", "corpus/1", "corpus/1/first.txt", "corpus/2", "corpus/2/big", "corpus/empty",
    }  # fmt: skip
    assert (out / "corpus/1/first.txt").read_bytes() == b"one"
    assert (out / "corpus/2/big").read_bytes() == bytes(3_000_000)
    mode = (out / "corpus/2/big").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_IXUSR)
    assert sum(read) == archive.stat().st_size
    with pytest.raises(FileExistsError):
        unpack(archive, tmp_path / "out", 4_000_000, read.append)
    assert (out / "corpus/1/first.txt").exists()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([member("../outside")], "a place outside the folder"),
        ([member("corpus/../../outside")], "a place outside the folder"),
        ([member("/{tmp}/outside")], "a place outside the folder"),
        ([member("corpus/x", kind=tarfile.SYMTYPE)], "a symbolic link"),
        ([member("corpus/x", kind=tarfile.LNKTYPE)], "a hard link"),
        ([member("corpus/x", kind=tarfile.CHRTYPE)], "a device"),
        ([member("corpus/x", kind=tarfile.BLKTYPE)], "a device"),
        ([member("corpus/x", kind=tarfile.FIFOTYPE)], "a pipe"),
        ([member("corpus/x", kind=tarfile.CONTTYPE)], "something special"),
        ([member("corpus/x"), member("corpus/./x")], "comes twice"),
        ([member("corpus/x"), member("corpus/x/y")], "both a file and a folder"),
        ([member("corpus/x"), folder_member("corpus/x")], "both a file and a folder"),
        ([member("corpus/x\x1b[2J")], "strange characters"),
        ([member("corpus/x\udc80")], "strange characters"),
        ([member("C:\\x")], "strange characters"),
        ([member("corpus/" + 256 * "x")], "too long a name"),
        ([member("corpus" + 30 * f"/{100 * 'x'}")], "too long a name"),
        ([member("corpus/x", bytes(2_000_000))], "more than 1000000 bytes"),
    ],
)
def test_hostile_members(members: list[Add], reason: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "a.tar.gz", *members)
    with pytest.raises(AsrKdError, match=reason) as error:
        unpack(archive, tmp_path / "sub" / "out", 1_000_000, lambda count: None)
    assert "the archive is not unpacked" in str(error.value) or "both" in reason
    assert {p.name for p in tmp_path.rglob("*")} == {"a.tar.gz", "sub"}


def test_a_chain_of_links(tmp_path: Path) -> None:
    """A link to the outside, then a file through it: refused at the link."""
    archive = make(
        tmp_path / "a.tar.gz", member("corpus/l", kind=tarfile.SYMTYPE), member("corpus/l/x")
    )
    with pytest.raises(AsrKdError, match="'corpus/l': a symbolic link"):
        unpack(archive, tmp_path / "out", 1_000_000, lambda count: None)


def test_a_file_with_holes_is_refused(tmp_path: Path) -> None:
    def holes(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo("corpus/x")
        info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.realsize": "1000000000000"}
        tar.addfile(info)

    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        holes(tar)
    with pytest.raises(AsrKdError, match="holes"):
        unpack(archive, tmp_path / "out", 1_000_000, lambda count: None)


@given(cut=st.floats(0, 1, exclude_max=True), flip=st.booleans())
def test_a_damaged_archive(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: bool
) -> None:
    """Any cut is seen, and a wrong bit in what the checksum is of."""
    tmp_path = tmp_path_factory.mktemp("damaged")
    content = make(tmp_path / "a.tar.gz", member("corpus/x", bytes(range(256)) * 8)).read_bytes()
    at = int(cut * len(content))
    if flip:
        plain = bytearray(gzip.decompress(content))
        plain[int(cut * len(plain))] ^= 1
        changed = gzip.compress(bytes(plain))
        damaged = changed[:-8] + content[-8:]  # the checksum and length of what was meant
    else:
        damaged = content[:at]
    (tmp_path / "a.tar.gz").write_bytes(damaged)
    with pytest.raises(AsrKdError):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", 1_000_000, lambda count: None)
    assert not (tmp_path / "out").exists()
