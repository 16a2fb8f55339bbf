"""The tables of the distillation view, and what their reader has to know."""

from collections.abc import Sequence

from asr_kd.report.distillation import Distillation, RoleFigures
from asr_kd.report.facts import Fact
from asr_kd.report.html.model import Cell, Column, Table
from asr_kd.report.inheritance import Inheritance, Inherited
from asr_kd.report.statistics import Estimate, Row
from asr_kd.report.table import judged
from asr_kd.report.tables import EMPTY, partial_mark, rate, systems_table
from asr_kd.score.calibration import BINS
from asr_kd.score.join import Partial

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TOLD_WORDS = 10


def distillation_tables(
    found: Distillation, rows: Sequence[Row], partial: Partial | None
) -> list[Table]:
    """What systems know and cost, and where their wrong words come from; as far as it is known.

    Args:
        found: the view of one test set.
        rows: of its `Statistics`, the same roles.
        partial: as for the table of systems.
    """
    tables = []
    if found.rows:
        tables.append(_knowledge(found.rows, rows, partial))
    if found.inheritance is not None and found.inheritance.rows:
        tables.append(_inherited(found.inheritance, partial_mark(partial)))
    return tables


def _knowledge(
    figures: Sequence[RoleFigures], rows: Sequence[Row], partial: Partial | None
) -> Table:
    systems = systems_table(rows, partial, gain=True)
    columns = {
        column.name.split(" PARTIAL")[0]: (column, cells)
        for column, cells in zip(systems.columns, zip(*systems.rows, strict=True), strict=True)
    }
    columns |= {
        "cross-entropy": (
            Column(
                f"cross-entropy{partial_mark(partial)}",
                "With the aligned label, nats a frame.",
                plot=True,
            ),
            tuple(_cross_entropy(one.cross_entropy) for one in figures),
        ),
        "ECE %": (
            Column("ECE %", f"Expected calibration error, {BINS} bins of confidence.", plot=True),
            tuple(_calibration(one.calibration_error) for one in figures),
        ),
        "mult-adds/s": (
            Column("mult-adds/s", "Multiply-adds of all models for a second of speech."),
            tuple(_range(one.multiply_adds) for one in figures),
        ),
        "bytes": (
            Column("bytes", "Of the files of all models."),
            tuple(_range(one.num_bytes, "B") for one in figures),
        ),
    }
    order = ("system", "frame acc%", "cross-entropy", "ECE %", "WER %", "kept %", "params",
             "mult-adds/s", "RTF", "bytes")  # fmt: skip
    shown = [columns[name] for name in order if name in columns]
    shown = [(column, cells) for column, cells in shown if any(cell != EMPTY for cell in cells)]
    cells = list(zip(*(cells for _, cells in shown), strict=True))
    return Table("Distillation", [column for column, _ in shown], cells)


def _cross_entropy(found: Estimate | None) -> Cell:
    if found is None:
        return EMPTY
    if found.value == float("inf"):
        return Cell("∞", note="A label has the probability 0.")
    low, high = found.interval
    return Cell(f"{found.value:.3f} [{low:.3f}, {high:.3f}]", found.value, low, high)


def _calibration(error: float | None) -> Cell:
    return EMPTY if error is None else Cell(f"{100 * error:.1f}", 100 * error)


def _range(ends: tuple[float, float] | None, unit: str = "") -> Cell:
    if ends is None:
        return EMPTY
    low, high = (quantity(end, unit) for end in ends)
    return Cell(low if low == high else f"{low} to {high}", ends[0])


