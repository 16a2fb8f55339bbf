"""`asr-kd decode`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import (
    ConfigFile,
    Device,
    Jobs,
    Mean,
    Out,
    Overrides,
    Trust,
    Unnormalised,
    Weights,
    app,
    is_override,
)


@app.command("decode")
def decode_verb(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]|bundle:NAME=UNITS|ark:FILE=labels.json... [KEY=VALUE]...",
            help="One model, or several to average (archives of CTC's labels); then overrides of "
            "the configuration.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory to decode.")],
    graph: Annotated[
        Path,
        typer.Option(
            "--graph",
            help="Output of make-graph or make-ctc-graph; or, to search CTC models without a "
            "graph, of train-units.",
        ),
    ],
    out: Out,
    tune_on: Annotated[
        Path | None, typer.Option("--tune-on", help="Dev feature directory: tune the scales on it.")
    ] = None,
    scales_from: Annotated[
        Path | None, typer.Option("--scales-from", help="Decode directory: take its scales.")
    ] = None,
    ali: Annotated[
        Path | None, typer.Option("--ali", help="Alignment of the data, for frame accuracy.")
    ] = None,
    mean: Mean = "arithmetic",
    weights: Weights = None,
    nbest: Annotated[
        int | None,
        typer.Option(
            "--nbest", min=1, help="Keep a list of the N best word sequences for rescore."
        ),
    ] = None,
    lattice_beam: Annotated[
        float,
        typer.Option(
            "--lattice-beam", min=0.1, help="Largest cost in a list above the best, up to beam."
        ),
    ] = 8.0,
    lm: Annotated[
        Path | None,
        typer.Option("--lm", help="Language model of units, for the search without a graph."),
    ] = None,
    config: ConfigFile = None,
    nj: Jobs = 1,
    trust: Trust = False,
) -> None:
    """Decodes with one model, an ensemble or a GMM; scores the words where there is a text.

    Scales are tuned on dev data (--tune-on), taken from another decoding (--scales-from) or given
    (scales.acoustic_scale=0.2), else as OUT/scales.json then says. Tuning decodes the dev data for
    every point of the grid; a search of prefixes with --lm wants a small one. A model that reads
    features of its own is MODEL=FEATDIR.

    CTC models take a graph of make-ctc-graph, or units alone: units.kind is then prefix-beam, of
    units.prefixes, or greedy. With units.shared=true several models search together; averaged are
    not their frames but the probabilities of what they spell.

    Keys: beam, max_active, shard_size; units.kind, units.prefixes, units.shared; scales and, for
    tuning, grid: acoustic_scale, prior_scale, insertion_penalty; grid.rounds.
    """
    from asr_kd.config import load_config
    from asr_kd.decode.config import DecodeConfig
    from asr_kd.decode.decode import decode
    from asr_kd.decode.nbest import Keep
    from asr_kd.ensemble.weights import WeightsFrom

    models = [argument for argument in arguments if not is_override(argument)]
    overrides = [argument for argument in arguments if is_override(argument)]
    if not models:
        raise typer.BadParameter("at least one model is needed")
    decode(
        models, data, graph, out, load_config(DecodeConfig, config, overrides),
        tune_on=tune_on, scales_from=scales_from, ali=ali, mean=mean,
        weights=None if weights is None else WeightsFrom.parse(weights), nj=nj, trust=trust,
        keep=None if nbest is None else Keep(nbest, lattice_beam), lm=lm,
    )  # fmt: skip


@app.command("rescore")
def rescore_verb(
    decoded: Annotated[
        Path, typer.Argument(metavar="DECODE_DIR", help="Output of decode --nbest.")
    ],
    lm: Annotated[
        Path, typer.Option("--lm", help="Language model: ARPA file, .gz or not, or a train-lm's.")
    ],
    old_lm: Annotated[
        Path, typer.Option("--old-lm", help="The one that the decoding graph was made with.")
    ],
    out: Out,
    tune_on: Annotated[
        Path | None,
        typer.Option("--tune-on", help="Decode directory of dev data: tune the scales on it."),
    ] = None,
    scales_from: Annotated[
        Path | None, typer.Option("--scales-from", help="Rescored directory: take its scales.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Ranks n-best lists anew with a larger language model; compare reads the result.

    The model's file is read once, and only what the lists need is kept: it may be of any size.

    Keys: scales and, for tuning, grid: lm_scale, insertion_penalty.
    """
    from asr_kd.config import load_config
    from asr_kd.decode.rescore import RescoreConfig, rescore

    rescore(
        decoded, out, load_config(RescoreConfig, config, overrides or []), lm=lm, old_lm=old_lm,
        tune_on=tune_on, scales_from=scales_from,
    )  # fmt: skip


@app.command("evaluate")
def evaluate_verb(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]|ark:FILE=labels.json|post:FILE=labels.json|"
            "bundle:NAME=UNITS ...",
            help="One model, or several to average.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory.")],
    ali: Annotated[Path, typer.Option("--ali", help="Its alignment.")],
    out: Out,
    mean: Mean = "arithmetic",
    weights: Weights = None,
    device: Device = "auto",
    trust: Trust = False,
    unnormalised: Unnormalised = None,
) -> None:
    """Counts the frames that models get right, and their cross-entropy, without any search.

    In all, by label and by speaker, as `frames.json`; compare-frames makes tables of them.
    """
    from asr_kd.decode.evaluate import evaluate
    from asr_kd.ensemble.devices import torch_device
    from asr_kd.ensemble.teachers import as_posteriors
    from asr_kd.ensemble.weights import WeightsFrom

    shares = None if weights is None else WeightsFrom.parse(weights)
    specs = as_posteriors(models, unnormalised)
    evaluate(specs, data, ali, out, mean, shares, torch_device(device), trust)
