"""`asr-kd score`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Alignment, Partial, ScoringNormaliser, app


@app.command("score")
def score_verb(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="REF HYP | DECODE_DIR",
            help="Reference and hypotheses: Kaldi's text, trn, stm with ctm, CSV or JSON lines; "
            "FILE,format=FORMAT where its name does not tell. Or a folder of `asr-kd decode`; or "
            "a decode folder of Kaldi, DIR,dev=DEV_DIR to choose the LM weight on DEV_DIR.",
        ),
    ],
    utt2spk: Annotated[
        str | None, typer.Option("--utt2spk", help="Speakers: scores each, and draws whole ones.")
    ] = None,
    normaliser: ScoringNormaliser = None,
    alignment: Alignment = "levenshtein",
    partial: Partial = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for wer.json and Kaldi's scoring files.")
    ] = None,
) -> None:
    """Word, character and sentence error rate of one system, with 95% bootstrap intervals.

    Refuses missing, extra and duplicate utterances; an empty hypothesis counts its deletions.
    """
    from asr_kd.report.comparison import Scoring
    from asr_kd.report.score import score_files

    if len(files) > 2:
        raise typer.BadParameter("a reference and one hypothesis file; compare takes several")
    scoring = Scoring(alignment=alignment, partial=partial)
    score_files(files, utt2spk, scoring, out, normaliser)
