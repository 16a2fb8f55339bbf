"""One log format, and progress that is lively on a terminal and quiet in a file."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 60.0
_logger = logging.getLogger("asr_kd")


def setup_logging(verbose: bool = False) -> None:
    """Logs to standard error, as `date time level room: message`."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    for chatty in (
        "matplotlib",
        "numba",
        "urllib3",
        "fsspec",
        "lightning_fabric",
        "lightning_utilities",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextmanager
def progress(total: int, label: str, unit: str = "utt") -> Iterator[Callable[[int], None]]:
    """Shows how far a long work is, with rate and time left.

    Args:
        total: number of units to do.
        label: what is being done.
        unit: what is counted.

    Yields:
        advance(n): call it after every n units.
    """
    if sys.stderr.isatty():
        yield from _bar(total, label, unit)
    else:
        yield from _lines(total, label, unit)


def _bar(total: int, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(n: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=n, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance


def _lines(total: int, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate if rate else float("inf")
            _logger.info("%s: %d of %d %s, %.0f %s/s, %.0f s left",
                         label, done, total, unit, rate, unit, left)  # fmt: skip

    yield advance
