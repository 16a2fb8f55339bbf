"""Downloads from a server of ours that has every fault of a bad network (conftest.py)."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from asr_kd.artefact import read_manifest
from asr_kd.data import fetch
from asr_kd.data.catalogue import CATALOGUE, Part, RemoteFile
from asr_kd.data.download import download
from asr_kd.errors import AsrKdError, InputError

FILES = {"a.gz": bytes(range(256)) * 40, "b.gz": b"small"}
Server = Any


@pytest.fixture(autouse=True)
def tiny(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection `tiny`, on the server."""
    server.files.update(FILES)
    files = tuple(
        RemoteFile(name, len(content), hashlib.md5(content).hexdigest())
        for name, content in FILES.items()
    )
    monkeypatch.setitem(CATALOGUE, "tiny", {"tiny": Part((f"{server.url()}/",), "", files)})


def part_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.building") / "a.gz.part"


def published(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"}


def test_a_whole_collection_once(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    download("tiny", out)
    assert published(out) == FILES
    sums = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}
    assert read_manifest(out, "download").info == {"bytes": 10_245, "md5": sums}
    assert server.requests == [("/one/a.gz", None), ("/one/b.gz", None)]
    download(
        "tiny", out, mirrors=["http://127.0.0.1:1/elsewhere"]
    )  # where it came from does not matter
    assert len(server.requests) == 2


def test_a_cut_connection_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 24]
    download("tiny", tmp_path / "corpus")
    assert published(tmp_path / "corpus") == FILES
    assert [wanted for _, wanted in server.requests] == [None, "bytes=1000-", "bytes=1024-", None]


def test_a_later_run_goes_on_where_the_first_was(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    server.cuts = [1000, 0]  # the second connection brings nothing: this mirror is given up
    with pytest.raises(AsrKdError, match="the connection ends before the file does"):
        download("tiny", out)
    assert not out.exists()
    assert part_of(out).read_bytes() == FILES["a.gz"][:1000]
    server.requests.clear()
    download("tiny", out)
    assert published(out) == FILES
    assert server.requests == [("/one/a.gz", "bytes=1000-"), ("/one/b.gz", None)]


def test_without_ranges_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [1000]
    download("tiny", tmp_path / "corpus")
    assert published(tmp_path / "corpus") == FILES
    assert server.requests[1] == ("/one/a.gz", "bytes=1000-")


def test_without_ranges_a_cut_connection_costs_nothing_that_had_come(
    server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    server.ranges = False
    server.cuts = [4000, 1500]
    with pytest.raises(AsrKdError, match="the connection ends before the file does"):
        download("tiny", out)
    assert part_of(out).read_bytes() == FILES["a.gz"][:4000]
    server.cuts = [6000]
    download("tiny", out)
    assert published(out) == FILES
    assert [wanted for _, wanted in server.requests[-3:]] == ["bytes=4000-", "bytes=6000-", None]


def test_a_wrong_checksum_publishes_nothing(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    server.files["a.gz"] = bytes(len(FILES["a.gz"]))
    with pytest.raises(AsrKdError) as error:
        download("tiny", out)
    expected = hashlib.md5(FILES["a.gz"]).hexdigest()
    found = hashlib.md5(server.files["a.gz"]).hexdigest()
    assert f"/one/a.gz: wrong checksum: MD5 {found}, expected {expected}" in str(error.value)
    assert "a.gz: no mirror gives it; nothing of it is published" in str(error.value)
    assert error.value.exit_code == 1
    assert not out.exists()
    assert not part_of(out).exists()
    assert len(server.requests) == 1


@pytest.mark.parametrize("stale", [b"\1" * 1000, b"\1" * len(FILES["a.gz"]), b"\1" * 20_000])
def test_a_wrong_beginning_is_thrown_away(stale: bytes, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    server.missing = {"one"}
    with pytest.raises(AsrKdError):
        download("tiny", out)
    part_of(out).write_bytes(stale)
    server.missing = set()
    download("tiny", out)
    assert published(out) == FILES


def test_the_second_mirror_serves_what_the_first_lacks(server: Server, tmp_path: Path) -> None:
    server.missing = {"one"}
    download("tiny", tmp_path / "corpus", mirrors=[server.url("one"), server.url("two")])
    assert published(tmp_path / "corpus") == FILES
    assert [path for path, _ in server.requests] == [
        "/one/a.gz", "/two/a.gz", "/one/b.gz", "/two/b.gz",
    ]  # fmt: skip


def test_the_second_mirror_goes_on_where_the_first_was_cut(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 0]
    download("tiny", tmp_path / "corpus", mirrors=[server.url("one"), server.url("two")])
    assert published(tmp_path / "corpus") == FILES
    assert ("/two/a.gz", "bytes=1000-") in server.requests


def test_every_mirrors_answer_is_told(server: Server, tmp_path: Path) -> None:
    server.missing = {"one"}
    server.files["a.gz"] = FILES["a.gz"] + b"!"
    with pytest.raises(AsrKdError) as error:
        download(
            "tiny",
            tmp_path / "corpus",
            mirrors=[server.url("one"), server.url("two"), "http://127.0.0.1:1/three"],
        )
    text = str(error.value)
    assert "/one/a.gz: answers 404 Not Found" in text
    assert "/two/a.gz: has 10241 bytes, expected 10240" in text
    assert "/three/a.gz: " in text
    assert "refused" in text


def test_another_range_than_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000]
    server.lies_about_range = True
    with pytest.raises(AsrKdError, match="another range"):
        download("tiny", tmp_path / "corpus")
    assert part_of(tmp_path / "corpus").read_bytes() == FILES["a.gz"][:1000]


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        download("nist", tmp_path / "corpus", mirrors=["file:///etc/", "mirror.example/x"])
    assert error.value.faults == [
        "--mirror file:///etc/: expected an address that begins with http:// or https://",
        "--mirror mirror.example/x: expected an address that begins with http:// or https://",
        "nist: no such download; there are librispeech, mini_librispeech, mnist, tiny",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_the_mirrors_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(fetch, "size_of", lambda path: 0)
    server.missing = {"one"}
    with pytest.raises(AsrKdError):
        download("tiny", tmp_path / "corpus")
    part_of(tmp_path / "corpus").symlink_to(full)
    server.missing = set()
    with pytest.raises(OSError, match="No space left"):
        download("tiny", tmp_path / "corpus")
