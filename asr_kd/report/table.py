"""How figures are written, the same on the terminal and in Markdown."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from asr_kd.score.bootstrap import Interval
from asr_kd.score.wer import WordErrors

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

_GAP = 2  # columns of a terminal between those of a table
NONE = "—"
NOT_DEFINED = "not defined"


def percent(value: float, interval: Interval | None = None, digits: int = 1) -> str:
    """A rate in percent, with its 95% interval in brackets: `12.3 [10.1, 14.8]`."""
    text = f"{100 * value:.{digits}f}"
    if interval is None:
        return text
    return f"{text} [{100 * interval.low:.{digits}f}, {100 * interval.high:.{digits}f}]"


def difference(value: float, interval: Interval, digits: int = 1) -> str:
    """A difference of two rates in percentage points, signed, with its 95% interval."""
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def judged(value: float, interval: Interval, digits: int = 1) -> str:
    """A difference with its interval, and whether the interval includes 0."""
    where = "inside" if interval.holds(0.0) else "outside"
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


def size(parameters: float) -> str:
    """A number of parameters: `950`, `12.3 k`, `1.25 M`."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g} {name}"
    return f"{parameters:.0f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(_escape(cell) for cell in line) + " |\n" for line in lines)


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


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
