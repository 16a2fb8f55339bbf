"""How figures are written, the same on the terminal and in Markdown."""

import re
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from asr_kd.score.bootstrap import Interval
from asr_kd.score.wer import WordErrors

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

_GAP = 2  # columns of a terminal between those of a table
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
# What Markdown would not show as it stands. An underscore between letters is no emphasis.
_MARKS = re.compile(r"[\\`*|~]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<=\])[(\[:]|(?<![^\W_])_|_(?![^\W_])")
NONE = "—"
NOT_DEFINED = "not defined"


def percent(value: float, interval: Interval | None = None, digits: int = 1) -> str:
    """A rate in percent, with its 95% interval in brackets: `12.3 [10.1, 14.8]`."""
    text = _hundred(value, digits)
    if interval is None:
        return text
    return f"{text} [{_hundred(interval.low, digits)}, {_hundred(interval.high, digits)}]"


def difference(value: float, interval: Interval, digits: int = 1) -> str:
    """A difference of two rates in percentage points, signed, with its 95% interval."""
    found, low, high = (_hundred(x, digits, "+") for x in (value, *interval))
    return f"{found} [{low}, {high}]"


def _hundred(value: float, digits: int, sign: str = "") -> str:
    """A part of 1 as percent; what is rounded to 0 has no minus."""
    return f"{round(100 * value, digits) + 0.0:{sign}.{digits}f}"


def judged(value: float, interval: Interval, digits: int = 1, inside: bool | None = None) -> str:
    """A difference with its interval, and whether that includes 0 if `inside` does not tell."""
    where = "inside" if (interval.holds(0.0) if inside is None else inside) else "outside"
    return f"{difference(value, interval, digits)} {where} the noise"


def operations(counts: WordErrors | Sequence[float]) -> str:
    """Substitutions/deletions/insertions, of one system or as a mean over several."""
    if isinstance(counts, WordErrors):
        counts = (counts.substitutions, counts.deletions, counts.insertions)
    return "/".join(f"{n:.0f}" if n >= 10 else f"{n:.1f}".removesuffix(".0") for n in counts)


def p_value(p: float | None) -> str:
    """A p-value: `0.032`, `< 0.001`."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def size(value: float, unit: str = "") -> str:
    """A number with three digits and a decimal prefix: `950`, `12.3 k`, `1.25 GB`."""
    for factor, prefix in _UNITS:
        if value >= factor * 0.9995:  # 999.5 k is told as 1 M
            return f"{value / factor:#.3g}".rstrip(".") + f" {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def plural(count: int, name: str) -> str:
    """`1 speaker`, `1,200 speakers`."""
    return f"{count:,} {name}{'s' * (count != 1)}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(escape(cell) for cell in line) + " |\n" for line in lines)


def terminal(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> "TerminalTable":
    """The same table for a terminal: what is in brackets gets its own line.

    Where the terminal is too narrow the columns are shared among several tables, in each of which
    the first column stands.
    """
    return TerminalTable(title, header, [[_broken(cell) for cell in row] for row in rows])


class TerminalTable:
    """Printed by rich; made by `terminal`."""

    def __init__(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._title, self._header, self._rows = title, header, rows
        # A heading is no wider than the figures below it, if its words are not.
        self._widths = [
            max(map(len, [*name.split(), *(line for row in rows for line in row[i].split("\n"))]))
            for i, name in enumerate(header)
        ]

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """One table, or several."""
        title = self._title
        for columns in self._shared(options.max_width):
            yield self._table(title, columns)
            title = ""

    def _shared(self, width: int) -> list[list[int]]:
        """Columns of each table."""
        tables: list[list[int]] = [[0]]
        room = left = width - self._widths[0] - 2 * _GAP
        for i, needed in enumerate(self._widths[1:], start=1):
            if needed + _GAP > left and len(tables[-1]) > 1:
                tables.append([0])
                left = room
            tables[-1].append(i)
            left -= needed + _GAP
        return tables

    def _table(self, title: str, columns: Sequence[int]) -> "Table":
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD,
                      padding=(0, 1, 0, 0), pad_edge=False)  # fmt: skip
        for i in columns:
            name = fill(self._header[i], self._widths[i], break_on_hyphens=False)
            table.add_column(
                Text(name), justify="right" if i else "left", no_wrap=not i, overflow="fold"
            )
        for row in self._rows:
            # As Text, so that a name in brackets is no markup.
            table.add_row(*(Text(row[i]) for i in columns))
        return table


def _broken(cell: str) -> str:
    for word in ("[", "(", "defined", "inside", "outside", "the noise"):
        cell = cell.replace(f" {word}", f"\n{word}")
    return cell.replace(" − ", " −\n").replace(", ", ",")


def escape(text: str) -> str:
    """Text for Markdown, in which it shall read as it stands: `<unk>`, `*x*`, `a|b`."""
    return _MARKS.sub(lambda mark: "\\" + mark[0], text.replace("\n", " "))
