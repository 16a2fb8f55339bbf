"""`asr-kd build-tree`, `convert-ali` and `train-gmm`: context-dependent states."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, Overrides, app

Data = Annotated[Path, typer.Argument(help="Feature directory.")]
LangFolder = Annotated[Path, typer.Argument(help="Language folder of the alignment's labels.")]
Alignment = Annotated[Path, typer.Argument(metavar="ALI", help="Alignment folder.")]


@app.command("build-tree")
def build_tree_verb(
    data: Data,
    lang: LangFolder,
    ali: Alignment,
    out: Out,
    config: ConfigFile = None,
    nj: Jobs = 1,
    overrides: Overrides = None,
) -> None:
    """Ties context-dependent states by decision trees: makes a language folder that has them.

    Questions about neighbouring phones are clustered from the data. Every context gets a leaf,
    seen or not. Keys: leaves, context (triphone or left-biphone), min_frames, deltas.
    """
    from asr_kd.align.build_tree import TreeConfig, build_tree
    from asr_kd.config import load_config

    build_tree(data, lang, ali, out, load_config(TreeConfig, config, overrides or []), nj)


@app.command("convert-ali")
def convert_ali_verb(
    ali: Alignment,
    source: Annotated[Path, typer.Option("--from", help="Language folder of its labels.")],
    target: Annotated[Path, typer.Option("--to", help="Language folder of the labels to have.")],
    out: Out,
    nj: Jobs = 1,
) -> None:
    """Tells an alignment in the labels of another language folder with the same phones and HMMs.

    From monophone to tied states, back, and between trees; nothing is searched again.
    """
    from asr_kd.align.convert_ali import convert_ali

    convert_ali(ali, source, target, out, nj)


@app.command("train-gmm")
def train_gmm_verb(
    data: Annotated[Path, typer.Argument(help="Feature directory with transcripts.")],
    lang: LangFolder,
    ali: Alignment,
    out: Out,
    config: ConfigFile = None,
    nj: Jobs = 1,
    overrides: Overrides = None,
) -> None:
    """Trains GMMs from an alignment, of tied states too, and aligns their training data anew.

    Keys: training.gaussians, training.iterations, training.realign_every, training.max_frames, ...
    """
    from asr_kd.align.train_gmm import TrainGmmConfig, train_gmm
    from asr_kd.config import load_config

    train_gmm(data, lang, ali, out, load_config(TrainGmmConfig, config, overrides or []), nj)
