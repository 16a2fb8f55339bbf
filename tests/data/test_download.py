"""Downloads from a server of ours that has every fault of a bad network."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr_kd.artefact import read_manifest
from asr_kd.data import download as room
from asr_kd.data.download import COLLECTIONS, Collection, RemoteFile, download
from asr_kd.errors import AsrKdError, InputError

FILES = {"a.gz": bytes(range(256)) * 40, "b.gz": b"small"}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` below any folder; faults are what its attributes say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.ranges = True
        self.cuts: list[int] = []  # bytes after which the next connections end
        self.missing: set[str] = set()  # folders
        self.lies_about_range = False
        self.requests: list[tuple[str, str | None]] = []

    def url(self, folder: str = "one") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{folder}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        _, folder, name = self.path.split("/")
        if folder in self.server.missing:
            self.send_error(404)
            return
        content, start = self.server.files[name], 0
        if self.headers["Range"] and self.server.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            told = 0 if self.server.lies_about_range else start
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(room, "_PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    files = tuple(
        RemoteFile(name, len(content), hashlib.md5(content).hexdigest())
        for name, content in FILES.items()
    )
    monkeypatch.setitem(COLLECTIONS, "tiny", Collection((f"{server.url()}/",), files))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def part_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.building") / "a.gz.part"


def published(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"}


def test_a_whole_collection_once(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    download("tiny", out)
    assert published(out) == FILES
    assert read_manifest(out, "download").info == {"bytes": 10_245}
    assert server.requests == [("/one/a.gz", None), ("/one/b.gz", None)]
    download("tiny", out, ["http://127.0.0.1:1/elsewhere"])  # where it came from does not matter
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
    assert "a.gz: no mirror gives it; nothing is published" in str(error.value)
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
    download("tiny", tmp_path / "corpus", [server.url("one"), server.url("two")])
    assert published(tmp_path / "corpus") == FILES
    assert [path for path, _ in server.requests] == [
        "/one/a.gz", "/two/a.gz", "/one/b.gz", "/two/b.gz",
    ]  # fmt: skip


def test_the_second_mirror_goes_on_where_the_first_was_cut(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 0]
    download("tiny", tmp_path / "corpus", [server.url("one"), server.url("two")])
    assert published(tmp_path / "corpus") == FILES
    assert ("/two/a.gz", "bytes=1000-") in server.requests


def test_every_mirrors_answer_is_told(server: Server, tmp_path: Path) -> None:
    server.missing = {"one"}
    server.files["a.gz"] = FILES["a.gz"] + b"!"
    with pytest.raises(AsrKdError) as error:
        download(
            "tiny",
            tmp_path / "corpus",
            [server.url("one"), server.url("two"), "http://127.0.0.1:1/three"],
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
        download("nist", tmp_path / "corpus", ["file:///etc/", "mirror.example/x"])
    assert error.value.faults == [
        "--mirror file:///etc/: expected an address that begins with http:// or https://",
        "--mirror mirror.example/x: expected an address that begins with http:// or https://",
        "nist: no such download; there are mnist",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_the_mirrors_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(room, "_size", lambda path: 0)
    server.missing = {"one"}
    with pytest.raises(AsrKdError):
        download("tiny", tmp_path / "corpus")
    part_of(tmp_path / "corpus").symlink_to(full)
    server.missing = set()
    with pytest.raises(OSError, match="No space left"):
        download("tiny", tmp_path / "corpus")
