"""`asr-kd dump-nbest` and `asr-kd pseudo-label`."""

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
)


@app.command("dump-nbest")
def dump_nbest_verb(
    teachers: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]|bundle:NAME=UNITS|ark:FILE=labels.json ...",
            help="CTC models, as for dump-targets.",
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="Feature directory; needs no transcripts.")],
    units: Annotated[Path, typer.Option("--units", help="Output of train-units or bundle-units.")],
    out: Out,
    n: Annotated[int, typer.Option("-n", "--n", help="Longest list.")] = 8,
    prefixes: Annotated[
        int, typer.Option("--prefixes", help="Kept by the search after each frame.")
    ] = 16,
    mean: Mean = "arithmetic",
    weights: Weights = None,
    device: Device = "auto",
    nj: Jobs = 1,
    trust: Trust = False,
    unnormalised: Unnormalised = None,
) -> None:
    """Lists the most probable token sequences of each utterance, scored by every teacher.

    Teachers search together, each over its own paths: they need not have their spikes at the same
    frames. There is no language model, neither in the search nor in the scores. What is found is
    scored exactly, over all paths, by each teacher: log p_m of the whole sequence. The ensemble's
    score averages these: the log of the mean of the probabilities, log Σ w_m·p_m, or with --mean
    geometric the mean of the logs, Σ w_m·log p_m, by which any one teacher can rule a sequence out.

    OUT/nbest.K has a line for each hypothesis: utterance, number, the ensemble's score, each
    teacher's score, tokens; scores are natural logs. train --nbest learns from the lists,
    pseudo-label takes the best.

    A killed run goes on with the shards that are missing.
    """
    from asr_kd.distill.dump_nbest import NbestDump, dump_nbest
    from asr_kd.ensemble.teachers import as_posteriors
    from asr_kd.ensemble.weights import WeightsFrom

    shares = None if weights is None else WeightsFrom.parse(weights)
    specs = as_posteriors(teachers, unnormalised)
    dump = NbestDump(specs, data, units, n, prefixes, mean, shares, device, trust)
    dump_nbest(dump, out, nj)


@app.command("pseudo-label")
def pseudo_label_verb(
    lists: Annotated[Path, typer.Argument(metavar="LISTS", help="Output of dump-nbest.")],
    out: Out,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Makes tokens of the best hypotheses: transcripts for data that have none.

    OUT takes the place of encode-text's output for train; OUT/text has the words. OUT/confidence
    has, for every utterance, the share of the best hypothesis' words in its list's probability, and
    the natural log of its probability over its number of tokens; what is below the thresholds is
    counted and named in OUT/left_out.txt.

    Keys: min_posterior, the least share (0); min_token_score, the least log-probability over tokens
    (none); keep_empty, whether utterances without a word are kept (false).
    """
    from asr_kd.config import load_config
    from asr_kd.distill.pseudo_label import PseudoLabelConfig, pseudo_label

    pseudo_label(lists, out, load_config(PseudoLabelConfig, config, overrides or []))
