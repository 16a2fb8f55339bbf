import math

import pytest

from asr_kd.report.html.model import Cell, Column, Table


@pytest.mark.parametrize("ends", [(1.0, None), (None, 2.0)])
def test_an_interval_has_two_ends(ends: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValueError, match="an interval has two ends"):
        Cell("x", 1.5, *ends)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is no number"):
        Cell("x", value)


def test_rows_have_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="'T': 2 columns, a row of 1"):
        Table("T", [Column("a"), Column("b")], [[Cell("1"), Cell("2")], [Cell("1")]])
