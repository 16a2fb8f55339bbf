"""The list of utterances in a real browser."""

import re
from types import SimpleNamespace

import pytest

expect = pytest.importorskip("playwright.sync_api").expect


def shows(page, utt_ids: list[str]) -> None:
    """Waits: what is typed takes effect after a moment."""
    expect(page.locator("article h3 a")).to_have_text(utt_ids)


def test_words_stand_under_those_of_the_reference(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    rows = page.locator("article[aria-label='b-1'] tr")
    words = [rows.nth(i).locator("td").all_text_contents() for i in range(3)]
    assert words == [
        ["six", "seven", "", "eight"],
        ["six", "– (deleted)", "", "eight"],
        ["six", "seven", "oh (inserted)", "eight"],
    ]
    assert rows.locator(".n").all_inner_texts() == ["1", "1"]
    lefts = page.evaluate(
        """[...document.querySelectorAll("article[aria-label='b-1'] tr")].map(
            row => [...row.cells].map(cell => cell.getBoundingClientRect().left))"""
    )
    assert lefts[0] == lefts[1] == lefts[2]


def test_an_utterance_that_all_have_right_is_its_reference(
    build: SimpleNamespace, open_report
) -> None:
    page = open_report(build.report(build.planted()))
    article = page.locator("article[aria-label='a-2']")
    assert article.locator("tr").count() == 1
    assert "all right" in article.inner_text()


def test_only_errors_only_differences(build: SimpleNamespace, open_report) -> None:
    ref = build.texts({"right": "a", "both": "a", "one": "a", "other": "a"})
    first = build.texts({"right": "a", "both": "b", "one": "b", "other": "b"})
    second = build.texts({"right": "a", "both": "b", "one": "a", "other": "c"})
    page = open_report(build.report(build.one_set(ref, {"first": first, "second": second})))
    page.get_by_label("With errors").check()
    shows(page, ["both", "one", "other"])
    expect(page.locator("#count")).to_have_text("3 of 4 utterances")
    page.get_by_label("Systems differ").check()
    shows(page, ["one", "other"])
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("article")).to_have_count(4)


def test_search_goes_through_ids_references_and_hypotheses(
    build: SimpleNamespace, open_report
) -> None:
    page = open_report(build.report(build.planted()))
    search = page.get_by_label("Search")
    for typed, found in {
        "b-": ["b-1", "b-2"], "FOUR five": ["a-2"], "one too three": ["a-1"],
        "seven oh": ["b-1"], "six eight": ["b-1"],
    }.items():  # fmt: skip
        search.fill(typed)
        expect(page.locator("article h3 a")).to_have_text(found)
    search.fill("nowhere")
    page.get_by_text("No utterance is like this.").wait_for()
    shows(page, [])


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"Error": "deletion"}, ["b-1"]),
        ({"Error": "substitution"}, ["a-1"]),
        ({"Reference word": "seven"}, ["b-1"]),
        ({"Reference word": "six"}, []),
        ({"Reference word": "two", "Hypothesis word": "too"}, ["a-1"]),
        ({"Reference word": "two", "Hypothesis word": "three"}, []),
        ({"Wrong in": "student"}, ["b-1"]),
        ({"Wrong in": "baseline", "Right in": "student"}, ["a-1", "b-1"]),
        ({"Right in": "baseline"}, ["b-1"]),
        ({"Speaker": "b", "Error": "substitution"}, []),
    ],
)
def test_filters(filters: dict, found: list[str], build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    page.get_by_text("More filters").click()
    for label, value in filters.items():
        control = page.locator("#more").get_by_label(label)
        if label.endswith("word"):
            control.fill(value)
            control.blur()
        else:
            control.select_option(value)
    shows(page, found)


def test_wrong_in_one_and_right_in_the_other_is_of_the_same_word(
    build: SimpleNamespace, open_report
) -> None:
    ref = build.texts({"same": "a b", "other": "a b"})
    student = build.texts({"same": "x b", "other": "x b"})
    ensemble = build.texts({"same": "y b", "other": "a y"})
    page = open_report(build.report(build.one_set(ref, {"ensemble": ensemble, "student": student})))
    page.get_by_text("More filters").click()
    page.get_by_label("Wrong in").select_option("student")
    page.get_by_label("Right in").select_option("ensemble")
    shows(page, ["other"])


def test_orders(build: SimpleNamespace, open_report) -> None:
    ref = build.texts({"u10": "a b c d e f", "u9": "a", "u8": "a b c d"})
    one = build.texts({"u10": "a b c d x y", "u9": "x", "u8": "a b c d"})
    two = build.texts({"u10": "a b c d x y", "u9": "x", "u8": "a b c x"})
    page = open_report(build.report(build.one_set(ref, {"one": one, "two": two})))
    order = page.get_by_label("Order")
    for choice, expected in {
        "by id": ["u8", "u9", "u10"],
        "most errors first": ["u10", "u9", "u8"],
        "highest rate first": ["u9", "u10", "u8"],
        "greatest difference first": ["u8", "u10", "u9"],
        "of the reference": ["u10", "u9", "u8"],
    }.items():
        order.select_option(choice)
        shows(page, expected)


def test_a_link_leads_to_an_utterance_whatever_is_filtered(
    build: SimpleNamespace, open_report
) -> None:
    large = build.random_set(1_500, 8, {"a": 0.2, "b": 0.1})
    page = open_report(build.report(large), at="#utt=spk10-000730")
    target = page.locator("article.target")
    assert target.get_attribute("aria-label") == "spk10-000730"
    assert page.evaluate("document.activeElement.textContent") == "spk10-000730"
    top = target.bounding_box()["y"]
    assert page.locator("#filters").bounding_box()["height"] <= top < 300
    page.get_by_label("Search").fill("spk11")
    page.get_by_text(re.compile("^38 of 1,500 utterances$")).wait_for()
    page.evaluate("location.hash = 'utt=spk02-000002'")
    page.locator("article.target[aria-label='spk02-000002']").wait_for()
    assert page.get_by_label("Search").input_value() == ""


def test_ids_of_any_kind_have_links(build: SimpleNamespace, open_report) -> None:
    ids = ["a/b#c", "50%", "ä+b", "x&utt=y", '"<b>"', "日本"]
    ref = {utt_id: ["w"] for utt_id in ids}
    page = open_report(build.report(build.one_set(ref, {"s": ref})))
    for utt_id in ids:
        page.get_by_role("link", name=utt_id, exact=True).click()
        expect(page.locator("article.target")).to_have_attribute("aria-label", utt_id)
        page.reload()
        expect(page.locator("article.target")).to_have_attribute("aria-label", utt_id)


def test_a_link_typed_by_hand(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.one_set({"a+b": ["w"]}, {})), at="#utt=a+b")
    expect(page.locator("article.target")).to_have_attribute("aria-label", "a+b")


