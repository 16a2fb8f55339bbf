"""`asr-kd`: assembles the verbs, runs one, and turns its errors into messages and exit codes."""

import importlib
import logging
import sys
from typing import Annotated

import typer

from asr_kd import __version__
from asr_kd.cli.app import app
from asr_kd.errors import AsrKdError
from asr_kd.log import setup_logging

_VERBS = (
    "download",
    "data",
    "features",
    "align",
    "tying",
    "units",
    "ctc",
    "train",
    "correct",
    "ensemble",
    "sequences",
    "specialists",
    "decode",
    "export",
    "kaldi",
    "score",
    "compare",
)
_INTERRUPTED = 130


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asr-kd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log details.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    setup_logging(verbose)


def main() -> None:
    """Runs the command line.

    Exit codes: 0 done; 1 failed; 2 bad input or usage; 3 worse (`compare --fail-if-worse`); 130
    interrupted.
    """
    for verbs in _VERBS:
        importlib.import_module(f"asr_kd.cli.{verbs}")
    try:
        app()
    except AsrKdError as error:
        logging.getLogger("asr_kd").error("%s", error)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:  # typer turns Ctrl-C into this, without a word
            logging.getLogger("asr_kd").error("interrupted; run the same command again to go on")
        raise
    except OSError as error:  # a full disk, a folder without permission
        logging.getLogger("asr_kd").error("%s", error)
        sys.exit(1)
