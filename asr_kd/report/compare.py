"""`compare`: a row for each role, paired differences below; on the terminal and in RESULTS.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from asr_kd.artefact import Artefact
from asr_kd.io.atomic import write_text
from asr_kd.report.page import command_text, page
from asr_kd.report.statistics import (
    BASELINE,
    ENSEMBLE,
    TEACHER,
    Difference,
    Row,
    Statistics,
)
from asr_kd.report.systems import Comparison, read_systems
from asr_kd.report.table import (
    NONE,
    NOT_DEFINED,
    difference,
    judged,
    markdown,
    operations,
    percent,
    size,
    terminal,
)
from asr_kd.score.bootstrap import METHOD, drawn
from asr_kd.score.text import NORMALISER
from asr_kd.shards import rank_and_world

PARTIAL = "partial"
HEADER = ("system", "frame acc%", "WER %", "S/D/I", "params", "RTF", PARTIAL, "kept %")
DIFFERENCE_HEADER = ("difference", "WER, points", "frame accuracy, points")


def compare(systems: Sequence[str], out: Path, title: str, notes: Sequence[str]) -> None:
    """Compares decoded systems: prints the tables and publishes RESULTS.md and results.json.

    Args:
        systems: `ROLE[@SEED]=DECODE_DIR`. Several folders of one role are averaged; seeds are
            paired over the roles and drawn by the bootstrap, a role without seeds is the same for
            all of them.
        out: folder to publish.
        title: heading.
        notes: lines below the tables.

    Raises:
        InputError: if the folders cannot be compared, listing every reason.
    """
    if rank_and_world()[0] != 0:
        return
    comparison = read_systems(systems)
    statistics = Statistics(comparison)
    rows, pairs = statistics.rows(), statistics.differences()
    facts = _facts(statistics, rows)
    console = Console()
    console.print(terminal(title, *_table(rows)))
    if pairs:
        console.print(terminal("", DIFFERENCE_HEADER, [_difference_cells(d) for d in pairs]))
    for line in [*facts, *notes]:
        console.print(line, markup=False, highlight=False)

    inputs: dict[str, Path | str] = {
        f"{i} {d.role}@{d.seed}": d.path for i, d in enumerate(comparison.decodings)
    }
    config = {"systems": list(systems), "title": title, "notes": list(notes), "intervals": METHOD}
    artefact = Artefact(out, "compare", config, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    tables = [markdown(*_table(rows))]
    if pairs:
        tables.append(markdown(DIFFERENCE_HEADER, [_difference_cells(pair) for pair in pairs]))
    options = [("--out", str(out)), ("--title", title), *(("--note", note) for note in notes)]
    command = command_text("compare", systems, options)
    write_text(work / "RESULTS.md", page(title, tables, [*facts, *notes], command))
    results = _json(statistics, comparison, rows, pairs)
    write_text(work / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    artefact.publish()


def _table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and cells; the column of partial paths only where there are any."""
    shown = [i for i, name in enumerate(HEADER) if name != PARTIAL or _partial(rows)]
    cells = [_cells(row) for row in rows]
    return tuple(HEADER[i] for i in shown), [tuple(row[i] for i in shown) for row in cells]


def _partial(rows: Sequence[Row]) -> int:
    return sum(row.partial[0] for row in rows)


def _cells(row: Row) -> tuple[str, ...]:
    accuracy, share = row.frame_accuracy, NONE
    if row.share is not None:
        share = percent(row.share.value, row.share.interval, 0)
    elif accuracy is not None and row.role not in (BASELINE, TEACHER, ENSEMBLE):
        share = NOT_DEFINED
    low, high = (size(n) for n in row.params)
    return (
        row.role if row.folders == 1 else f"{row.role} (mean of {row.folders})",
        NONE if accuracy is None else percent(accuracy.value, accuracy.interval),
        percent(row.wer.value, row.wer.interval),
        operations(row.operations),
        low if low == high else f"{low} to {high}",
        f"{sum(row.rtf):.3f}",
        "{}/{}".format(*row.partial),
        share,
    )


def _difference_cells(pair: Difference) -> tuple[str, ...]:
    accuracy = pair.frame_accuracy
    return (
        f"{pair.role} − {pair.other}",
        judged(pair.wer.value, pair.wer.interval),
        NONE if accuracy is None else judged(accuracy.value, accuracy.interval),
    )


def _facts(statistics: Statistics, rows: Sequence[Row]) -> list[str]:
    """What the reader of the tables has to know."""
    seeds = statistics.comparison.seeds
    frames = f", {statistics.frames:,} aligned frames" if statistics.frames else ""
    lines = [
        f"Test data: {statistics.utterances:,} utterances, {statistics.words:,} words{frames}, "
        f"{statistics.speakers} speakers.",
        f"Brackets: {drawn(len(seeds) or 1, statistics.blocks)}.",
        f"Seeds of training: {len(seeds) or 1}"
        + ("." if len(seeds) > 1 else "; the intervals do not hold the spread between seeds."),
        f"WER by jiwer {version('jiwer')}; normaliser: {NORMALISER}. RTF: CPU seconds of one core "
        f"per second of speech, model and search together.",
    ]
    gain = statistics.gain()
    if gain is not None:
        said = difference(gain.value, gain.interval, 2)
        lines.append(
            f"Gain of the ensemble in frame accuracy over the mean teacher: {said} points. Kept: "
            f"(system − teacher) / (ensemble − teacher)"
            + ("." if gain.interval.low > 0 else ", not defined: the ensemble may gain nothing.")
        )
    if not (partial := _partial(rows)):
        lines.append("All paths reached a final state.")
    else:
        lines.append(
            f"{partial} paths did not reach a final state; their words are counted as found, and "
            f"partial.txt in each decode directory names them."
        )
    return lines


def _json(
    statistics: Statistics,
    comparison: Comparison,
    rows: Sequence[Row],
    pairs: Sequence[Difference],
) -> dict[str, Any]:
    gain = statistics.gain()
    return {
        "utterances": statistics.utterances,
        "words": statistics.words,
        "frames": statistics.frames,
        "speakers": statistics.speakers,
        "seeds": comparison.seeds,
        "resampled": statistics.blocks,
        "gain": None if gain is None else asdict(gain),
        "rows": [asdict(row) for row in rows],
        "differences": [asdict(pair) for pair in pairs],
        "folders": [
            {"role": d.role, "seed": d.seed, "path": str(d.path), **d.info}
            for d in comparison.decodings
        ],
    }
