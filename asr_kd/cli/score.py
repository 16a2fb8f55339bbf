"""`asr-kd score`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import app


@app.command("score")
def score_verb(
    ref: Annotated[Path, typer.Argument(help="Reference in Kaldi's `text` format.")],
    hyp: Annotated[Path, typer.Argument(help="Hypotheses, same format and utterances.")],
    utt2spk: Annotated[
        Path | None, typer.Option("--utt2spk", help="Speakers: scores each, and draws whole ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for wer.json and Kaldi's files.")
    ] = None,
) -> None:
    """Word error rate of one hypothesis file, with a 95% bootstrap interval.

    Refuses missing, extra and duplicate utterances; an empty hypothesis counts its deletions.
    """
    from rich.console import Console

    from asr_kd.artefact import Artefact
    from asr_kd.report.table import operations, percent, terminal
    from asr_kd.score.result import score, write_score
    from asr_kd.score.text import read_pair, read_utt2spk

    ref_text, hyp_text = read_pair(ref, hyp)
    speakers = read_utt2spk(utt2spk, ref_text) if utt2spk else None
    result = score(ref_text, hyp_text, speakers)
    rows = [
        (name, str(n.words), percent(n.wer, interval, 2) if n.words else "—", operations(n))
        for name, n, interval in [
            *((speaker, n, None) for speaker, n in result.speakers.items()),
            ("all", result.corpus, result.interval),
        ]
    ]
    title = f"{hyp}: word error rate, 95% interval over {result.blocks}"
    Console().print(terminal(title, ("speaker", "words", "WER %", "S / D / I"), rows))
    for note in result.notes():
        typer.echo(note)
    if out is not None:
        inputs = {"ref": ref, "hyp": hyp} | ({"utt2spk": utt2spk} if utt2spk else {})
        artefact = Artefact(out, "score", {}, inputs)
        if not artefact.is_done():
            write_score(result, artefact.begin(), out)
            artefact.publish()
