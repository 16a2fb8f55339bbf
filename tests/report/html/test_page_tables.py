"""Figures, speakers and words in a real browser."""

from types import SimpleNamespace

import pytest

from asr_kd.report.html.model import Cell, Column, HtmlReport, HtmlRun, HtmlSet, HtmlSystem, Table

expect = pytest.importorskip("playwright.sync_api").expect


def first_column(page, table: str = "#figures table") -> list[str]:
    return page.locator(f"{table} tbody tr > :first-child").all_inner_texts()


def sort_button(page, table: str, name: str):
    return page.locator(table).get_by_role("button", name=name, exact=True)


def test_a_click_sorts_and_another_turns_it_round(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    assert first_column(page) == ["baseline", "student", "other"]
    button = sort_button(page, "#figures", "WER %")
    button.click()
    assert first_column(page) == ["other", "student", "baseline"]
    heading = page.locator("#figures th[aria-sort]")
    assert heading.get_attribute("aria-sort") == "ascending"
    button.click()
    assert first_column(page) == ["baseline", "student", "other"]
    assert heading.get_attribute("aria-sort") == "descending"
    sort_button(page, "#figures", "system").click()
    assert first_column(page) == ["baseline", "other", "student"]
    assert page.locator("#figures th[aria-sort]").count() == 1


def test_sorting_by_keyboard(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    sort_button(page, "#figures", "system").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "WER %"
    page.keyboard.press("Enter")
    assert first_column(page) == ["other", "student", "baseline"]


def test_what_has_no_value_stays_last(build: SimpleNamespace, open_report) -> None:
    rows = [[Cell("none"), Cell("—")], [Cell("two"), Cell("2", 2.0)], [Cell("ten"), Cell("10", 10)]]
    table = Table("T", [Column("system", text=True), Column("n", plot=True)], rows)
    ref = build.texts({"u": "a"})
    page = open_report(build.report(build.one_set(ref, {"s": ref}, table=table)))
    sort_button(page, "#figures", "n").click()
    assert first_column(page) == ["two", "ten", "none"]
    sort_button(page, "#figures", "n").click()
    assert first_column(page) == ["ten", "two", "none"]


def test_whiskers_are_where_the_figures_are(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    drawn = page.eval_on_selector_all(
        "#figures tbody td.plot svg",
        """all => all.map(svg => {
            const whisker = svg.querySelector(".whisker").getBBox();
            const dot = Number(svg.querySelector(".dot").getAttribute("cx"));
            return [whisker.x, dot, whisker.x + whisker.width, svg.getAttribute("aria-label")];
        })""",
    )
    values = [(10.0, 25.0, 40.0), (5.0, 12.5, 20.0), (8.0, 9.0, 10.0)]
    pixels = [x for row in drawn for x in row[:3]]
    numbers = [value for row in values for value in row]
    slope = (pixels[2] - pixels[0]) / (numbers[2] - numbers[0])
    start = pixels[0] - slope * numbers[0]
    assert slope > 1
    for x, number in zip(pixels, numbers, strict=True):
        assert abs(start + slope * number - x) < 0.6
    assert drawn[0][3] == "WER %: 25.0[10.0, 40.0]"


def test_the_reader_chooses_what_is_plotted(build: SimpleNamespace, open_report) -> None:
    columns = [Column("system"), Column("a", plot=True), Column("b", plot=True)]
    rows = [
        [Cell("x"), Cell("1", 1.0), Cell("20", 20.0)],
        [Cell("y"), Cell("3", 3.0), Cell("10", 10.0)],
    ]
    ref = build.texts({"u": "a"})
    page = open_report(
        build.report(build.one_set(ref, {"s": ref}, table=Table("T", columns, rows)))
    )
    dots = "#figures .dot"
    x, y = page.eval_on_selector_all(dots, "all => all.map(e => Number(e.getAttribute('cx')))")
    assert x < y
    page.get_by_label("What is plotted").select_option("b")
    x, y = page.eval_on_selector_all(dots, "all => all.map(e => Number(e.getAttribute('cx')))")
    assert x > y


def test_speakers_have_a_dot_for_each_system_and_lead_to_their_utterances(
    build: SimpleNamespace, open_report
) -> None:
    page = open_report(build.report(build.planted()))
    rows = page.locator("#speakers tbody tr")
    assert rows.count() == 2
    cells = rows.nth(0).locator("th, td").all_inner_texts()
    assert [cells[0], *cells[2:]] == ["b", "2", "3", "33.33", "33.33"]  # 1 of 3 words, twice
    assert rows.nth(1).locator("svg").get_attribute("aria-label") == (
        "a: baseline: 20.00 %, student: 0.00 %"
    )
    assert rows.nth(1).locator("svg .mark").count() == 2
    page.get_by_role("button", name="a", exact=True).click()
    expect(page.locator("#count")).to_have_text("2 of 4 utterances")
    expect(page.locator("article h3 a")).to_have_text(["a-1", "a-2"])


def test_without_speakers_there_is_no_such_part(build: SimpleNamespace, open_report) -> None:
    ref = build.texts({"u": "a"})
    page = open_report(build.report(build.one_set(ref, {"s": ref})))
    assert not page.locator("#speakers").is_visible()
    assert not page.get_by_role("link", name="Speakers").is_visible()


def test_many_speakers_are_shown_on_request(build: SimpleNamespace, open_report) -> None:
    ref = {f"{i}": ["a"] for i in range(500)}
    page = open_report(build.report(build.one_set(ref, {"s": ref}, {utt: utt for utt in ref})))
    assert page.locator("#speakers tbody tr").count() == 20
    page.get_by_role("button", name="Show all 500").click()
    assert page.locator("#speakers tbody tr").count() == 500


def test_lists_of_words_and_the_way_to_their_utterances(
    build: SimpleNamespace, open_report
) -> None:
    page = open_report(build.report(build.planted()))

    def rows() -> list[list[str]]:
        found = page.locator("#words tbody tr")
        return [found.nth(i).locator("th, td").all_inner_texts() for i in range(found.count())]

    assert rows() == [["two", "too", "1", "0", "1"]]
    page.get_by_label("Deleted").check()
    assert rows() == [["seven", "1", "0", "1"]]
    page.get_by_label("Inserted").check()
    assert rows() == [["oh", "0", "1"]]
    page.get_by_label("Substituted").check()
    assert rows() == [["two", "1", "0", "1"]]
    page.get_by_label("Inserted").check()
    page.get_by_role("button", name="oh", exact=True).click()
    assert page.locator("article h3 a").all_inner_texts() == ["b-1"]
    assert page.get_by_label("Hypothesis word").input_value() == "oh"


def test_systems_can_be_left_out(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    page.get_by_role("checkbox", name="student").uncheck()
    assert page.locator("#speakers tbody tr").nth(0).locator("svg .mark").count() == 1
    assert page.locator("article[aria-label='b-1'] .name").all_inner_texts() == [
        "reference", "baseline",
    ]  # fmt: skip
    page.get_by_label("Systems differ").check()
    assert page.locator("article").count() == 0


def test_several_sets_and_runs(build: SimpleNamespace, open_report) -> None:
    ref = build.texts({"u": "a b"})
    runs = [build.run(ref, build.texts({"u": f"a {name}"}), name) for name in ("m1", "m2")]
    system = HtmlSystem("student", runs)
    noisy = HtmlSet("noisy", ref, [system], [], None, " PARTIAL 1/2", ["PARTIAL: 1 of 2"])
    sets = [HtmlSet("clean", ref, [system], []), noisy]
    page = open_report(HtmlReport("Two", [], sets))
    assert page.locator("article .X").all_text_contents() == ["m1 (substituted)"]
    assert page.locator("#words-title").inner_text() == "Words"
    assert not page.get_by_text("PARTIAL: 1 of 2").is_visible()
    assert page.locator("article .name").all_inner_texts() == ["reference", "student · m1"]
    assert not page.get_by_label("Seed").is_visible()
    page.get_by_label("Run").select_option("2")
    assert page.locator("article .X").all_text_contents() == ["m2 (substituted)"]
    page.get_by_label("Run").select_option("all")
    assert page.locator("article .name").all_inner_texts() == [
        "reference", "student · m1", "student · m2",
    ]  # fmt: skip
    page.get_by_label("Test set").select_option("noisy")
    assert page.get_by_text("PARTIAL: 1 of 2").is_visible()
    for name in ("Words", "Utterances"):
        heading = page.locator(f"#{name.lower()}-title")
        assert heading.inner_text() == f"{name} PARTIAL 1/2"
    page.locator("article a").click()
    assert page.url.endswith("#set=noisy&utt=u")


def test_runs_side_by_side_are_of_one_seed(build: SimpleNamespace, open_report) -> None:
    ref = build.texts({"u": "a b"})

    def system(name: str, seeds: list[str | None]) -> HtmlSystem:
        runs = []
        for k, seed in enumerate(seeds):
            made = build.run(ref, build.texts({"u": f"a {name[0]}{k}"}), f"seed {seed}, run {k}")
            runs.append(HtmlRun(made.name, made.hyp, made.alignments, seed))
        return HtmlSystem(name, runs)

    systems = [
        system("gmm", [None]),
        system("teacher", ["1", "1", "2", "2"]),
        system("student", ["2", "1"]),
    ]  # fmt: skip
    page = open_report(HtmlReport("T", [], [HtmlSet("test", ref, systems, [])]))

    def shown() -> list[str]:
        return [text.split()[0] for text in page.locator("article .X").all_text_contents()]

    assert page.locator("#seed option").all_inner_texts() == ["1", "2", "all"]
    assert page.locator("#run option").all_inner_texts() == ["1", "2", "all"]
    assert shown() == ["g0", "t0", "s1"]
    assert page.locator("article .name").all_inner_texts() == [
        "reference", "gmm", "teacher · seed 1, run 0", "student · seed 1, run 1",
    ]  # fmt: skip
    page.locator("#seed").select_option("2")
    assert shown() == ["g0", "t2", "s0"]
    page.locator("#run").select_option("2")
    assert shown() == ["g0", "t3", "s0"]
    page.locator("#run").select_option("all")
    assert shown() == ["g0", "t2", "t3", "s0"]
    page.locator("#seed").select_option("all")
    assert shown() == ["g0", "t0", "t1", "t2", "t3", "s0", "s1"]


def test_a_table_says_what_is_plotted_at_first(build: SimpleNamespace, open_report) -> None:
    columns = [Column("system", text=True), Column("accuracy", plot=True),
               Column("WER %", plot=True, first=True)]  # fmt: skip
    table = Table("Systems", columns, [[Cell("a"), Cell("70", 70), Cell("12", 12)]])
    ref = build.texts({"u": "a b"})
    page = open_report(build.report(build.one_set(ref, {"a": ref}, None, table)))
    chooser = page.get_by_label("What is plotted")
    assert chooser.evaluate("s => s.selectedOptions[0].text") == "WER %"
    assert "WER %" in page.locator("#figures td.plot svg").get_attribute("aria-label")
    chooser.select_option("accuracy")
    assert "accuracy" in page.locator("#figures td.plot svg").get_attribute("aria-label")


def test_a_command_keeps_its_lines(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    block = page.locator(".facts .block")
    assert block.locator("dd").inner_text().startswith("a \\\n  b b")
    assert block.bounding_box()["width"] > 800


def test_without_scripts_the_tables_are_there(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()), scripts=False)
    assert first_column(page) == ["baseline", "student", "other"]
    assert page.locator("noscript p").is_visible()
    assert not page.locator("#utterances").is_visible()
