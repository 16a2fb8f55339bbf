"""`asr-kd prepare`, `validate`, `subset` and `combine-data`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, Overrides, app

_logger = logging.getLogger("asr_kd.cli")


class Corpus(StrEnum):
    """The corpora that can be prepared."""

    synth = "synth"
    an4 = "an4"
    librispeech = "librispeech"
    fsdd = "fsdd"
    yesno = "yesno"
    mnist = "mnist"


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
    name: Annotated[Corpus, typer.Argument(metavar="CORPUS", help="Its name.")],
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
    librispeech: train=[train-clean-100] dev=[dev-clean,dev-other] test=[test-clean,test-other];
    dev=[] dev_speakers=8 holds readers out of train; train_hours=10 or train_utterances=5000.
    mnist (images are the frames of pages, no dictionary): page=20 dev_images=5000.
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


@app.command("subset")
def subset_verb(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data directory, with features or sound.")
    ],
    out: Out,
    share: Annotated[
        float | None, typer.Option("--share", help="This part of the frames: 0.03 are 3%.")
    ] = None,
    in_fold: Annotated[
        str | None, typer.Option("--in-fold", metavar="K/N", help="Fold K of N.")
    ] = None,
    out_of_fold: Annotated[
        str | None, typer.Option("--out-of-fold", metavar="K/N", help="All but fold K of N.")
    ] = None,
    by: Annotated[
        Literal["speaker", "utterance"] | None,
        typer.Option(
            "--by", help="What stays together. Default: speaker for folds, utterance for a share."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draw.")] = 0,
    ali: Annotated[
        Path | None,
        typer.Option(
            "--ali",
            help="Alignment of the whole, none of whose labels may be left without a frame.",
        ),
    ] = None,
    cover: Annotated[
        bool,
        typer.Option(
            "--cover",
            help="If the draw leaves one, take a small set that has all "
            "labels, filled up to the share.",
        ),
    ] = False,
) -> None:
    """Takes a part of a data directory: a share of its frames, a fold, or all but a fold.

    Utterances are taken whole; archives are not copied. The same seed gives the same folds, and
    larger shares that hold the smaller ones. The whole's alignment and targets serve the part.
    """
    from asr_kd.align.subset import Part, make_subset
    from asr_kd.data.subset import Fold

    if cover and ali is None:
        raise typer.BadParameter("needs the alignment whose labels are covered", param_hint="--ali")
    inside, outside = (None if x is None else Fold.parse(x) for x in (in_fold, out_of_fold))
    make_subset(data, Part(share, inside, outside, by, seed, cover), out, ali)


@app.command("combine-data")
def combine_data_verb(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Data directories, or folders of tokens."),
    ],
    out: Out,
) -> None:
    """Makes one of several data directories, or of several folders of tokens.

    To train on transcribed speech and pseudo-labels together, say: combine the feature directories,
    and what encode-text and pseudo-label made. No archive of features is copied; no utterance may
    be in two of them. A text is there only if all have one.
    """
    from asr_kd.align.combine import combine_data

    combine_data(folders, out)