def test_a_link_to_what_is_not_there_says_so(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()), at="#utt=nobody")
    assert page.get_by_text("Utterance nobody is not in this page.").is_visible()


def test_by_keyboard_alone(build: SimpleNamespace, open_report) -> None:
    page = open_report(build.report(build.planted()))
    page.get_by_label("Search").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # from All to With errors
    shows(page, ["a-1", "b-1"])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # opens the filters
    assert page.get_by_label("Reference word").is_visible()
    page.wait_for_timeout(500)  # on a loaded machine the list is laid out anew a moment later
    while page.evaluate("document.activeElement.id") != "clear":
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "a-1"
    page.keyboard.press("PageDown")
    expect(page.locator(":focus")).to_have_text("b-1")
    page.keyboard.press("PageUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**#utt=a-1")


def test_markup_in_transcripts_is_shown_as_it_is(build: SimpleNamespace, open_report) -> None:
    evil = [
        "</script><script>document.title=1</script>", "<!--", "<img/src=x/onerror=alert(1)>",
        "&amp;", "\u202eabc", "'\"`${1}", "\\u003c", "]]>", "__proto__", "constructor",
    ]  # fmt: skip
    ref = {"</script>": evil, "__proto__": ["x"]}
    hyp = {"</script>": evil[::-1], "__proto__": ["constructor"]}
    page = open_report(build.report(build.one_set(ref, {"<i>s</i>": hyp}), title="<b>T</b>"))
    assert page.title() == "<b>T</b>"
    words = page.locator("article >> nth=0 >> tr.reference td").all_inner_texts()
    assert [word for word in words if word] == evil
    assert page.locator("img, i, b").count() == 0
    page.get_by_label("Search").fill("<!--")
    expect(page.locator("article")).to_have_count(1)
    page.locator("#words tbody button").first.click()
    assert page.locator("article").count() == 1


def test_words_of_any_script_do_not_overlap(build: SimpleNamespace, open_report) -> None:
    words = ["日本語", "العربية", "हिन्दी", "😀😀😀", "é", "ﬀ", "word", "Ωμέγα"] * 6
    ref = {"u": words}
    page = open_report(build.report(build.one_set(ref, {"s": {"u": words[1:]}})))
    inside = page.evaluate(
        """[...document.querySelectorAll("article table")].map(table =>
            [table.getBoundingClientRect().right, document.getElementById("list").clientWidth])"""
    )
    assert len(inside) > 1
    assert all(right <= width + 40 for right, width in inside)


def test_an_utterance_of_10000_words_is_made_as_it_is_seen(
    build: SimpleNamespace, open_report
) -> None:
    ref = {"long": [f"w{i}" for i in range(10_000)], "next": ["a"]}
    hyp = {"long": [w for i, w in enumerate(ref["long"]) if i % 7], "next": ["b"]}
    page = open_report(build.report(build.one_set(ref, {"s": hyp})))
    assert 1 < page.locator("article table").count() < 80
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    page.locator("article td").get_by_text(re.compile("^w5...$")).first.wait_for()
    assert page.locator("article table").count() < 160
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("article[aria-label='next']").wait_for()
