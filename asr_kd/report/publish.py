"""A comparison's report: on the terminal, and as RESULTS.md, report.html, results.json, CSV."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from asr_kd import __version__
from asr_kd.io.atomic import write_text
from asr_kd.report.comparison import Comparison, Decoding, Scoring
from asr_kd.report.distillation_tables import distillation_tables, effect_facts, word_facts
from asr_kd.report.facts import Fact, gain_facts, lines, pair_facts, set_facts
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
from asr_kd.report.pairs import shown_pairs
from asr_kd.report.table import escape, markdown, terminal
from asr_kd.report.tables import pairs_table, partial_mark, systems_table, texts
from asr_kd.report.word_fates import fates_csv


@dataclass(frozen=True, eq=False)
class SetReport:
    """What is shown of one test set.

    Attributes:
        figures: all of them.
        tables: for a terminal and RESULTS.md; what their reader has to know stands in their notes.
        plotted: the same for report.html, which shows intervals as a picture, and has more room.
    """

    figures: SetFigures
    tables: Sequence[Table]
    plotted: Sequence[Table]

    @property
    def heading(self) -> str:
        """The set's name, with PARTIAL where it is."""
        comparison = self.figures.comparison
        return f"{comparison.name}{partial_mark(comparison.partial)}"


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is shown.

    Attributes:
        title: heading.
        sets: the test sets.
        facts: of all of them together.
        verdict: lines of the gate.
        notes: the user's lines, Markdown as they stand.
        command: what made it.
        scoring: how words were compared.
    """

    title: str
    sets: Sequence[SetReport]
    facts: Sequence[Fact]
    verdict: Sequence[str]
    notes: Sequence[str]
    command: str
    scoring: Scoring


def set_report(figures: SetFigures, family: int, centre: str | None) -> SetReport:
    """The tables of one test set.

    Args:
        figures: its figures.
        family: number of pairs of all test sets, for which p-values are corrected.
        centre: as `Chosen.centre`.
    """
    partial, gain = figures.comparison.partial, figures.statistics.gain()
    view = figures.distillation
    apart = view is not None and bool(view.rows)  # costs have a table of their own
    facts = set_facts(figures.statistics, figures.rows)
    if gain is not None and not apart:
        facts += gain_facts(gain)
    shown = shown_pairs(figures.pairs, centre)
    every = len(figures.pairs)
    if not shown:
        facts += pair_facts(shown, every, family, centre, in_words=True)
    inherited = None if view is None else view.inheritance
    if inherited is not None and not inherited.rows:
        facts += effect_facts(inherited)
    systems = systems_table(figures.rows, partial, gain is not None, costs=not apart)
    tables = [replace(systems, notes=lines(facts))]
    plotted = list(tables)
    if shown:
        for of, in_words in ((tables, True), (plotted, False)):
            notes = lines(pair_facts(shown, every, family, centre, in_words))
            of.append(replace(pairs_table(shown, partial, family, in_words), notes=notes))
    if view is not None:
        tables += (more := distillation_tables(view, figures.rows, partial, gain))
        plotted += more
    if inherited is not None and inherited.rows:
        words = lines(word_facts(inherited))
        plotted[-1] = replace(plotted[-1], notes=[*plotted[-1].notes, *words])
    return SetReport(figures, tables, plotted)


def show(report: Report) -> None:
    """Prints the tables, each with what its reader has to know."""
    console = Console()
    _print(console, [report.title], "bold")
    for one in report.sets:
        if len(report.sets) > 1:
            _print(console, ["", one.heading], "bold")
        for table in one.tables:
            console.print(terminal(table.title, *texts(table)))
            _print(console, [*table.notes, ""])
    _print(console, [*lines(report.facts), *report.verdict, *report.notes])


def _print(console: Console, shown: Sequence[str], style: str | None = None) -> None:
    for line in shown:
        console.print(line, markup=False, highlight=False, style=style)


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
    if any(one.comparison.utt2spk is not None for one in sets):
        write_text(folder / "speakers.csv", speakers_csv(sets))
    followed = [
        one.comparison
        for one in sets
        if one.distillation is not None and one.distillation.inheritance is not None
    ]
    if followed:
        write_text(folder / "inherited.csv", fates_csv(followed))
    write_html(folder / "report.html", _html(report))


def _markdown(report: Report) -> str:
    several = len(report.sets) > 1
    parts: list[str] = []
    for one in report.sets:
        if several:
            parts.append(f"## {escape(one.heading)}")
        for table in one.tables:
            notes = "".join(f"- {escape(note)}\n" for note in table.notes)
            parts += [f"### {escape(table.title)}", markdown(*texts(table)), notes]
    parts.append("## All test sets" if several else "### Method")
    listed = [*map(escape, [*lines(report.facts), *report.verdict]), *report.notes]
    return page(report.title, [part for part in parts if part], listed, report.command)


def _html(report: Report) -> HtmlReport:
    facts = [*report.facts, ("Command", report.command), ("Made by", f"asr_kd {__version__}")]
    notes = [*report.verdict, *report.notes]
    return HtmlReport(report.title, facts, [_html_set(one) for one in report.sets], notes)


def _html_set(one: SetReport) -> HtmlSet:
    comparison = one.figures.comparison
    partial = comparison.partial
    return HtmlSet(
        name=comparison.name,
        ref=comparison.ref,
        systems=[_html_system(comparison, role) for role in comparison.roles],
        tables=one.plotted,
        utt2spk=comparison.utt2spk,
        mark=partial_mark(partial),
        warnings=[] if partial is None else [partial.describe()],
    )


def _html_system(comparison: Comparison, role: str) -> HtmlSystem:
    decodings = comparison.of(role)
    named = zip(_run_names(decodings), decodings, strict=True)
    return HtmlSystem(role, [HtmlRun(n, d.hyp, d.alignments, d.seed) for n, d in named])


def _run_names(decodings: Sequence[Decoding]) -> list[str]:
    """What tells the runs of a role apart, in a few letters: seed, path, or number."""
    if len(decodings) == 1:
        return [""]
    seeds = ["" if d.seed is None else f"seed {d.seed}" for d in decodings]
    for names in (seeds, [d.path.name for d in decodings]):
        if len(set(names)) == len(names):
            return names
        if seeds[0]:
            break
    runs = [f"run {seeds[: i + 1].count(seed)}" for i, seed in enumerate(seeds)]
    return [", ".join(filter(None, pair)) for pair in zip(seeds, runs, strict=True)]
