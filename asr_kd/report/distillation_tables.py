"""The tables of the distillation view, and what their reader has to know."""

from collections.abc import Sequence
from dataclasses import replace

from asr_kd.report.distillation import Distillation, RoleFigures
from asr_kd.report.facts import Fact, gain_facts, lines
from asr_kd.report.html.model import Cell, Column, Table
from asr_kd.report.inheritance import Inheritance, Inherited
from asr_kd.report.statistics import Estimate, Row
from asr_kd.report.table import judged, size
from asr_kd.report.tables import (
    EMPTY,
    Columns,
    costs_columns,
    kept_column,
    known_table,
    names_column,
    partial_mark,
    rate,
)
from asr_kd.score.calibration import BINS
from asr_kd.score.join import Partial

_TOLD_WORDS = 10


def distillation_tables(
    found: Distillation, rows: Sequence[Row], partial: Partial | None, gain: Estimate | None = None
) -> list[Table]:
    """What systems know and cost, and where their wrong words come from; as far as it is known.

    Args:
        found: the view of one test set.
        rows: of its `Statistics`, the same roles.
        partial: as for the table of systems.
        gain: of the ensemble, where there is one.
    """
    tables = []
    if found.rows:
        known = _knowledge(found.rows, rows, partial, gain is not None)
        facts = [*(gain_facts(gain) if gain is not None else []), *_knowledge_facts(found.rows)]
        tables.append(replace(known, notes=lines(facts)))
    if found.inheritance is not None and found.inheritance.rows:
        inherited = _inherited(found.inheritance, partial)
        facts = [*effect_facts(found.inheritance), *_inherited_facts(found.inheritance)]
        tables.append(replace(inherited, notes=lines(facts)))
    return tables


def _knowledge(
    figures: Sequence[RoleFigures], rows: Sequence[Row], partial: Partial | None, gain: bool
) -> Table:
    params, rtf, latency = costs_columns(rows)
    columns: Columns = [
        names_column(rows),
        (
            Column("cross-entropy", "With the aligned label, nats a frame.", plot=True),
            [_cross_entropy(one.cross_entropy) for one in figures],
        ),
        (
            Column("ECE %", f"Expected calibration error, {BINS} bins of confidence.", plot=True),
            [_calibration(one.calibration_error) for one in figures],
        ),
        kept_column(rows, gain),
        params,
        (
            Column("mult-adds/s", "Multiply-adds of all models for a second of speech."),
            [_range(one.multiply_adds) for one in figures],
        ),
        rtf,
        latency,
        (
            Column("bytes", "Of the files of all models."),
            [_range(one.num_bytes, "B") for one in figures],
        ),
    ]
    return known_table("Distillation", columns, partial)


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
    low, high = (size(end, unit) for end in ends)
    return Cell(low if low == high else f"{low} to {high}", ends[0])


def _inherited(found: Inheritance, partial: Partial | None) -> Table:
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
        *(Column(name, note, plot=name.endswith("%")) for name, note in figures),
    ]
    rows = [_inherited_cells(row) for row in found.rows]
    if found.effect is None:
        columns = [column for k, column in enumerate(columns) if k not in (4, 7)]
        rows = [[cell for k, cell in enumerate(row) if k not in (4, 7)] for row in rows]
    return Table(f"Inherited errors{partial_mark(partial)}", columns, rows)


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


def _knowledge_facts(rows: Sequence[RoleFigures]) -> list[Fact]:
    facts = []
    if any(row.cross_entropy is not None for row in rows):
        facts.append(("Cross-entropy", "of the models' posteriors with the labels of the "
                      "alignment, nats a frame."))  # fmt: skip
    if any(row.calibration_error is not None for row in rows):
        facts.append((
            "ECE",
            f"expected calibration error of the frames' most probable labels, {BINS} equal bins of "
            f"confidence (Guo et al. 2017); the mean over a row's systems.",
        ))  # fmt: skip
    if any(row.multiply_adds is not None for row in rows):
        facts.append((
            "Mult-adds",
            "multiply-adds of matrix products and convolutions, of all models of a system, for "
            "one second of speech; without the search.",
        ))  # fmt: skip
    return facts


def effect_facts(found: Inheritance) -> list[Fact]:
    """What the ensemble does to its teachers' words; nothing where one of them is not known."""
    effect = found.effect
    if effect is None:
        return []
    return [(
        "What the ensemble does",
        f"of {found.words:,} reference words the mean teacher gets {_count(effect.teacher_wrong)} "
        f"wrong, the ensemble {_count(effect.ensemble_wrong)}: it fixed {_count(effect.fixed)} and "
        f"broke {_count(effect.broken)}.",
    )]  # fmt: skip


def _inherited_facts(found: Inheritance) -> list[Fact]:
    lost = " Lost: fixed by the ensemble, wrong again." if found.effect is not None else ""
    facts = [(
        "Inherited",
        f"wrong in the {found.source}, too.{lost} Own: the others. Words are those of the "
        f"reference, replaced or left out; words put in are not counted. Means over seeds and "
        f"members.",
    )]  # fmt: skip
    shares = {
        "inherited_share": f"of the {found.source}'s errors inherited",
        "same_share": "of the inherited errors with the same word",
        "kept_share": "of the ensemble's fixes kept",
    }
    facts += [
        (
            f"{d.role} − {d.other}, share {shares[d.share]}, points",
            f"{judged(d.estimate.value, d.estimate.interval)}.",
        )
        for d in found.differences
    ]
    return facts


def word_facts(found: Inheritance) -> list[Fact]:
    """The most frequent inherited and lost words of each system."""
    facts = []
    for role, fates in found.by_word.items():
        told = [
            f"{fate} {', '.join(f'{word} {_count(n)}' for word, n in words[:_TOLD_WORDS])}"
            for fate, words in fates.items()
            if words and fate in ("inherited", "lost")
        ]
        if told:
            facts.append((f"Words of {role}, most frequent first", f"{'; '.join(told)}."))
    return facts