def quantity(value: float, unit: str = "") -> str:
    """Three digits and a decimal prefix: `950`, `12.3 k`, `1.25 GB`."""
    for factor, prefix in _UNITS:
        if value >= factor * 0.9995:  # 999.5 k is told as 1 M
            return f"{value / factor:#.3g}".rstrip(".") + f" {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _inherited(found: Inheritance, of: str) -> Table:
    """`of` stands in the heading of every figure: what part of the utterances it is over."""
    figures = [
        ("wrong", "Reference words replaced or left out."),
        ("inherited", f"Of these: wrong in the {found.source}, too."),
        ("same word", "Of the inherited: the same word in its place, or none in both."),
        ("lost", "Wrong here and in the teacher, right in the ensemble."),
        ("own", "Right in teacher and ensemble, as far as they are given."),
        ("errors inherited %", f"Share of the words that the {found.source} gets wrong."),
        ("fixes kept %", "Share of the words that the teacher gets wrong and the ensemble right."),
    ]
    columns = [
        Column("system", text=True),
        *(Column(f"{name}{of}", note, plot=name.endswith("%")) for name, note in figures),
    ]
    rows = [_inherited_cells(row) for row in found.rows]
    if found.effect is None:
        columns = [column for k, column in enumerate(columns) if k not in (4, 7)]
        rows = [[cell for k, cell in enumerate(row) if k not in (4, 7)] for row in rows]
    return Table("Inherited errors", columns, rows)


def _inherited_cells(row: Inherited) -> list[Cell]:
    counts = (row.wrong, row.inherited, row.same_word, row.lost, row.own)
    shares = (row.inherited_share, row.kept_share)
    return [
        Cell(row.role),
        *(EMPTY if n is None else Cell(_count(n), n) for n in counts),
        *(EMPTY if share is None else rate(share, 0) for share in shares),
    ]


def _count(words: float) -> str:
    return f"{words:,.1f}".removesuffix(".0")


def distillation_facts(found: Distillation, partial: Partial | None = None) -> list[Fact]:
    """What the reader of `distillation_tables` has to know; `partial` as there."""
    facts = []
    if any(row.cross_entropy is not None for row in found.rows):
        facts.append(("Cross-entropy", "of the models' posteriors with the labels of the "
                      "alignment, nats a frame."))  # fmt: skip
    if any(row.calibration_error is not None for row in found.rows):
        facts.append((
            "ECE",
            f"expected calibration error of the frames' most probable labels, {BINS} equal bins of "
            f"confidence (Guo et al. 2017); the mean over a row's systems.",
        ))  # fmt: skip
    if any(row.multiply_adds is not None for row in found.rows):
        facts.append((
            "Mult-adds",
            "multiply-adds of matrix products and convolutions, of all models of a system, for "
            "one second of speech; without the search.",
        ))  # fmt: skip
    if found.inheritance is not None:
        facts += _inherited_facts(found.inheritance, partial_mark(partial))
    return facts


def _inherited_facts(found: Inheritance, of: str) -> list[Fact]:
    facts = []
    if found.effect is not None:
        effect = found.effect
        facts.append((
            f"What the ensemble does{of}",
            f"of {found.words:,} reference words the mean teacher gets "
            f"{_count(effect.teacher_wrong)} wrong, the ensemble {_count(effect.ensemble_wrong)}: "
            f"it fixed {_count(effect.fixed)} and broke {_count(effect.broken)}.",
        ))  # fmt: skip
    if not found.rows:
        return facts
    lost = " Lost: fixed by the ensemble, wrong again." if found.effect is not None else ""
    facts.append((
        "Inherited",
        f"wrong in the {found.source}, too.{lost} Own: the others. Words are those of the "
        f"reference, replaced or left out; words put in are not counted. Means over seeds and "
        f"members.",
    ))  # fmt: skip
    shares = {
        "inherited_share": f"of the {found.source}'s errors inherited",
        "same_share": "of the inherited errors with the same word",
        "kept_share": "of the ensemble's fixes kept",
    }
    facts += [
        (
            f"{d.role} − {d.other}, share {shares[d.share]}, points{of}",
            f"{judged(d.estimate.value, d.estimate.interval)}.",
        )
        for d in found.differences
    ]
    for role, fates in found.by_word.items():
        told = [
            f"{fate} {', '.join(f'{word} {_count(n)}' for word, n in words[:_TOLD_WORDS])}"
            for fate, words in fates.items()
            if words and fate in ("inherited", "lost")
        ]
        if told:
            facts.append((f"Words of {role}, most frequent first{of}", f"{'; '.join(told)}."))
    return facts
