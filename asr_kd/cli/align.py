"""`asr-kd prepare-lang`, `train-lm`, `make-graph`, `flat-start`, `align` and `label-frames`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Jobs, Out, Overrides, app, is_override

Data = Annotated[Path, typer.Argument(help="Feature directory with transcripts.")]
LangFolder = Annotated[Path, typer.Argument(help="Output of prepare-lang or build-tree.")]
Transitions = Annotated[
    Path | None,
    typer.Option("--transitions", help="Take transition probabilities from this alignment."),
]


@app.command("prepare-lang")
def prepare_lang_verb(
    dictionary: Annotated[
        Path, typer.Argument(metavar="DICT", help="Kaldi dictionary folder (lexicon.txt, ...).")
    ],
    out: Out,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Makes the language folder: words, phones, HMM topology, label set, L.

    Keys: states, silence_states, silence_prob, oov.
    """
    from asr_kd.config import load_config
    from asr_kd.search.stages import LangConfig, prepare_lang

    prepare_lang(dictionary, out, load_config(LangConfig, config, overrides or []))


@app.command("train-lm")
def train_lm_verb(
    text: Annotated[Path, typer.Argument(help="A sentence a line.")],
    out: Out,
    lang: Annotated[
        Path | None, typer.Option("--lang", help="Language folder: its words are the vocabulary.")
    ] = None,
    units: Annotated[
        Path | None, typer.Option("--units", help="Output of train-units: a model of its units.")
    ] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Estimates an n-gram language model and writes it as lm.arpa.

    Keys: order, smoothing (witten-bell or kneser-ney).
    """
    from asr_kd.config import load_config
    from asr_kd.search.stages import LmConfig, train_lm

    train_lm(text, out, load_config(LmConfig, config, overrides or []), lang, units)


@app.command("make-graph")
def make_graph_verb(
    lang: LangFolder,
    lm: Annotated[Path, typer.Argument(help="ARPA file, or output of train-lm.")],
    out: Out,
    transitions: Transitions = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Makes the decoding graph HCLG.

    Keys: transition_scale, self_loop_scale.
    """
    from asr_kd.config import load_config
    from asr_kd.search.stages import GraphConfig, make_graph

    make_graph(lang, lm, out, load_config(GraphConfig, config, overrides or []), transitions)


@app.command("flat-start")
def flat_start_verb(
    data: Data,
    lang: LangFolder,
    out: Out,
    config: ConfigFile = None,
    nj: Jobs = 1,
    overrides: Overrides = None,
) -> None:
    """Trains monophone GMMs from transcripts alone, and aligns their training data.

    Utterances that cannot be aligned are skipped, counted, and listed in failed.txt.
    Keys: training.gaussians, training.iterations, training.search.beam, ...
    """
    from asr_kd.align.flat_start import FlatStartConfig, flat_start
    from asr_kd.config import load_config

    flat_start(data, lang, out, load_config(FlatStartConfig, config, overrides or []), nj)


@app.command("align")
def align_verb(
    data: Data,
    lang: LangFolder,
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[=FEATDIR]... [KEY=VALUE]...",
            help="A GMM folder, or networks to average; then overrides of the configuration.",
        ),
    ],
    out: Out,
    transitions: Transitions = None,
    config: ConfigFile = None,
    nj: Jobs = 1,
) -> None:
    """Labels every frame with the HMM state on the best path through its transcript.

    Utterances that cannot be aligned are skipped, counted, and listed in failed.txt.
    Keys: search.beam, search.retry_beam, search.acoustic_scale, prior_scale, ...
    """
    from asr_kd.align.align import AlignConfig, align
    from asr_kd.config import load_config

    models = [argument for argument in arguments if not is_override(argument)]
    overrides = [argument for argument in arguments if is_override(argument)]
    if not models:
        raise typer.BadParameter("at least one model is needed")
    settings = load_config(AlignConfig, config, overrides)
    align(data, lang, models, out, settings, transitions=transitions, nj=nj)


@app.command("label-frames")
def label_frames_verb(
    data: Data,
    labels: Annotated[
        str, typer.Option("--labels", help='All labels in order, such as "0 1 2 3 4 5 6 7 8 9".')
    ],
    out: Out,
) -> None:
    """Labels every frame with the word at its place in the transcript: a word for each frame.

    For frames that need no alignment, such as the images of a page. The output takes the place of
    an alignment wherever one is asked for.
    """
    from asr_kd.align.label_frames import label_frames

    label_frames(data, labels.split(), out)
