"""Writes the self-contained HTML report."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from asr_kd import __version__
from asr_kd.io.atomic import write_text
from asr_kd.report.html.encode import encode_set, to_json
from asr_kd.report.html.model import HtmlReport

MOST_UTTERANCES = 20_000
"""A set with more utterances than this shows only those with errors or differences."""

# One script, in an order in which each part knows those before it.
_SCRIPTS = ("dom", "plots", "tables", "data", "panels", "layout", "list", "filters", "main")
_INTERVAL = re.compile(r"(.*\S) (\[[^][]*\])(.*)", re.DOTALL)


def write_html(path: Path, report: HtmlReport, most_utterances: int = MOST_UTTERANCES) -> None:
    """Writes a report as one HTML file that needs no network, atomically.

    Args:
        path: of the file.
        report: what it shows.
        most_utterances: a set with more keeps only utterances in which some system errs, and of
            those the ones with the most errors; the page says so. Figures, speakers and confusions
            always count all.
    """
    write_text(path, render(report, most_utterances))


def render(report: HtmlReport, most_utterances: int = MOST_UTTERANCES) -> str:
    """The text of the page; arguments as for `write_html`.

    What comes from data is escaped in the tables and is JSON elsewhere; should something slip
    through all the same, the page's own policy lets no script run but this one, by its hash, and
    nothing reach the network.
    """
    style, script = _style(), _script()
    return _template().render(
        report=report,
        version=__version__,
        data=[Markup(to_json(encode_set(one, most_utterances))) for one in report.sets],
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("asr_kd.report.html"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["figure"] = _figure
    return environment.get_template("page.html.j2")


def _read(name: str) -> str:
    return (files("asr_kd.report.html") / "templates" / name).read_text(encoding="utf-8")


def _style() -> str:
    return _read("page.css")


def _script() -> str:
    return "".join(_read(f"{name}.js") for name in _SCRIPTS)


def _hash(text: str) -> str:
    """Of an inline element, as a Content-Security-Policy names it."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _figure(text: str) -> Markup:
    """A cell's text, the interval in brackets set apart."""
    if found := _INTERVAL.fullmatch(text):
        figure, interval, rest = found.groups()
        return Markup('{}<span class="interval">{}</span>{}').format(figure, interval, rest)
    return Markup("{}").format(text)
