"""The application that every verb registers with, and how its errors end."""

from pathlib import Path
from typing import Annotated

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
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of the configuration."),
]
