"""`compare-frames`: all roles on all data sets, and what the paper asks of them.

A table of rows, one of paired differences, one of the shares of a loss that are won back; on the
terminal, in RESULTS.md and in results.json.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.report.comparison import Comparison
from asr_kd.report.evaluations import FrameComparison, read_evaluations
from asr_kd.report.frame_statistics import (
    FrameDifference,
    FrameRow,
    FrameStatistics,
    SetFigures,
    Spread,
    WonBack,
)
from asr_kd.report.page import command_text, page
from asr_kd.report.statistics import Estimate
from asr_kd.report.table import (
    NONE,
    NOT_DEFINED,
    judged,
    markdown,
    percent,
    size,
    terminal,
)
from asr_kd.score.bootstrap import METHOD, drawn
from asr_kd.shards import rank_and_world

_DIGITS = 2  # of differences: frame accuracies are finer than word error rates
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


@dataclass(frozen=True)
class FrameReport:
    """What is shown of the systems.

    Attributes:
        title: heading.
        notes: lines below the tables.
        baseline: the role that all others are compared with.
        differences: `A:B`, more pairs of roles.
        won_back: `FULL:HARD:SOFT`: which share of FULL − HARD does SOFT − HARD win back?
        labels: glob patterns of labels whose errors get a column.
        errors: counts of errors in place of accuracies.
    """

    title: str = "Results"
    notes: tuple[str, ...] = ()
    baseline: str | None = None
    differences: tuple[str, ...] = ()
    won_back: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    errors: bool = False


def compare_frames(systems: Sequence[str], out: Path, report: FrameReport) -> None:
    """Compares evaluated systems: prints the tables and publishes RESULTS.md and results.json.

    Args:
        systems: `ROLE[@SEED]=DIR`, DIR the output of `evaluate` (frame figures of one data set)
            or of `decode` (word error rate), or a folder of such. Several folders of one role and
            data set are averaged; seeds are paired over the roles and drawn by the bootstrap, a
            role without seeds is the same for all of them.
        out: folder to publish.
        report: what is shown.

    Raises:
        InputError: if the folders cannot be compared, listing every reason.
    """
    if rank_and_world()[0] != 0:
        return
    pairs, shares = _colons(report.differences, report.won_back)
    asked = [report.baseline] if report.baseline is not None else []
    asked += [role for roles in (*pairs, *shares) for role in roles]
    comparison = read_evaluations(systems, report.labels, asked)
    statistics = FrameStatistics(comparison, report.labels)
    if report.baseline is not None:
        others = [role for role in comparison.roles if role != report.baseline]
        pairs = [*([role, report.baseline] for role in others), *pairs]
    differences = [statistics.difference(*pair) for pair in pairs]
    won_back = [statistics.won_back(*roles) for roles in shares]
    rows = statistics.rows()
    tables = [_rows_table(rows, statistics, report)]
    if differences:
        tables.append(_difference_table(differences, statistics))
    if won_back:
        tables.append(_won_back_table(won_back, statistics))
    lines = [*_facts(statistics), *report.notes]
    console = Console()
    for i, table in enumerate(tables):
        console.print(terminal("" if i else report.title, *table))
    for line in lines:
        console.print(line, markup=False, highlight=False)

    inputs: dict[str, Path | str] = {
        f"{i} {one.role}@{one.seed}": one.path
        for i, one in enumerate([*comparison.evaluations, *_decodings(comparison)])
    }
    config = {"systems": list(systems), "report": asdict(report), "intervals": METHOD}
    artefact = Artefact(out, "compare-frames", config, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    command = command_text("compare-frames", systems, _options(report, out))
    write_text(
        work / "RESULTS.md",
        page(report.title, [markdown(*table) for table in tables], lines, command),
    )
    results = _json(statistics, rows, differences, won_back)
    write_text(work / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    artefact.publish()


def _colons(
    pairs: Sequence[str], triples: Sequence[str]
) -> tuple[list[list[str]], list[list[str]]]:
    faults = [
        f"{spec!r}: expected {count} roles with colons between"
        for specs, count in ((pairs, 2), (triples, 3))
        for spec in specs
        if spec.count(":") != count - 1
    ]
    if faults:
        raise InputError(faults)
    return [spec.split(":") for spec in pairs], [spec.split(":") for spec in triples]


def _rows_table(
    rows: Sequence[FrameRow], statistics: FrameStatistics, report: FrameReport
) -> Table:
    """One row for each role; the columns go measure by measure, data set by data set."""
    sets = statistics.comparison.sets
    header = ["system", *(f"{s} {'errors' if report.errors else 'acc%'}" for s in sets)]
    if report.labels:
        header += [f"{s} errors on {', '.join(report.labels)}" for s in sets]
    header += [f"{s} CE" for s in sets]
    words = any(row.wer is not None for row in rows)
    header += ["WER %", "params"] if words else ["params"]
    cells = []
    for row in rows:
        figures = [(s, row.sets.get(s)) for s in sets]
        line = [row.role if row.folders == 1 else f"{row.role} (mean of {row.folders})"]
        if report.errors:
            line[0] = row.role if row.folders == 1 else f"{row.role} ({row.folders} runs)"
            line += [NONE if one is None else _count(one.errors) for _, one in figures]
        else:
            line += [_accuracy(one, statistics.tested(s)) for s, one in figures]
        if report.labels:
            line += [
                NONE if one is None or one.label_errors is None else _count(one.label_errors)
                for _, one in figures
            ]
        line += [NONE if one is None else f"{one.cross_entropy.value:.3f}" for _, one in figures]
        if words:
            line.append(NONE if row.wer is None else percent(row.wer.value, row.wer.interval))
        low, high = (size(n) for n in row.params)
        line.append(low if low == high else f"{low} to {high}")
        cells.append(tuple(line))
    return tuple(header), cells


def _accuracy(figures: SetFigures | None, tested: bool) -> str:
    if figures is None:
        return NONE
    return percent(figures.accuracy.value, figures.accuracy.interval if tested else None)


def _count(spread: Spread) -> str:
    if spread.low == spread.high:
        return f"{spread.median:,.0f}"
    return f"{spread.median:,.10g} [{spread.low:,.0f}, {spread.high:,.0f}]"


def _difference_table(pairs: Sequence[FrameDifference], statistics: FrameStatistics) -> Table:
    sets = statistics.comparison.sets
    words = any(pair.wer is not None for pair in pairs)
    header = ["difference", *(f"{s} accuracy, points" for s in sets)]
    cells = []
    for pair in pairs:
        line = [f"{pair.role} − {pair.other}"]
        line += [_judged(pair.accuracy.get(s), statistics.tested(s)) for s in sets]
        if words:
            line.append(_judged(pair.wer, True, 1))
        cells.append(tuple(line))
    return tuple([*header, "WER, points"] if words else header), cells


def _judged(estimate: Estimate | None, tested: bool, digits: int = _DIGITS) -> str:
    if estimate is None:
        return NONE
    if not tested:
        return f"{100 * estimate.value:+.{digits}f}"
    return judged(estimate.value, estimate.interval, digits)


def _won_back_table(shares: Sequence[WonBack], statistics: FrameStatistics) -> Table:
    sets = [s for s in statistics.comparison.sets if any(s in share.by_set for share in shares)]
    cells = []
    for share in shares:
        line = [f"({share.soft} − {share.hard}) / ({share.full} − {share.hard})"]
        for s in sets:
            one = share.by_set.get(s)
            text = NOT_DEFINED if s in share.by_set else NONE
            if one is not None:
                text = percent(one.value, one.interval if statistics.tested(s) else None, 0)
            line.append(text)
        cells.append(tuple(line))
    return ("won back", *(f"{s} %" for s in sets)), cells


def _facts(statistics: FrameStatistics) -> list[str]:
    """What the reader of the tables has to know."""
    comparison = statistics.comparison
    seeds = len(comparison.seeds)
    amounts = "; ".join(
        f"{s} {statistics.frames[s]:,} frames of {statistics.speakers[s]} "
        f"speaker{'s' if statistics.speakers[s] > 1 else ''}"
        for s in comparison.sets
    )
    lines = [
        f"Data: {amounts}. CE: cross-entropy with the alignment, nats a frame.",
        f"Brackets of rates: {drawn(seeds or 1, 'speakers')}. Of counts: median [lowest, highest].",
        f"Seeds of training: {seeds or 1}"
        + ("." if seeds > 1 else "; the intervals do not hold the spread between seeds."),
    ]
    if comparison.decoded is not None:
        lines += _decoded_part(comparison, comparison.decoded)
    alone = [s for s in comparison.sets if statistics.speakers[s] == 1]
    if alone and seeds > 1:
        lines.append(f"One speaker in {', '.join(alone)}: its intervals hold the seeds alone.")
    elif alone:
        lines.append(f"One speaker in {', '.join(alone)} and one seed: no intervals.")
    return lines


def _decoded_part(comparison: FrameComparison, decoded: Comparison) -> list[str]:
    """What the reader must know where not all that was evaluated was decoded."""
    lines = []
    if decoded.seeds and len(decoded.seeds) < len(comparison.seeds):
        lines.append(f"WER of {len(decoded.seeds)} of {len(comparison.seeds)} seeds.")
    for role in decoded.roles:
        own = [e for e in comparison.of(role) if e.seed in (None, *decoded.seeds)]
        evaluated = max(sum(e.set == s for e in own) for s in comparison.sets)
        if len(decoded.of(role)) < evaluated:
            lines.append(f"WER of {role}: {len(decoded.of(role))} of {evaluated} folders.")
    return lines


def _options(report: FrameReport, out: Path) -> list[tuple[str, str]]:
    many = {"--difference": report.differences, "--won-back": report.won_back,
            "--labels": report.labels, "--note": report.notes}  # fmt: skip
    options = [("--out", str(out)), ("--title", report.title)]
    options += [("--baseline", report.baseline)] if report.baseline else []
    options += [("--errors", "")] if report.errors else []
    return options + [(name, value) for name, values in many.items() for value in values]


def _decodings(comparison: FrameComparison) -> Sequence[Any]:
    return comparison.decoded.decodings if comparison.decoded else []


def _json(
    statistics: FrameStatistics,
    rows: Sequence[FrameRow],
    differences: Sequence[FrameDifference],
    won_back: Sequence[WonBack],
) -> Mapping[str, Any]:
    comparison = statistics.comparison
    return {
        "sets": {
            s: {"frames": statistics.frames[s], "speakers": statistics.speakers[s]}
            for s in comparison.sets
        },
        "seeds": comparison.seeds,
        "rows": [asdict(row) for row in rows],
        "differences": [asdict(pair) for pair in differences],
        "won_back": [asdict(share) for share in won_back],
        "folders": [
            {
                "role": e.role, "seed": e.seed, "set": e.set, "path": str(e.path),
                "params": e.params, "errors": e.errors,
                "accuracy": 1 - e.errors / statistics.frames[e.set],
            }
            for e in comparison.evaluations
        ],
    }  # fmt: skip
