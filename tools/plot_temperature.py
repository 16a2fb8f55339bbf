"""Frame accuracy against temperature: `python tools/plot_temperature.py RESULTS.json --out T.svg`.

RESULTS.json is the results.json of `asr-kd compare-frames` (or its folder; several may be given)
with roles such as narrow-T1 or wide-T20: a name, and the temperature of the student's targets. Each
name is a line through the means over seeds, with a bar from the lowest to the highest seed; roles
without a temperature (hard labels, the teachers) are level lines.
"""

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

SWEPT = re.compile(r"(?P<name>.+)-T(?P<temperature>\d+(\.\d+)?)")


class Point(NamedTuple):
    """Accuracies of the seeds: mean, lowest, highest."""

    mean: float
    low: float
    high: float


def points(files: list[Path], data_set: str) -> dict[str, Point]:
    """Role → its point on a data set, in percent; members of one seed are averaged first."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    found = set()
    for file in files:
        content = json.loads((file / "results.json" if file.is_dir() else file).read_text())
        for folder in content["folders"]:
            found.add(folder["set"])
            if folder["set"] == data_set:
                figures[folder["role"]][str(folder["seed"])].append(100 * folder["accuracy"])
    if not figures:
        raise SystemExit(f"no figures on {data_set!r}; there are {', '.join(sorted(found))}")
    seeds = {r: [sum(f) / len(f) for f in by.values()] for r, by in figures.items()}
    return {r: Point(sum(f) / len(f), min(f), max(f)) for r, f in seeds.items()}


def curves(found: dict[str, Point]) -> tuple[dict[str, dict[float, Point]], dict[str, Point]]:
    """Name → temperature → point, and the roles without a temperature."""
    swept: dict[str, dict[float, Point]] = defaultdict(dict)
    level = {}
    for role, point in found.items():
        if match := SWEPT.fullmatch(role):
            swept[match["name"]][float(match["temperature"])] = point
        else:
            level[role] = point
    return {name: dict(sorted(line.items())) for name, line in swept.items()}, level


def show(swept: dict[str, dict[float, Point]], level: dict[str, Point], data_set: str) -> None:
    """Prints the table: a row for each name, a column for each temperature."""
    temperatures = sorted({t for line in swept.values() for t in line})
    table = Table(title=f"frame accuracy on {data_set}, %: mean [lowest, highest seed]")
    table.add_column("students")
    for temperature in temperatures:
        table.add_column(f"T = {temperature:g}", justify="right")
    for name, line in swept.items():
        table.add_row(name, *(text(line[t]) if t in line else "—" for t in temperatures))
    console = Console()
    console.print(table)
    for role, point in level.items():
        console.print(f"{role}: {text(point)}", markup=False, highlight=False)


def text(point: Point) -> str:
    return f"{point.mean:.2f} [{point.low:.2f}, {point.high:.2f}]"


def draw(
    swept: dict[str, dict[float, Point]], level: dict[str, Point], data_set: str, out: Path
) -> None:
    """Draws all of it; the format follows from the name of `out`."""
    import matplotlib as mpl

    mpl.use("Agg")
    # Texts stay texts, and the same figures make the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "asr_kd"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for i, (name, line) in enumerate(swept.items()):
        means = [point.mean for point in line.values()]
        spread = [[p.mean - p.low for p in line.values()], [p.high - p.mean for p in line.values()]]
        axes.errorbar(list(line), means, spread, label=name, color=f"C{i}", marker="o", capsize=3)
    colours = {name: f"C{i}" for i, name in enumerate(swept)}
    for i, (role, point) in enumerate(level.items(), start=len(swept)):
        of = role.rpartition("-")[0]  # narrow-hard has the colour of narrow
        colour, style = (colours[of], "--") if of in colours else (f"C{i}", ":")
        axes.axhline(point.mean, label=role, color=colour, linestyle=style, linewidth=1)
    axes.set_xscale("log")
    temperatures = sorted({t for line in swept.values() for t in line})
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.minorticks_off()
    axes.set_xlabel("temperature of the targets")
    axes.set_ylabel(f"frame accuracy on {data_set}, %")
    axes.legend(fontsize="small")
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if out.suffix == ".svg" else None
    figure.savefig(out, dpi=150, metadata=metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results.json, or its folder")
    parser.add_argument("--out", type=Path, help="picture to draw: .png or .svg")
    parser.add_argument("--set", default="test", help="data set [test]")
    options = parser.parse_args()
    swept, level = curves(points(options.results, options.set))
    if not swept:
        raise SystemExit("no role like NAME-T4 among the results")
    show(swept, level, options.set)
    if options.out is not None:
        draw(swept, level, options.set, options.out)


if __name__ == "__main__":
    main()
