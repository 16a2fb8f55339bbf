"""`asr-kd import-kaldi` and `asr-kd export-loglikes`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, app, is_override


@app.command("import-kaldi")
def import_kaldi_verb(
    experiment: Annotated[
        Path, typer.Argument(metavar="EXP", help="Kaldi experiment: final.mdl, tree, ...")
    ],
    out: Out,
    lang: Annotated[
        Path | None, typer.Option("--lang", help="Kaldi's lang folder. Default: EXP/lang.")
    ] = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", help="Kaldi's graph folder. Default: EXP/graph.")
    ] = None,
    ali: Annotated[
        Path | None,
        typer.Option("--ali", help="Folder of ali.*.gz. Default: EXP itself, or EXP/ali."),
    ] = None,
    feats: Annotated[
        Path | None,
        typer.Option("--feats", help="Data directory: alignments must fit its features."),
    ] = None,
    unnormalised: Annotated[
        Literal["softmax"] | None,
        typer.Option(
            "--unnormalised",
            help="Take a chain model, whose scores are no posteriors, as a teacher by its softmax.",
        ),
    ] = None,
    nj: Jobs = 1,
) -> None:
    """Makes label set, alignment, priors and decoding graph of a Kaldi experiment.

    Labels are Kaldi's pdf-ids, in their order. OUT is an alignment (train, evaluate, decode --ali)
    and a graph (decode --graph) at once. Kaldi itself is not needed. Its features come in by
    make-feats DATA kind=external name=NAME.
    """
    from asr_kd.align.import_kaldi import import_kaldi

    import_kaldi(
        experiment, out, lang=lang, graph=graph, ali=ali, feats=feats,
        unnormalised=unnormalised, nj=nj,
    )  # fmt: skip


@app.command("export-loglikes")
def export_loglikes_verb(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]... [KEY=VALUE]...",
            help="One model, or several to average; then overrides of the configuration.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory to score.")],
    out: Out,
    config: ConfigFile = None,
    nj: Jobs = 1,
) -> None:
    """Writes log-likelihoods for Kaldi's decoders: latgen-faster-mapped reads scp:OUT/loglikes.scp.

    The models must have labels of import-kaldi for Kaldi's graphs to fit. Keys: prior_scale, mean,
    shard_size.
    """
    from asr_kd.config import load_config
    from asr_kd.decode.loglikes import LoglikesConfig, export_loglikes

    models = [argument for argument in arguments if not is_override(argument)]
    overrides = [argument for argument in arguments if is_override(argument)]
    if not models:
        raise typer.BadParameter("at least one model is needed")
    export_loglikes(models, data, out, load_config(LoglikesConfig, config, overrides), nj)
