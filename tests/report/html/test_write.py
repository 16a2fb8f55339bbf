import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

from asr_kd.report.html.model import Cell, Column, HtmlReport, Table
from asr_kd.report.html.write import render, write_html


class Elements(HTMLParser):
    """All elements of a page with their attributes, and all its text but scripts' and styles'."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.inline: dict[str, str] = {}
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = f"{tag} {dict(attrs).get('type', '')}".strip()

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside.startswith(("script", "style")):
            self.inline[self.inside] = self.inline.get(self.inside, "") + data
        else:
            self.text.append(data)


def test_nothing_is_loaded_and_only_the_pages_own_script_may_run(build: SimpleNamespace) -> None:
    page = Elements(render(build.report(build.planted())))
    loading = {"img", "link", "iframe", "object", "embed", "base", "audio", "video", "source"}
    assert not loading & {tag for tag, _ in page.found}
    for _, attributes in page.found:
        assert not {"src", "style", "srcset", "action"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for _, a in page.found if "http-equiv" in a)
    assert policy is not None
    digests = {
        kind: b64encode(sha256(page.inline[element].encode()).digest()).decode()
        for kind, element in (("script", "script module"), ("style", "style"))
    }
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digests['script']}'; "
        f"style-src 'sha256-{digests['style']}'; base-uri 'none'; form-action 'none'"
    )


def test_the_script_and_the_style_name_no_address(build: SimpleNamespace) -> None:
    page = Elements(render(build.report(build.planted())))
    own = page.inline["script module"] + page.inline["style"]
    addresses = set(re.findall(r"https?://[\w./]+", own)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval|innerHTML)\b|@import|url\(", own)


def test_markup_of_data_stays_text(build: SimpleNamespace) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror="alert(2)">&amp;'
    ref = {f"{evil}1".replace(" ", ""): evil.split()}
    table = Table(evil, [Column(evil, evil), Column(evil)], [[Cell(evil, note=evil)] * 2], [evil])
    test_set = build.one_set(ref, {evil: ref}, dict.fromkeys(ref, evil), table, evil)
    report = HtmlReport(evil, [(evil, evil)], [test_set, test_set], [evil])
    page = Elements(render(report))
    assert "img" not in {tag for tag, _ in page.found}
    assert [a for tag, a in page.found if tag == "script"] == [
        *[{"type": "application/json", "class": "set-data"}] * 2, {"type": "module"},
    ]  # fmt: skip
    assert page.text.count(evil) > 10


def test_the_tables_are_in_the_page_itself(build: SimpleNamespace) -> None:
    page = Elements(render(build.report(build.planted())))
    assert {"baseline", "25.0", "[10.0, 40.0]", "Intervals are made up."} <= set(page.text)
    values = [a for _, a in page.found if "data-value" in a]
    assert {"data-value": "25.0", "data-low": "10.0", "data-high": "40.0"} in values


def test_the_file_is_utf8_and_the_same_each_time(build: SimpleNamespace, tmp_path: Path) -> None:
    ref = build.texts({"ü": "größe 日本 😀"})
    report = build.report(build.one_set(ref, {"s": ref}), title="Grüße")
    for name in ("a", "b"):
        write_html(tmp_path / name, report)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "größe 日本 😀" in (tmp_path / "a").read_text(encoding="utf-8")
