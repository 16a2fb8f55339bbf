"""A page of 20,000 utterances, dark, on a phone."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr_kd.report.html.write import write_html

expect = pytest.importorskip("playwright.sync_api").expect

UTTERANCES = 20_000
FRAMES = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
    () => requestAnimationFrame(done))))"""


@pytest.fixture(scope="module")
def large(build: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "report.html"
    rates = {"baseline": 0.12, "ensemble": 0.08, "student": 0.09}
    write_html(file, build.report(build.random_set(UTTERANCES, 10, rates)))
    return file


class Clock:
    """CPU time of a page's process, which others on the machine cannot make longer."""

    def __init__(self, page) -> None:
        self.session = page.context.new_cdp_session(page)
        self.session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds(self, of: str = "ProcessTime") -> float:
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == of)


def test_20000_utterances_open_in_two_seconds(large: Path, browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    clock = Clock(page)
    before = clock.seconds()
    page.goto(f"file://{large}")
    assert clock.seconds() - before < 2
    expect(page.locator("#count")).to_have_text("20,000 utterances")
    assert page.locator("article").count() > 0
    context.close()


def test_only_what_is_seen_is_made_and_nothing_overlaps(large: Path, open_report) -> None:
    page = open_report(large)
    places = """[...document.querySelectorAll("article")].map(article => {
        const box = article.getBoundingClientRect();
        const inner = [...article.querySelectorAll("table")].map(t => t.getBoundingClientRect());
        return [box.top, box.bottom, Math.max(...inner.map(b => b.bottom)),
                Math.max(...inner.map(b => b.right)), Number(article.ariaPosInSet)];
    })"""
    for share in (0.1, 0.5, 0.9, 1.0):
        page.evaluate(f"scrollTo(0, document.body.scrollHeight * {share})")
        page.evaluate(FRAMES)
        boxes = page.evaluate(places)
        assert 4 < len(boxes) < 120
        assert [box[4] for box in boxes] == list(range(boxes[0][4], boxes[0][4] + len(boxes)))
        assert boxes[0][0] < 0  # the screen is full
        assert boxes[-1][1] > 700
        for before, after in pairwise(boxes):
            assert abs(before[1] - after[0]) < 0.1
        for _, bottom, inner, right, _ in boxes:
            assert inner <= bottom
            assert right <= 1280
    assert boxes[-1][4] == UTTERANCES


def test_scrolling_is_smooth(large: Path, open_report) -> None:
    page = open_report(large, at="#utterances")
    clock = Clock(page)
    before, steps = clock.seconds("ThreadTime"), 40
    for _ in range(steps):
        page.evaluate("scrollBy(0, 400), new Promise(requestAnimationFrame)")
    assert (clock.seconds("ThreadTime") - before) / steps < 0.016  # a frame at 60 Hz


def test_a_search_of_20000_utterances(large: Path, open_report) -> None:
    page = open_report(large)
    page.get_by_label("Search").fill("spk07-000007")
    expect(page.locator("#count")).to_have_text("1 of 20,000 utterances", timeout=60_000)
    expect(page.locator("article")).to_have_count(1)


def test_above_the_limit_the_page_says_what_is_left_out(
    build: SimpleNamespace, open_report, tmp_path: Path
) -> None:
    test_set = build.random_set(400, 5, {"a": 0.1})
    erring = int((test_set.systems[0].runs[0].alignments.counts()[:, 1:].sum(1) > 0).sum())
    for limit, said in {
        400: None,
        399: f"{erring} utterances of 400 are in this page: those with errors",
        50: f"50 utterances of 400 are in this page: of those with errors ({erring})",
    }.items():
        file = tmp_path / f"{limit}.html"
        write_html(file, build.report(test_set), limit)
        page = open_report(file)
        note = page.locator("#left-out")
        assert note.is_visible() == (said is not None)
        assert said is None or said in note.inner_text()
        words = sum(map(len, test_set.ref.values()))
        page.get_by_role("button", name="Show all 40").click()
        figures = page.locator("#speakers tbody tr td:nth-child(4)").all_inner_texts()
        assert sum(map(int, figures)) == words


def luminance(page, selector: str, what: str) -> float:
    colour = page.evaluate(
        "([selector, what]) => getComputedStyle(document.querySelector(selector))[what]",
        [selector, what],
    )
    parts = colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (float(part) / 255 for part in parts)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_higher_window_shows_more(large: Path, open_report) -> None:
    page = open_report(large, at="#utterances", viewport={"width": 1280, "height": 400})
    few = page.locator("article").count()
    page.set_viewport_size({"width": 1280, "height": 1200})
    expect(page.locator("article").nth(few + 2)).to_be_attached()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_have_enough_contrast(
    scheme: str, build: SimpleNamespace, open_report
) -> None:
    page = open_report(build.report(build.planted()), color_scheme=scheme)
    paper = luminance(page, "body", "backgroundColor")
    assert (paper > 0.8) if scheme == "light" else (paper < 0.05)
    behind = dict.fromkeys(["h1", "nav a", "article .right", "article th .name", "#count"], "body")
    behind |= {f"#filters .key .{kind}": f"#filters .key .{kind}" for kind in "XDI"}
    behind |= {"#figures .note": ".panel", "#figures thead th": ".panel", ".interval": ".panel"}
    for selector, ground in behind.items():
        pair = (
            luminance(page, selector, "color"), luminance(page, ground, "backgroundColor"),
        )  # fmt: skip
        contrast = (max(pair) + 0.05) / (min(pair) + 0.05)
        assert contrast >= 4.5, f"{selector}: {contrast:.2f}"


def test_on_a_phone_nothing_is_wider_than_the_screen(build: SimpleNamespace, open_report) -> None:
    test_set = build.random_set(50, 10, {"a-system-of-a-long-name": 0.3, "b": 0.2})
    page = open_report(
        build.report(test_set), viewport=build.phone, has_touch=True, is_mobile=True,
        at="#utt=spk05-000005",
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("visualViewport.width") == 390
    rights = page.eval_on_selector_all(
        "article table", "all => all.map(e => e.getBoundingClientRect().right)"
    )
    assert max(rights) <= 390


def test_on_a_desk_the_page_does_not_scroll_sideways(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_lines_are_broken_anew_when_the_window_changes(build: SimpleNamespace, open_report) -> None:
    ref = {"u": ["word"] * 60}
    page = open_report(build.report(build.one_set(ref, {"s": {"u": ["word"] * 59}})))
    assert page.locator("article table").count() > 1
    wide = page.locator("article table").count()
    page.set_viewport_size(build.phone)
    expect(page.locator("article table")).not_to_have_count(wide)
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator("article table")).to_have_count(wide)
