"""Small reports, and a browser that says what a page did."""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr_kd.report.html.model import (
    Cell,
    Column,
    HtmlReport,
    HtmlRun,
    HtmlSet,
    HtmlSystem,
    Table,
)
from asr_kd.report.html.write import write_html
from asr_kd.score.alignment import align
from asr_kd.score.text import Text

CHROMIUM = "/usr/bin/chromium"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def texts(lines: Mapping[str, str]) -> dict[str, list[str]]:
    return {utt_id: line.split() for utt_id, line in lines.items()}


def run(ref: Text, hyp: Text, name: str = "") -> HtmlRun:
    return HtmlRun(name, hyp, align(ref, hyp))


def figures(**rates: tuple[float, float, float]) -> Table:
    columns = [Column("system", text=True), Column("WER %", "Word errors", plot=True)]
    rows = [
        [Cell(name), Cell(f"{value} [{low}, {high}]", value, low, high)]
        for name, (value, low, high) in rates.items()
    ]
    return Table("Systems", columns, rows, ["Intervals are made up."])


def one_set(
    ref: Text,
    systems: Mapping[str, Text],
    utt2spk: Mapping[str, str] | None = None,
    table: Table | None = None,
    name: str = "test",
) -> HtmlSet:
    tables = [table] if table else []
    made = [HtmlSystem(name, [run(ref, hyp)]) for name, hyp in systems.items()]
    return HtmlSet(name, ref, made, tables, utt2spk)


def planted() -> HtmlSet:
    """Four utterances of two speakers; every kind of error is in one place that is known."""
    ref = texts({"a-1": "one two three", "a-2": "four five", "b-1": "six seven eight", "b-2": ""})
    baseline = texts({"a-1": "one too three", "a-2": "four five", "b-1": "six eight", "b-2": ""})
    student = texts(
        {"a-1": "one two three", "a-2": "four five", "b-1": "six seven oh eight", "b-2": ""}
    )
    utt2spk = {utt_id: utt_id[0] for utt_id in ref}
    table = figures(baseline=(25.0, 10.0, 40.0), student=(12.5, 5.0, 20.0), other=(9.0, 8.0, 10.0))
    return one_set(ref, {"baseline": baseline, "student": student}, utt2spk, table)


def noisy(ref: Text, rate: float, rng: random.Random, vocabulary: list[str]) -> Text:
    """Each word replaced, left out or doubled with probability `rate` in all."""
    hyp: dict[str, list[str]] = {}
    for utt_id, words in ref.items():
        out: list[str] = []
        for word in words:
            chance = rng.random() / rate
            out += (
                [rng.choice(vocabulary)] if chance < 0.5
                else [] if chance < 0.75
                else [word, rng.choice(vocabulary)] if chance < 1
                else [word]
            )  # fmt: skip
        hyp[utt_id] = out
    return hyp


def random_set(utterances: int, words: int, rates: Mapping[str, float], seed: int = 0) -> HtmlSet:
    rng = random.Random(seed)
    letters = "abdeghiklmnoprstu"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(2_000)]
    ref = {
        f"spk{i % 40:02d}-{i:06d}": rng.choices(vocabulary, k=rng.randint(1, 2 * words - 1))
        for i in range(utterances)
    }
    systems = {name: noisy(ref, rate, rng, vocabulary) for name, rate in rates.items()}
    table = figures(**{name: (100 * r, 90 * r, 110 * r) for name, r in rates.items()})
    return one_set(ref, systems, {utt_id: utt_id[:5] for utt_id in ref}, table)


def report(*sets: HtmlSet, title: str = "A report") -> HtmlReport:
    return HtmlReport(
        title,
        [("Normaliser", "none, version 1"), ("Command", f"a \\\n  {'b ' * 200}")],
        sets,
        ["A note."],
    )


@pytest.fixture(scope="session")
def build() -> SimpleNamespace:
    """The functions above, for tests."""
    return SimpleNamespace(
        texts=texts, run=run, figures=figures, one_set=one_set, planted=planted,
        random_set=random_set, report=report, phone=PHONE,
    )  # fmt: skip


@dataclass
class Visit:
    """An open page, and what it should not have done."""

    page: object
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api")
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"no {CHROMIUM}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., object]


@pytest.fixture
def open_report(browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a report from disk; afterwards no page may have complained or asked the network."""
    visits: list[Visit] = []
    contexts = []

    def opened(content: HtmlReport | Path, at: str = "", scripts: bool = True, **context: object):
        file = content
        if isinstance(content, HtmlReport):
            file = tmp_path / f"report{len(visits)}.html"
            write_html(file, content)
        context.setdefault("viewport", DESK)
        made = browser.new_context(java_script_enabled=scripts, **context)
        contexts.append(made)
        page = made.new_page()
        page.set_default_timeout(60_000)
        visit = Visit(page)
        visits.append(visit)
        page.on("console", lambda message: visit.problems.append(message.text))
        page.on("pageerror", lambda error: visit.problems.append(str(error)))
        page.on("request", lambda request: visit.requests.append(request.url))
        page.goto(f"file://{file}{at}")
        return page

    yield opened
    for context in contexts:
        context.close()
    for visit in visits:
        assert visit.problems == []
        assert [url for url in visit.requests if not url.startswith("file://")] == []
        assert len(set(visit.requests)) == 1
