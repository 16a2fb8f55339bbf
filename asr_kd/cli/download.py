"""`asr-kd download`."""

from enum import StrEnum
from typing import Annotated

import typer

from asr_kd.cli.app import Out, app


class Download(StrEnum):
    """What can be downloaded."""

    mnist = "mnist"
    librispeech = "librispeech"
    mini_librispeech = "mini_librispeech"


@app.command("download")
def download_verb(
    name: Annotated[Download, typer.Argument(metavar="NAME", help="What to download.")],
    out: Out,
    parts: Annotated[
        str,
        typer.Option(
            "--parts", help="Which parts, with commas between, or all; without it: lists them."
        ),
    ] = "",
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            help="Take the files from this address, not from the known ones; may repeat. "
            "For LibriSpeech what OpenSLR has behind resources/.",
        ),
    ] = None,
    sums_of_mirror: Annotated[
        bool,
        typer.Option(
            "--sums-of-mirror",
            help="The mirror's md5sum.txt says what its files are: for a corpus of your own in "
            "the same layout.",
        ),
    ] = False,
    nj: Annotated[int, typer.Option("--nj", min=1, help="Parts at a time.")] = 3,
) -> None:
    """Downloads parts of a corpus, checks size and checksum of each file, and publishes folders.

    A stopped download goes on where it was. Mirrors are tried in turn. Archives are unpacked inside
    their folder only and not kept; a part that is there already is not fetched again.
    """
    from asr_kd.data.download import download

    names = [part for part in parts.split(",") if part]
    download(name.value, out, names, tuple(mirror or ()), nj, sums_of_mirror)
