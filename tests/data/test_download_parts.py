"""Parts of a corpus: archives, several at a time, checksums from lists."""

import hashlib
import io
import shutil
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import asr_kd.cli.data
import asr_kd.cli.download  # noqa: F401  registers the verbs
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.cli.download import Download
from asr_kd.data import download as room
from asr_kd.data.catalogue import CATALOGUE, Part, RemoteFile
from asr_kd.data.download import download
from asr_kd.errors import AsrKdError, InputError

Server = Any
usage = namedtuple("usage", "free")
LEXICON = b"A EY1\n"


def archive(part: str, speaker: str, documents: str = "readers", **extra: bytes) -> bytes:
    files = {
        "SPEAKERS.TXT": documents.encode(),
        f"{part}/{speaker}/7/{speaker}-7.trans.txt": b"words",
        f"{part}/{speaker}/7/{speaker}-7-0000.flac": speaker.encode() * 5000,
        **extra,
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"LibriSpeech/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def corpus(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two archives whose checksums are known, a file of which the list tells it."""
    server.files = {"dev.tar.gz": archive("dev", "1"), "train.tar.gz": archive("train", "22")}
    parts = {
        name: Part(
            (f"{server.url()}/",), "12/",
            (RemoteFile(file := f"{name}.tar.gz", len(server.files[file]),
                        hashlib.md5(server.files[file]).hexdigest()),),
            f"LibriSpeech/{name}", unpacked=True,
        )
        for name in ("dev", "train")
    }  # fmt: skip
    server.files["lexicon.txt"] = LEXICON
    lexicon = Part((f"{server.url()}/",), "11/", (RemoteFile("lexicon.txt", 99),), "lexicon")
    monkeypatch.setitem(CATALOGUE, "tiny", {**parts, "lexicon": lexicon})
    server.publish_sums()


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*")
            if p.is_file() and p.name != "manifest.json"}  # fmt: skip


def of_part(name: str, speaker: str) -> dict[str, bytes]:
    folder = f"LibriSpeech/{name}/{speaker}/7"
    return {
        f"{folder}/{speaker}-7.trans.txt": b"words",
        f"{folder}/{speaker}-7-0000.flac": speaker.encode() * 5000,
    }


READERS = {"LibriSpeech/SPEAKERS.TXT": b"readers"}
DEV = of_part("dev", "1")
TRAIN = of_part("train", "22")


def test_parts_one_after_the_other_stand_side_by_side(server: Server, tmp_path: Path) -> None:
    download("tiny", tmp_path, ["dev"])
    assert files(tmp_path) == DEV | READERS
    assert read_manifest(tmp_path / "LibriSpeech/dev", "download").info["bytes"] == len(
        server.files["dev.tar.gz"]
    )
    download("tiny", tmp_path, ["train", "dev"])
    assert files(tmp_path) == DEV | TRAIN | READERS
    assert [path for path, _ in server.requests] == ["/one/12/dev.tar.gz", "/one/12/train.tar.gz"]


def test_all_at_a_time(server: Server, tmp_path: Path) -> None:
    download("tiny", tmp_path, ["all"], nj=3)
    assert files(tmp_path) == DEV | TRAIN | READERS | {"lexicon/lexicon.txt": LEXICON}
    md5 = read_manifest(tmp_path / "lexicon", "download").info["md5"]
    assert md5 == {"lexicon.txt": hashlib.md5(LEXICON).hexdigest()}


def test_other_documents_do_not_replace_what_is_there(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech/SPEAKERS.TXT").write_bytes(b"mine")
    download("tiny", tmp_path, ["dev"])
    assert files(tmp_path) == DEV | {"LibriSpeech/SPEAKERS.TXT": b"mine"}
    assert "SPEAKERS.TXT: stands already" in caplog.text


def test_a_copy_of_ones_own_is_not_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "LibriSpeech/dev/1").mkdir(parents=True)
    with pytest.raises(InputError, match="stands already and is not the output"):
        download("tiny", tmp_path, ["dev"])
    assert server.requests == []


@pytest.mark.parametrize(
    ("sums", "told"),
    [
        (b"0" * 32 + b"  lexicon.txt\n", "wrong checksum: MD5 .*, expected 00000"),
        (b"0" * 31 + b"  lexicon.txt\n", "is no MD5"),
        (b"", "does not list lexicon.txt"),
        (None, "answers 404"),
    ],
)
def test_checksums_of_the_mirror(
    sums: bytes | None, told: str, server: Server, tmp_path: Path
) -> None:
    if sums is None:
        del server.files["md5sum.txt"]
    else:
        server.files["md5sum.txt"] = sums
    with pytest.raises(AsrKdError, match=told):
        download("tiny", tmp_path, ["lexicon"], [server.url()], sums_of_mirror=True)
    assert files(tmp_path) == {} or list(files(tmp_path)) == [".lexicon.building/begun.json"]


