import io
import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from asr_kd.report.table import difference, escape, markdown, operations, percent, size, terminal
from asr_kd.score.bootstrap import Interval
from asr_kd.score.wer import WordErrors


def test_figures() -> None:
    assert percent(0.1234) == "12.3"
    assert percent(0.1234, Interval(0.1, 0.15), 2) == "12.34 [10.00, 15.00]"
    assert difference(-0.012, Interval(-0.03, 0.004)) == "-1.2 [-3.0, +0.4]"
    assert difference(-0.0001, Interval(-0.0004, 0.0003)) == "+0.0 [+0.0, +0.0]"  # no -0.0
    assert percent(-0.0001, Interval(-0.0004, 0.0003)) == "0.0 [0.0, 0.0]"
    assert operations(WordErrors(1, 20, 3, 100)) == "1/20/3"
    assert operations((1.25, 20.4, 0.0)) == "1.2/20/0"
    assert [size(n) for n in (950, 12_345, 1_250_000)] == ["950", "12.3 k", "1.25 M"]


def test_markdown_of_awkward_names() -> None:
    assert markdown(("system", "WER %"), [("a|b", "1.0")]) == (
        "| system | WER % |\n| --- | ---: |\n| a\\|b | 1.0 |\n"
    )


@pytest.mark.parametrize(
    "text",
    ["<unk>", "*x* **y**", "_x_ a_b_c __d__", "`q`", "a\\*", "[a](b) [c][d] [e]: f",
     "&amp; &#42; & a", "~~x~~", "a|b", "< 0.001", "12.3 [10.1, 14.8]", "<!-- x -->", "x\\"],
)  # fmt: skip
def test_what_is_escaped_reads_as_it_stands(text: str) -> None:
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(markdown(("a", "b"), [("x", text)]))
    assert unescape(re.findall("<td[^>]*>(.*?)</td>", shown)[1]) == text
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(f"- {escape(text)}\n")
    assert unescape(re.findall("<li>(.*?)</li>", shown)[0]) == text


@given(st.text("ab*_`~|<>[]()!&;#\\-1. ", min_size=1).map(str.strip).filter(bool))
def test_any_text_reads_as_it_stands(text: str) -> None:
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(f"Name: {escape(text)}\n")
    assert unescape(re.sub("</?p>", "", shown)).rstrip("\n") == f"Name: {text}"


def test_terminal_fits_80_columns_and_is_no_markup() -> None:
    row = (
        "hard-student",
        "64.5 [61.4, 67.3]",
        "[red]40[/red]",
        "-4.0 [-4.2, -3.9] inside the noise",
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal("T", ("system", "a", "b", "c"), [row]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("hard-student", "[61.4,67.3]", "[red]40[/red]", "inside", "the noise"):
        assert text in shown


def test_columns_that_do_not_fit_go_into_another_table() -> None:
    header = ("system", *(f"rate {i}" for i in range(9)))
    rows = [("a", *(f"{i}2.3 [11.5, 13.9]" for i in range(9)))]
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal("T", header, rows))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert [line.count("rate") for line in lines if "system" in line] == [5, 4]
    assert sum(line.count("[11.5,13.9]") for line in lines) == 9
    assert sum(line.strip() == "T" for line in lines) == 1
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal("T", header, rows))
    assert console.file.getvalue().count("system") == 1  # type: ignore[attr-defined]
