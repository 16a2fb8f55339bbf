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
from asr_kd.score.power import ALPHA

EMPTY = Cell(NONE)
TESTS = {
    "bootstrap": ("bootstrap", "resamples"),
    "mapsswe": ("MAPSSWE", "segments between words that are right in both"),
    "mcnemar": ("McNemar", "sentences"),
    "wilcoxon": ("Wilcoxon", "speakers"),
    "sign": ("sign", "speakers"),
}
"""Names of the tests, and on what they look."""


Columns = list[tuple[Column, Sequence[Cell]]]


def systems_table(
    rows: Sequence[Row], partial: Partial | None, gain: bool, costs: bool = True
) -> Table:
    """A row for each system; columns of what no system has are left out.

    Args:
        rows: of `Statistics`.
        partial: stands in the title.
        gain: whether there is an ensemble and teachers, so that shares of its gain can be told.
        costs: also that share and what systems cost, where no other table has it.
    """
    any_paths = any(row.partial is not None and row.partial[0] for row in rows)
    columns: Columns = [
        names_column(rows),
        (
            Column("frame acc%", "Frames whose most probable label is the aligned one.", plot=True),
            [EMPTY if row.frame_accuracy is None else rate(row.frame_accuracy) for row in rows],
        ),
        (
            Column("WER %", "Word error rate with its 95% interval.", plot=True, first=True),
            [rate(row.wer, 2) for row in rows],
        ),
        (
            Column("S/D/I", "Substituted, deleted and inserted words."),
            [Cell(operations(row.operations), sum(row.operations)) for row in rows],
        ),
        (
            Column("CER %", "Character error rate, spaces counted.", plot=True),
            [rate(row.cer, 2) for row in rows],
        ),
        (
            Column("SER %", "Sentences with an error.", plot=True),
            [rate(row.ser, 2) for row in rows],
        ),
        (
            Column("partial paths", "Utterances in which no path reached a final state."),
            [_paths(row) if any_paths else EMPTY for row in rows],
        ),
    ]
    if costs:
        columns[-1:-1] = costs_columns(rows)
        columns.append(kept_column(rows, gain))
    return known_table("Systems", columns, partial)


def names_column(rows: Sequence[Row]) -> tuple[Column, Sequence[Cell]]:
    """The systems."""
    return Column("system", text=True), [Cell(_name(row)) for row in rows]


def costs_columns(rows: Sequence[Row]) -> Columns:
    """Parameters, time, and for how long a system that streams waits."""
    return [
        (Column("params", "Parameters of all models together."), [_params(row) for row in rows]),
        (
            Column("RTF", "CPU seconds of one core per second of speech."),
            [EMPTY if r.rtf is None else Cell(f"{sum(r.rtf):.3f}", sum(r.rtf)) for r in rows],
        ),
        (
            Column("latency ms", "Speech that must follow a frame before its output is known."),
            [_latency(row) for row in rows],
        ),
    ]


def kept_column(rows: Sequence[Row], gain: bool) -> tuple[Column, Sequence[Cell]]:
    """Shares of the gain; `gain` as for `systems_table`."""
    return (
        Column("kept %", "Share of the ensemble's gain in frame accuracy.", plot=True),
        [_share(row) if gain else EMPTY for row in rows],
    )


def pairs_table(
    pairs: Sequence[Pair], partial: Partial | None, family: int, in_words: bool = True
) -> Table:
    """A row for each pair: differences, p-values, and what the test set can show.

    Args:
        pairs: of one test set, at least one.
        partial: as for systems.
        family: number of pairs that the p-values are corrected for.
        in_words: say whether a difference is inside the noise, where no plot shows it. A difference
            in words is judged by the corrected p-value of the bootstrap.
    """
    what = "two-sided" + (f", corrected by Holm for {family} comparisons" if family > 1 else "")
    columns: Columns = [
        (Column("difference", text=True), [_difference_name(pair) for pair in pairs]),
        (
            Column("WER, points", "With its 95% interval.", plot=True),
            [_wer_difference(pair, in_words) for pair in pairs],
        ),
        (
            Column("frame accuracy, points", "With its 95% interval.", plot=True),
            [_accuracy_difference(pair, in_words) for pair in pairs],
        ),
        *(
            (Column(f"{name} p", f"p-value, {what}."), [_p_cell(pair, test) for pair in pairs])
            for test, (name, _) in TESTS.items()
        ),
        (
            Column("can show, points", "The smallest difference that such a pair's test can show."),
            [_smallest(pair) for pair in pairs],
        ),
    ]
    return known_table("Differences", columns, partial)


def known_table(title: str, columns: Columns, partial: Partial | None) -> Table:
    """A table of the columns in which any cell says something; its title says what is PARTIAL."""
    shown = [(name, cells) for name, cells in columns if any(cell.text != NONE for cell in cells)]
    rows = list(zip(*(cells for _, cells in shown), strict=True))
    return Table(f"{title}{partial_mark(partial)}", [name for name, _ in shown], rows)


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


def _latency(row: Row) -> Cell:
    if row.latency_ms is None:
        return EMPTY
    low, high = row.latency_ms
    return Cell(f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}", high)


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


def _difference_name(pair: Pair) -> Cell:
    return Cell(f"{pair.result.a} − {pair.result.b}")


def _wer_difference(pair: Pair, in_words: bool) -> Cell:
    result = pair.result
    bca = f"BCa {difference(result.difference, result.bca, 2)}, better in {result.better:.1%}"
    p = pair.corrected["bootstrap"]
    text = difference(result.difference, result.percentile, 2)
    if in_words and p is not None:
        text = judged(result.difference, result.percentile, 2, inside=p >= ALPHA)
    return figure(text, result.difference, result.percentile, f"{bca} of resamples")


def _accuracy_difference(pair: Pair, in_words: bool) -> Cell:
    found = pair.frame_accuracy
    if found is None:
        return EMPTY
    varies = pair.corrected["bootstrap"] is not None  # one block would be in every draw
    text = (judged if in_words and varies else difference)(found.value, found.interval)
    return figure(text, found.value, found.interval)


def _smallest(pair: Pair) -> Cell:
    smallest = pair.result.smallest
    return EMPTY if smallest is None else Cell(f"{100 * smallest:.2f}", 100 * smallest)


def _p_cell(pair: Pair, name: str) -> Cell:
    test, corrected = pair.result.test(name), pair.corrected[name]
    if test.p_value is None or corrected is None:
        return Cell(NONE, note=test.note)
    note = f"{test.statistic:.3g} over {test.size:,}; uncorrected {p_value(test.p_value)}"
    return Cell(p_value(corrected), corrected, note=f"{note}. {test.note}".strip())
