"""`asr-kd download`."""

from enum import StrEnum
from typing import Annotated

import typer

from asr_kd.cli.app import Out, app


class Download(StrEnum):
    """What can be downloaded."""

    mnist = "mnist"


@app.command("download")
def download_verb(
    name: Annotated[Download, typer.Argument(metavar="NAME", help="What to download.")],
    out: Out,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            help="Take the files from this address, not from the known ones; may repeat.",
        ),
    ] = None,
) -> None:
    """Downloads a corpus, checks size and checksum of each file, and publishes the folder.

    A stopped download goes on where it was. Mirrors are tried in turn.
    """
    from asr_kd.data.download import download

    download(name.value, out, tuple(mirror or ()))
