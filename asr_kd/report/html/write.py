"""Writes the self-contained HTML report."""

from pathlib import Path

from asr_kd.report.html.model import HtmlReport

MOST_UTTERANCES = 20_000
"""A set with more utterances than this shows only those with errors or differences."""


def write_html(path: Path, report: HtmlReport, most_utterances: int = MOST_UTTERANCES) -> None:
    """Writes a report as one HTML file that needs no network, atomically.

    Args:
        path: of the file.
        report: what it shows.
        most_utterances: a set with more keeps only utterances in which some system errs, and of
            those the ones with the most errors; the page says so. Figures, speakers and confusions
            always count all.
    """
    raise NotImplementedError
