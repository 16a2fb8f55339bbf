"""The application that every verb registers with, and how its errors end."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="asr-kd",
    help="Average acoustic models and distil them into one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", help="Folder to publish the result in.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file; states only what differs.")
]
Jobs = Annotated[int, typer.Option("--nj", min=1, help="Local processes.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where models run.")
]
Mean = Annotated[
    Literal["arithmetic", "geometric"],
    typer.Option("--mean", help="How several models' (tempered) distributions are averaged."),
]
Normaliser = Annotated[
    str, typer.Option("--normaliser", help="none, plain, kaldi, english, or a YAML file of rules.")
]
ScoringNormaliser = Annotated[
    str | None,
    typer.Option(
        "--normaliser",
        help="none, plain, kaldi, english, or a YAML file of rules. [default: that of the decode "
        "folders, of models of units; else none]",
    ),
]
Alignment = Annotated[
    Literal["levenshtein", "sclite"],
    typer.Option("--alignment", help="Fewest errors, or just as NIST's sclite aligns."),
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Score what all files have, and say PARTIAL.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Load TorchScript and torch.export programs: they can run code."),
]
Unnormalised = Annotated[
    Literal["softmax"] | None,
    typer.Option(
        "--unnormalised",
        help="What makes posteriors of matrices (ark:) that hold scores, as those of chain models.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="One for each model: 2,1,1; or a rule of weigh-teachers: DIR:fitted (for the "
        "arithmetic mean). Default: equal.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of the configuration."),
]


def is_override(argument: str) -> bool:
    """Whether `a=b` sets a key, and does not name a model with its own features."""
    left, equals, _ = argument.partition("=")
    return bool(equals and re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", left) and not Path(left).exists())
