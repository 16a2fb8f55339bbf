"""A comparison's report: on the terminal, and as RESULTS.md, report.html, results.json, CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from asr_kd import __version__
from asr_kd.io.atomic import write_text
from asr_kd.report.comparison import Comparison, Decoding, Scoring
from asr_kd.report.distillation_tables import distillation_facts, distillation_tables
from asr_kd.report.facts import Fact, set_facts
from asr_kd.report.html.model import HtmlReport, HtmlRun, HtmlSet, HtmlSystem, Table
from asr_kd.report.html.write import write_html
from asr_kd.report.outputs import (
    SetFigures,
    pairs_csv,
    results_json,
    speakers_csv,
    systems_csv,
)
from asr_kd.report.page import page
from asr_kd.report.table import markdown, terminal
from asr_kd.report.tables import pairs_table, systems_table, texts
from asr_kd.report.word_fates import fates_csv


@dataclass(frozen=True, eq=False)
class SetReport:
    """What is shown of one test set.

    Attributes:
        figures: all of them.
        tables: for a terminal and RESULTS.md.
        plotted: the same for report.html, which shows intervals as a picture; facts are below.
        facts: what the reader of the tables has to know.
    """

    figures: SetFigures
    tables: Sequence[Table]
    plotted: Sequence[Table]
    facts: Sequence[Fact]


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is shown.

    Attributes:
        title: heading.
        sets: the test sets.
        facts: of all of them together.
        notes: lines below the tables.
        command: what made it.
        scoring: how words were compared.
    """

    title: str
    sets: Sequence[SetReport]
    facts: Sequence[Fact]
    notes: Sequence[str]
    command: str
    scoring: Scoring


def set_report(figures: SetFigures, family: int) -> SetReport:
    """The tables and facts of one test set.

    Args:
        figures: its figures.
        family: number of pairs of all test sets, for which p-values are corrected.
    """
    partial = figures.comparison.partial
    gain = figures.statistics.gain() is not None
    tables = [systems_table(figures.rows, partial, gain)]
    facts = set_facts(figures.statistics, figures.rows, figures.pairs)
    plotted = [replace(tables[0], notes=_lines(facts))]
    if figures.pairs:
        tables.append(pairs_table(figures.pairs, partial, family))
        plotted.append(pairs_table(figures.pairs, partial, family, in_words=False))
    if figures.distillation is not None:
        view = distillation_tables(figures.distillation, figures.rows, partial)
        tables += view
        more = distillation_facts(figures.distillation)
        facts += more
        plotted += [*view[:-1], *(replace(table, notes=_lines(more)) for table in view[-1:])]
    return SetReport(figures, tables, plotted, facts)


def show(report: Report) -> None:
    """Prints the tables and what the reader has to know."""
    console = Console()
    for one in report.sets:
        name = one.figures.comparison.name
        title = report.title if len(report.sets) == 1 else f"{report.title}: {name}"
        for i, table in enumerate(one.tables):
            console.print(terminal(table.title if i else title, *texts(table)))
        if len(report.sets) > 1:
            _print(console, _lines(one.facts))
    if len(report.sets) == 1:
        _print(console, _lines(report.sets[0].facts))
    _print(console, [*_lines(report.facts), *report.notes])


def _print(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False)


def write_report(folder: Path, report: Report) -> None:
    """Writes all files of a report.

    Args:
        folder: an artefact's work folder.
        report: what they show.
    """
    sets = [one.figures for one in report.sets]
    write_text(folder / "RESULTS.md", _markdown(report))
    write_text(
        folder / "results.json", results_json(report.title, report.command, report.scoring, sets)
    )
    write_text(folder / "systems.csv", systems_csv(sets))
    write_text(folder / "pairs.csv", pairs_csv(sets))
    write_text(folder / "speakers.csv", speakers_csv(sets))
    followed = [
        one.comparison
        for one in sets
        if one.distillation is not None and one.distillation.inheritance is not None
    ]
    if followed:
        write_text(folder / "inherited.csv", fates_csv(followed))
    write_html(folder / "report.html", _html(report))


def _lines(facts: Sequence[Fact]) -> list[str]:
    return [f"{name}: {text}" for name, text in facts]


def _markdown(report: Report) -> str:
    parts: list[str] = []
    lines = [*_lines(report.facts), *report.notes]
    for one in report.sets:
        tables = [markdown(*texts(table)) for table in one.tables]
        if len(report.sets) == 1:
            parts, lines = tables, [*_lines(one.facts), *lines]
        else:
            listed = "".join(f"- {line}\n" for line in _lines(one.facts))
            parts += [f"## {one.figures.comparison.name}", *tables, listed]
    if len(report.sets) > 1:
        parts.append("## All test sets")
    return page(report.title, parts, lines, report.command)


def _html(report: Report) -> HtmlReport:
    facts = [
        *report.facts,
        ("Command", report.command.replace(" \\\n   ", "")),
        ("Made by", f"asr_kd {__version__}"),
    ]
    return HtmlReport(report.title, facts, [_html_set(one) for one in report.sets], report.notes)


def _html_set(one: SetReport) -> HtmlSet:
    comparison = one.figures.comparison
    partial = comparison.partial
    return HtmlSet(
        name=comparison.name,
        ref=comparison.ref,
        systems=[_html_system(comparison, role) for role in comparison.roles],
        tables=one.plotted,
        utt2spk=comparison.utt2spk,
        warnings=[] if partial is None else [partial.describe()],
    )


def _html_system(comparison: Comparison, role: str) -> HtmlSystem:
    decodings = comparison.of(role)
    names = [_run_name(decoding) for decoding in decodings]
    if len(decodings) == 1:
        names = [""]
    return HtmlSystem(
        role,
        [HtmlRun(n, d.hyp, d.alignments) for n, d in zip(names, decodings, strict=True)],
    )


def _run_name(decoding: Decoding) -> str:
    seed = "" if decoding.seed is None else f"seed {decoding.seed}, "
    return f"{seed}{decoding.path.name}"
