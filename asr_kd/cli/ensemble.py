"""`asr-kd dump-targets` and `asr-kd inspect-targets`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Jobs, Out, app, numbers


class Mean(StrEnum):
    """How the teachers' distributions are averaged."""

    arithmetic = "arithmetic"
    geometric = "geometric"


class Device(StrEnum):
    """Where networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@app.command("dump-targets")
def dump_targets_verb(
    teachers: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]|ark:POSTERIORS.scp=labels.json ...",
            help="Trained models, each with features of its own if need be; archives of "
            "log-posteriors.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory to label.")],
    out: Out,
    temperature: Annotated[
        str,
        typer.Option("--temperature", help="T, or several: 1,2,5 makes OUT/T1, OUT/T2, OUT/T5."),
    ] = "1",
    mean: Annotated[Mean, typer.Option("--mean", help="Of the tempered distributions.")] = (
        Mean.arithmetic
    ),
    weights: Annotated[
        str | None, typer.Option("--weights", help="One for each teacher: 2,1,1. Default: equal.")
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            help="Of each frame, the most probable labels up to this mass and at most this many; "
            "or `all`.",
        ),
    ] = "mass=0.99,cap=64",
    cross_fit: Annotated[
        bool,
        typer.Option(
            "--cross-fit", help="Average each utterance over the teachers not trained on it."
        ),
    ] = False,
    device: Annotated[Device, typer.Option("--device", help="Where models run.")] = Device.auto,
    nj: Jobs = 1,
) -> None:
    """Averages teachers into a store of soft targets, in one pass over the data.

    A killed run goes on with the shards that are missing.
    """
    from asr_kd.ensemble.codec import Keep
    from asr_kd.ensemble.dump import Dump, dump_targets

    temperatures = numbers(temperature, "--temperature")
    shares = None if weights is None else numbers(weights, "--weights")
    rule = Keep.parse(keep)
    dump = Dump(
        tuple(teachers), data, temperatures, mean.value, shares, rule, device.value, cross_fit
    )
    dump_targets(dump, out, nj)


@app.command("inspect-targets")
def inspect_targets_verb(
    store: Annotated[Path, typer.Argument(help="Output of dump-targets.")],
) -> None:
    """Checks a store and shows its header, size, truncation error and teacher agreement."""
    from rich.console import Console
    from rich.table import Table

    from asr_kd.ensemble.inspect import describe

    table = Table(show_header=False, box=None)
    for name, value in describe(store).items():
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)
