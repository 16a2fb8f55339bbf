"""`asr-kd prepare` and `asr-kd validate`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, Overrides, app

_logger = logging.getLogger("asr_kd.cli")


class Corpus(StrEnum):
    """The corpora that can be prepared."""

    synth = "synth"
    an4 = "an4"
    fsdd = "fsdd"
    yesno = "yesno"


class Table(StrEnum):
    """Tables that can be required of a data directory."""

    wav = "wav"
    segments = "segments"
    text = "text"
    utt2spk = "utt2spk"
    spk2utt = "spk2utt"
    feats = "feats"
    cmvn = "cmvn"
    num_frames = "num_frames"


@app.command("prepare")
def prepare_verb(
    name: Annotated[Corpus, typer.Argument(metavar="CORPUS", help="synth, an4, fsdd or yesno.")],
    out: Out,
    overrides: Overrides = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Where it is; synth needs none.")
    ] = None,
    config: ConfigFile = None,
    nj: Jobs = 1,
) -> None:
    """Makes train, dev and test directories of a corpus, its dictionary, and its LM or LM text.

    an4: source=auto|sph|mfc splits=DIR dev_speakers=7.  fsdd: leave_out=SPEAKER.
    synth: seed=0 snr=[0,20] rt60=[0.1,0.5] train_utterances=1200 and so on.
    """
    from asr_kd.config import load_config
    from asr_kd.data.corpora.registry import CORPORA

    config_type, prepare = CORPORA[name.value]
    prepare(corpus, out, load_config(config_type, config, overrides or ()), nj)


@app.command("validate")
def validate_verb(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Kaldi data directory.")],
    require: Annotated[
        list[Table], typer.Option("--require", help="Table that must be there; may repeat.")
    ] = [Table.utt2spk, Table.spk2utt],  # noqa: B006
    allow_pipes: Annotated[
        bool, typer.Option("--allow-pipes", help="Accept commands in wav.scp; they are not run.")
    ] = False,
) -> None:
    """Lists every fault of a data directory with file, line and id; exit code 2 if there are any.

    Reads all tables, the headers of all sound files, and all features.
    """
    from asr_kd.data.validate import faults, warnings

    found = faults(data, [table.value for table in require], allow_pipes)
    for warning in warnings(data):
        _logger.warning("%s", warning)
    for fault in found:
        typer.echo(fault)
    if found:
        typer.echo(f"{data}: faults: {len(found)}", err=True)
        raise typer.Exit(2)
    typer.echo(f"{data}: no faults")
