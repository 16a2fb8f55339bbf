"""`asr-kd align-ctc`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Device, Jobs, Out, Trust, Weights, app, is_override


@app.command("align-ctc")
def align_ctc_verb(
    data: Annotated[Path, typer.Argument(help="Feature directory.")],
    tokens: Annotated[Path, typer.Argument(help="Its tokens, output of encode-text.")],
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]|bundle:NAME=UNITS|ark:FILE=labels.json... [KEY=VALUE]...",
            help="CTC models to average; then overrides of the configuration.",
        ),
    ],
    out: Out,
    weights: Weights = None,
    config: ConfigFile = None,
    device: Device = "auto",
    nj: Jobs = 1,
    trust: Trust = False,
) -> None:
    """Labels every frame of a CTC model with the token or blank on the best path.

    The output takes the place of the tokens: train learns its frames by ctc.frame_weight. One model
    says best where tokens are; several have their spikes at different frames, unless they had one
    guide. Utterances with more tokens than frames are skipped, counted, and listed in failed.txt.
    Keys: mean, shard_size.
    """
    from asr_kd.align.ctc import AlignCtcConfig, align_ctc
    from asr_kd.config import load_config
    from asr_kd.ensemble.weights import WeightsFrom

    models = [argument for argument in arguments if not is_override(argument)]
    overrides = [argument for argument in arguments if is_override(argument)]
    if not models:
        raise typer.BadParameter("at least one model is needed")
    align_ctc(
        data, tokens, models, out, load_config(AlignCtcConfig, config, overrides),
        weights=None if weights is None else WeightsFrom.parse(weights), device=device, nj=nj,
        trust=trust,
    )  # fmt: skip
