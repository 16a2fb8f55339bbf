"""`asr-kd train-units`, `bundle-units`, `encode-text` and `make-ctc-graph`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Normaliser, Out, Overrides, app

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


@app.command("bundle-units")
def bundle_units_verb(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE",
            help="One of torchaudio's, such as HUBERT_ASR_LARGE, or a folder with bundle.yaml and "
            "weights.safetensors.",
        ),
    ],
    out: Out,
    normaliser: Normaliser = "none",
    lower: Annotated[
        bool, typer.Option("--lower", help="The bundle's upper-case letters are our lower-case.")
    ] = False,
) -> None:
    """Makes units of the characters that a wav2vec 2.0 or HuBERT model spells in.

    Models of these units and the bundle, as teacher bundle:BUNDLE=OUT, have one label set. Nothing
    is fetched for this.
    """
    from asr_kd.ensemble.bundle_units import bundle_units

    bundle_units(bundle, out, normaliser, lower)


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
