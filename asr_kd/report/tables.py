"""The tables of `compare`: made once, shown on the terminal, in RESULTS.md and in report.html."""

import math
from collections.abc import Sequence

from asr_kd.report.html.model import Cell, Column, Table
from asr_kd.report.pairs import Pair
from asr_kd.report.statistics import BASELINE, ENSEMBLE, TEACHER, Estimate, Row
from asr_kd.report.table import (
    NONE,
    NOT_DEFINED,
    difference,
    judged,
    operations,
    p_value,
    percent,
    size,
)
from asr_kd.score.bootstrap import Interval
from asr_kd.score.join import Partial

EMPTY = Cell(NONE)
TESTS = {"mapsswe": "MAPSSWE", "mcnemar": "McNemar", "wilcoxon": "Wilcoxon", "sign": "sign"}
"""Tests that have a column, with their names; the bootstrap's is the difference's interval."""


def systems_table(title: str, rows: Sequence[Row], partial: Partial | None) -> Table:
    """A row for each system; columns of what no system has are left out.

    Args:
        title: its heading.
        rows: of `Statistics`.
        partial: stands in the heading of every figure over words.
    """
    of = partial_mark(partial)
    any_paths = any(row.partial is not None and row.partial[0] for row in rows)
    columns: list[tuple[Column, list[Cell]]] = [
        (Column("system", text=True), [Cell(_name(row)) for row in rows]),
        (
            Column("frame acc%", "Frames whose most probable label is the aligned one.", plot=True),
            [EMPTY if row.frame_accuracy is None else rate(row.frame_accuracy) for row in rows],
        ),
        (
            Column(f"WER %{of}", "Word error rate with its 95% interval.", plot=True),
            [rate(row.wer) for row in rows],
        ),
        (
            Column("S/D/I", "Substituted, deleted and inserted words."),
            [Cell(operations(row.operations), sum(row.operations)) for row in rows],
        ),
        (
            Column(f"CER %{of}", "Character error rate, spaces counted.", plot=True),
            [rate(row.cer) for row in rows],
        ),
        (
            Column(f"SER %{of}", "Sentences with an error.", plot=True),
            [rate(row.ser) for row in rows],
        ),
        (Column("params", "Parameters of all models together."), [_params(row) for row in rows]),
        (
            Column("RTF", "CPU seconds of one core per second of speech."),
            [EMPTY if r.rtf is None else Cell(f"{sum(r.rtf):.3f}", sum(r.rtf)) for r in rows],
        ),
        (
            Column("partial paths", "Utterances in which no path reached a final state."),
            [_paths(row) if any_paths else EMPTY for row in rows],
        ),
        (
            Column("kept %", "Share of the ensemble's gain in frame accuracy.", plot=True),
            [_share(row) for row in rows],
        ),
    ]
    shown = [(column, cells) for column, cells in columns if any(c is not EMPTY for c in cells)]
    cells = list(zip(*(cells for _, cells in shown), strict=True))
    return Table(title, [column for column, _ in shown], cells)


def pairs_table(
    pairs: Sequence[Pair], partial: Partial | None, family: int, notes: Sequence[str] = ()
) -> Table:
    """A row for each pair: differences, p-values, and what the test set can show.

    Args:
        pairs: of one test set, at least one.
        partial: as for systems.
        family: number of pairs that the p-values are corrected for.
        notes: lines below the table.
    """
    what = "two-sided" + (f", corrected by Holm for {family} comparisons" if family > 1 else "")
    columns = [
        Column("difference", text=True),
        Column(f"WER, points{partial_mark(partial)}", "With its 95% interval.", plot=True),
        Column("frame accuracy, points", "With its 95% interval.", plot=True),
        *(Column(f"{name} p", f"p-value, {what}.") for name in TESTS.values()),
        Column("can show, points", "The smallest difference that such a pair's test can show."),
    ]
    rows = [_pair_cells(pair) for pair in pairs]
    if all(pair.frame_accuracy is None for pair in pairs):
        del columns[2]
        rows = [[*row[:2], *row[3:]] for row in rows]
    return Table("Differences", columns, rows, notes)


def texts(table: Table) -> tuple[list[str], list[list[str]]]:
    """Header and rows as they are printed."""
    rows = [[cell.text for cell in row] for row in table.rows]
    return [column.name for column in table.columns], rows


def partial_mark(partial: Partial | None) -> str:
    """What stands beside each figure over a part of the utterances; empty where all are there."""
    return "" if partial is None else f" PARTIAL {partial.scored}/{partial.of}"


def rate(estimate: Estimate, digits: int = 1) -> Cell:
    """A rate in percent."""
    text = percent(estimate.value, estimate.interval, digits)
    return figure(text, estimate.value, estimate.interval)


def figure(text: str, value: float, interval: Interval | None, note: str = "") -> Cell:
    """A cell in percent, or points, with the interval where it has one."""
    if not math.isfinite(value):
        return Cell(text, note=note)
    if interval is None or not all(map(math.isfinite, interval)):
        return Cell(text, 100 * value, note=note)
    return Cell(text, 100 * value, 100 * interval.low, 100 * interval.high, note)


def _name(row: Row) -> str:
    return row.role if row.folders == 1 else f"{row.role} (mean of {row.folders})"


def _params(row: Row) -> Cell:
    if row.params is None:
        return EMPTY
    low, high = (size(n) for n in row.params)
    return Cell(low if low == high else f"{low} to {high}", row.params[0])


def _paths(row: Row) -> Cell:
    if row.partial is None:
        return EMPTY
    return Cell("{}/{}".format(*row.partial), row.partial[0])


def _share(row: Row) -> Cell:
    if row.share is not None:
        text = percent(row.share.value, row.share.interval, 0)
        return figure(text, row.share.value, row.share.interval)
    if row.frame_accuracy is None or row.role in (BASELINE, TEACHER, ENSEMBLE):
        return EMPTY
    return Cell(NOT_DEFINED)


def _pair_cells(pair: Pair) -> list[Cell]:
    result = pair.result
    accuracy = pair.frame_accuracy
    bca = f"BCa {difference(result.difference, result.bca)}, better in {result.better:.1%}"
    smallest = result.smallest
    return [
        Cell(f"{result.a} − {result.b}"),
        figure(
            judged(result.difference, result.percentile), result.difference, result.percentile,
            f"{bca} of resamples",
        ),
        EMPTY if accuracy is None else figure(
            judged(accuracy.value, accuracy.interval), accuracy.value, accuracy.interval
        ),
        *(_test_cell(pair, name) for name in TESTS),
        EMPTY if smallest is None else Cell(f"{100 * smallest:.1f}", 100 * smallest),
    ]  # fmt: skip


def _test_cell(pair: Pair, name: str) -> Cell:
    test, corrected = pair.result.test(name), pair.corrected[name]
    if test.p_value is None or corrected is None:
        return Cell(NONE, note=test.note)
    note = f"{test.statistic:.3g} over {test.size:,}; uncorrected {p_value(test.p_value)}"
    return Cell(p_value(corrected), corrected, note=f"{note}. {test.note}".strip())
