"""`asr-kd train-units`, `encode-text` and `make-ctc-graph`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Out, Overrides, app

UnitsFolder = Annotated[Path, typer.Argument(metavar="UNITS", help="Output of train-units.")]


@app.command("train-units")
def train_units_verb(
    text: Annotated[
        Path, typer.Argument(help="A sentence a line, or a data directory with transcripts.")
    ],
    out: Out,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Trains units of spelling by sentencepiece: the labels of CTC models, beside the blank.

    Keys: kind (unigram, bpe, char), size (the blank included; not for char), user_symbols,
    normaliser (none, plain, kaldi, english, or a YAML file of rules).
    """
    from asr_kd.config import load_config
    from asr_kd.labels.unit_stages import UnitsConfig, train_units

    train_units(text, out, load_config(UnitsConfig, config, overrides or []))


@app.command("encode-text")
def encode_text_verb(
    data: Annotated[Path, typer.Argument(help="Data or feature directory with transcripts.")],
    units: UnitsFolder,
    out: Out,
) -> None:
    """Spells transcripts in units: what train reads, in place of an alignment, for CTC."""
    from asr_kd.labels.unit_stages import encode_text

    encode_text(data, units, out)


@app.command("make-ctc-graph")
def make_ctc_graph_verb(
    units: UnitsFolder,
    lm: Annotated[Path, typer.Argument(help="ARPA file, or output of train-lm.")],
    out: Out,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Makes the decoding graph of CTC models: TLG of a language model of words, spelled in units.

    Any words are recognised by open_vocabulary=true with a language model of units, of train-lm
    --units.

    Keys: open_vocabulary.
    """
    from asr_kd.config import load_config
    from asr_kd.search.ctc_stages import CtcGraphConfig, make_ctc_graph

    make_ctc_graph(units, lm, out, load_config(CtcGraphConfig, config, overrides or []))