def test_where_nobody_tells_a_checksum_the_size_is_checked(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del server.files["md5sum.txt"]
    download("tiny", tmp_path, ["lexicon"])
    assert files(tmp_path) == {"lexicon/lexicon.txt": LEXICON}
    assert "lexicon.txt: no checksum is published for it" in caplog.text
    assert read_manifest(tmp_path / "lexicon").info["md5"] == {"lexicon.txt": None}


def test_a_list_of_checksums_that_is_cut_is_none(server: Server, tmp_path: Path) -> None:
    server.cuts = [40]
    with pytest.raises(AsrKdError, match="the connection ends before the list does"):
        download("tiny", tmp_path, ["lexicon"])
    server.cuts = [40]
    second = server.url("two")
    download("tiny", tmp_path, ["lexicon"], [server.url(), second])
    md5 = read_manifest(tmp_path / "lexicon").info["md5"]
    assert md5 == {"lexicon.txt": hashlib.md5(LEXICON).hexdigest()}


def test_the_mirrors_own_corpus(server: Server, tmp_path: Path) -> None:
    server.files["dev.tar.gz"] = archive("dev", "333")
    with pytest.raises(AsrKdError, match=r"has .* bytes, expected"):
        download("tiny", tmp_path, ["dev"], [server.url()])
    server.publish_sums()
    download("tiny", tmp_path, ["dev"], [server.url()], sums_of_mirror=True)
    assert files(tmp_path) == of_part("dev", "333") | READERS


def test_a_part_that_fails_does_not_cost_the_others(server: Server, tmp_path: Path) -> None:
    server.files["dev.tar.gz"] = bytes(len(server.files["dev.tar.gz"]))
    with pytest.raises(AsrKdError, match=r"dev\.tar\.gz: wrong checksum") as error:
        download("tiny", tmp_path, ["all"], nj=2)
    assert "train" not in str(error.value)
    assert set(files(tmp_path)) - {"LibriSpeech/.dev.building/begun.json"} == {
        *TRAIN, *READERS, "lexicon/lexicon.txt",
    }  # fmt: skip


def hostile(server: Server, content: bytes) -> None:
    server.files["dev.tar.gz"] = content
    server.publish_sums()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (archive("dev", "1", **{"../../../outside": b""}), "a place outside the folder"),
        (archive("dev", "1", **{"dev/bomb": bytes(3_000_000)}), "all files together have more"),
        (archive("test", "1"), "has no folder LibriSpeech/dev"),
        (archive("dev", "1")[:-20], "damaged or cut off"),
    ],
)
def test_a_hostile_archive(content: bytes, told: str, server: Server, tmp_path: Path) -> None:
    hostile(server, content)
    with pytest.raises(AsrKdError, match=told):
        download("tiny", tmp_path / "out", ["dev"], [server.url()], sums_of_mirror=True)
    assert list(files(tmp_path)) == ["out/LibriSpeech/.dev.building/begun.json"]
    hostile(server, archive("dev", "1"))  # the mirror was put right
    download("tiny", tmp_path / "out", ["dev"], [server.url()], sums_of_mirror=True)
    assert files(tmp_path / "out") == DEV | READERS


@pytest.mark.parametrize("killed_at", range(10))
def test_killed_at_any_step_it_goes_on(
    killed_at: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of unpacking and putting in place is the last once; nothing comes twice."""
    steps = 0

    def last(step: Any) -> Any:
        def take(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            if steps == killed_at:
                raise KeyboardInterrupt
            steps += 1
            return step(*args, **kwargs)

        return take

    with monkeypatch.context() as patch:
        patch.setattr(room, "unpack", last(room.unpack))
        patch.setattr(room, "write_bytes", last(room.write_bytes))
        for name in ("rename", "unlink"):
            patch.setattr(Path, name, last(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", last(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            download("tiny", tmp_path, ["dev"])
    assert not (tmp_path / "LibriSpeech/dev").exists()
    server.requests.clear()
    if killed_at > 3:  # the archive is unpacked: no more room is needed
        monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage(0))
    download("tiny", tmp_path, ["dev"])
    assert files(tmp_path) == DEV | READERS
    # Step 0 makes the work folder; before the later ones the archive has come.
    assert server.asked_for == ([] if killed_at else ["dev.tar.gz"])


def test_a_disk_that_is_too_small(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(server.files["dev.tar.gz"])
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage(2 * size - 1))
    with pytest.raises(InputError, match=r"GB are needed and .* GB are free"):
        download("tiny", tmp_path, ["dev"])
    assert server.requests == []
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage(2 * size))
    download("tiny", tmp_path, ["dev"])


def test_parts_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        download("mini_librispeech", tmp_path, ["dev-clean", "lexicon"], sums_of_mirror=True)
    assert error.value.faults == [
        "--sums-of-mirror: needs the --mirror whose checksums count",
        "--parts dev-clean: mini_librispeech has no such part",
        "--parts takes all, or some of: dev-clean-2 (0.126 GB), train-clean-5 (0.333 GB), lexicon "
        "(0.00563 GB), 3-gram.pruned.3e-7 (0.0137 GB), 3-gram.pruned.1e-7 (0.0341 GB), 3-gram "
        "(0.76 GB), 4-gram (1.36 GB)",
    ]
    with pytest.raises(InputError, match="--parts takes all, or some of: dev-clean "):
        download("librispeech", tmp_path)


def test_the_verb(server: Server, tmp_path: Path) -> None:
    assert {name.value for name in Download} | {"tiny"} == set(CATALOGUE)
    server.files = {"librispeech-lexicon.txt": LEXICON}
    server.publish_sums()
    done = CliRunner().invoke(app, [
        "download", "mini_librispeech", "--parts", "lexicon", "--out", str(tmp_path),
        "--mirror", server.url("resources"), "--sums-of-mirror",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert files(tmp_path) == {"lexicon/librispeech-lexicon.txt": LEXICON}
    assert server.requests[-1] == ("/resources/11/librispeech-lexicon.txt", None)


def test_the_catalogue() -> None:
    for parts in CATALOGUE.values():
        places = [part.place for part in parts.values()]
        assert len(set(places)) == len(places)
        for name, part in parts.items():
            assert all(url.startswith("https://") and url.endswith("/") for url in part.mirrors
                       if "127.0.0.1" not in url)  # fmt: skip
            assert all(f.md5 is None or len(f.md5) == 32 for f in part.files)
            if part.unpacked:
                assert part.place == f"LibriSpeech/{name}"
                assert [f.name for f in part.files] == [f"{name}.tar.gz"]
