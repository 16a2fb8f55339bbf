"""A server of ours that has every fault of a bad network."""

import hashlib
import http.server
import threading
from collections.abc import Iterator

import pytest

from asr_kd.data import fetch


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` below any folder; faults are what its attributes say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.cuts: list[int] = []  # bytes after which the next connections end
        self.missing: set[str] = set()  # folders
        self.lies_about_range = False
        self.requests: list[tuple[str, str | None]] = []

    def url(self, folder: str = "one") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{folder}"

    def publish_sums(self) -> None:
        lines = [
            f"{hashlib.md5(content).hexdigest()}  ./{name}\n"
            for name, content in self.files.items()
        ]
        self.files["md5sum.txt"] = "".join(lines).encode()

    @property
    def asked_for(self) -> list[str]:
        """The files, in order."""
        return [path.rsplit("/", 1)[1] for path, _ in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        content, start = self.found(), 0
        if content is None:
            return
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

    def do_HEAD(self) -> None:
        content = self.found()
        if content is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

    def found(self) -> bytes | None:
        folder, name = self.path.split("/")[1], self.path.rsplit("/", 1)[1]
        if folder in self.server.missing or name not in self.server.files:
            self.send_error(404)
            return None
        return self.server.files[name]

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(fetch, "_PAUSE_SECONDS", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
