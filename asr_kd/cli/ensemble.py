"""`asr-kd dump-targets`, `asr-kd inspect-targets` and `asr-kd weigh-teachers`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Device, Jobs, Mean, Out, Trust, Unnormalised, app

Teachers = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL[=FEATDIR]|ark:FILE=labels.json|post:FILE=labels.json|bundle:NAME=UNITS ...",
        help="Trained models, or what a model.yaml describes, each with features of its own if "
        "need be; archives of log-posteriors (an .scp or one archive), or Kaldi's posteriors "
        "(post:, or transition-post:FILE=IMPORTED over transition-ids); torchaudio's wav2vec 2.0 "
        "and HuBERT models and output of bundle-units.",
    ),
]


@app.command("dump-targets")
def dump_targets_verb(
    teachers: Teachers,
    data: Annotated[Path, typer.Option("--data", help="Feature directory to label.")],
    out: Out,
    temperature: Annotated[
        str,
        typer.Option("--temperature", help="T, or several: 1,2,5 makes OUT/T1, OUT/T2, OUT/T5."),
    ] = "1",
    mean: Mean = "arithmetic",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="One for each teacher: 2,1,1; or a rule of weigh-teachers: DIR:fitted (for the "
            "arithmetic mean), DIR:wer, DIR:best, DIR:equal. Default: equal.",
        ),
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
    device: Device = "auto",
    nj: Jobs = 1,
    trust: Trust = False,
    unnormalised: Unnormalised = None,
) -> None:
    """Averages teachers into a store of soft targets, in one pass over the data.

    A killed run goes on with the shards that are missing.

    --cross-fit knows what a teacher was trained on, and what its own on-line teachers were; not
    what the teachers of a store were that it learnt from.
    """
    from asr_kd.ensemble.codec import Keep
    from asr_kd.ensemble.dump import Dump, dump_targets
    from asr_kd.ensemble.teachers import as_posteriors
    from asr_kd.ensemble.weights import WeightsFrom

    temperatures = parse_numbers(temperature, "--temperature")
    shares = None if weights is None else WeightsFrom.parse(weights)
    rule = Keep.parse(keep)
    specs = as_posteriors(teachers, unnormalised)
    dump = Dump(specs, data, temperatures, mean, shares, rule, device, cross_fit, trust)
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
    table.add_column()
    table.add_column(overflow="fold")  # paths of teachers are long
    for name, value in describe(store).items():
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)


@app.command("weigh-teachers")
def weigh_teachers_verb(
    teachers: Teachers,
    data: Annotated[Path, typer.Option("--data", help="Dev feature directory.")],
    ali: Annotated[Path, typer.Option("--ali", help="Its alignment.")],
    out: Out,
    decoded: Annotated[
        list[Path] | None,
        typer.Option(
            "--decoded",
            help="Decode directory of the dev set by the first teacher, the second ...: as many as "
            "teachers. For weights by WER.",
        ),
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    unnormalised: Unnormalised = None,
) -> None:
    """Finds weights for an average of teachers on dev data, and what each teacher adds to it.

    Rules: equal; fitted (least cross-entropy of the arithmetic mean); best (the teacher of the
    highest frame accuracy alone); wer (inversely to word errors + 1). OUT/WEIGHTS.md shows each
    teacher, each rule's averages and the averages without each teacher; dump-targets and evaluate
    take --weights OUT:RULE.
    """
    from asr_kd.ensemble.devices import torch_device
    from asr_kd.ensemble.teachers import as_posteriors
    from asr_kd.report.weigh import weigh_teachers

    specs = as_posteriors(teachers, unnormalised)
    weigh_teachers(specs, data, ali, out, decoded or (), torch_device(device), trust)


def parse_numbers(text: str, option: str) -> tuple[float, ...]:
    """Numbers of an option, with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: expected numbers like 1,2,5", param_hint=option) \
            from None  # fmt: skip
