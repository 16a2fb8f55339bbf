"""What the HTML report shows: tables that are ready to print, and transcripts with alignments."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr_kd.score.alignment import Alignments
from asr_kd.score.text import Text


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: as it is printed, such as "17.4 [10.0, 26.9]"; any text, it is escaped.
        value: what the column is sorted by and what the plot shows, in the unit of the text (17.4,
            not 0.174, of "17.4"): the plot's axis has it; None sorts last and has no dot.
        low, high: ends of the interval around `value`, in its unit; both or neither.
        note: a longer explanation, shown when the cell is pointed at or read out.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"cell {self.text!r}: an interval has two ends")
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"cell {self.text!r}: {number} is no number; None is for no value")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        note: what it means, in a sentence.
        plot: whether it can be shown as dots and whiskers; with several the reader chooses.
        first: whether it is plotted at first, even if it is not the first one that can be.
        text: whether it holds words: set to the left, sorted by `Cell.text`.
    """

    name: str
    note: str = ""
    plot: bool = False
    first: bool = False
    text: bool = False


@dataclass(frozen=True)
class Table:
    """A sortable table, with a plot of one of its columns.

    Attributes:
        title: its heading.
        columns: C columns; the first names the row.
        rows: of C cells each.
        notes: lines below it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if wrong := [row for row in self.rows if len(row) != len(self.columns)]:
            raise ValueError(
                f"table {self.title!r}: {len(self.columns)} columns, a row of {len(wrong[0])}"
            )


@dataclass(frozen=True, eq=False)
class HtmlRun:
    """One hypothesis of a system: of one seed, or of one member of a role.

    Attributes:
        name: what tells it from the system's other runs, such as "seed 2"; may be empty where
            there is one run.
        hyp: its words, over the utterances of the set.
        alignments: of the set's reference with `hyp`, in the order of the reference.
        seed: of training; None for a run that belongs to every seed.
    """

    name: str
    hyp: Text
    alignments: Alignments
    seed: str | None = None


@dataclass(frozen=True, eq=False)
class HtmlSystem:
    """A system: a row of the speakers' plot, of the confusions and of every transcript.

    Attributes:
        name: as in the tables.
        runs: at least one; counts of speakers and confusions are means and sums over them.
    """

    name: str
    runs: Sequence[HtmlRun]


@dataclass(frozen=True, eq=False)
class HtmlSet:
    """A test set.

    Attributes:
        name: of the set.
        ref: reference words of N utterances, normalised as they were scored.
        systems: in the order in which they are to be shown.
        tables: those of figures, of pairs, of distillation, in this order.
        utt2spk: speaker of each utterance; None where speakers are not known.
        mark: stands behind the headings of figures that the page makes, such as " PARTIAL 90/100".
        warnings: what must stand above the figures, such as "PARTIAL: 90 of 100 utterances".
    """

    name: str
    ref: Text
    systems: Sequence[HtmlSystem]
    tables: Sequence[Table]
    utt2spk: Mapping[str, str] | None = None
    mark: str = ""
    warnings: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class HtmlReport:
    """The whole page.

    Attributes:
        title: its heading.
        facts: (name, value) pairs on how the figures came about: normaliser, alignment, intervals,
            command, version.
        sets: at least one test set; with several the reader chooses.
        notes: lines below the heading.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    sets: Sequence[HtmlSet]
    notes: Sequence[str] = ()
