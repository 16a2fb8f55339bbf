"""`asr-kd score`, `asr-kd compare` and `asr-kd compare-frames`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Out, app


@app.command("score")
def score_verb(
    ref: Annotated[Path, typer.Argument(help="Reference in Kaldi's `text` format.")],
    hyp: Annotated[Path, typer.Argument(help="Hypotheses, same format and utterances.")],
    utt2spk: Annotated[
        Path | None, typer.Option("--utt2spk", help="Speakers: scores each, and draws whole ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for wer.json and per_spk.")
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
    if out is not None:
        inputs = {"ref": ref, "hyp": hyp} | ({"utt2spk": utt2spk} if utt2spk else {})
        artefact = Artefact(out, "score", {}, inputs)
        if not artefact.is_done():
            write_score(result, artefact.begin())
            artefact.publish()


@app.command("compare")
def compare_verb(
    systems: Annotated[
        list[str],
        typer.Argument(metavar="ROLE[@SEED]=DECODE_DIR...", help="Systems; a role may repeat."),
    ],
    out: Out,
    title: Annotated[str, typer.Option("--title", help="Heading of the table.")] = "Results",
    note: Annotated[
        list[str] | None, typer.Option("--note", help="A line below the table; may repeat.")
    ] = None,
) -> None:
    """Compares decoded systems in one table with paired statistics, and writes RESULTS.md.

    Roles with a meaning are baseline, teacher, ensemble, hard-student and student; any other is
    just a row. Several folders of a role are its members or its seeds.
    """
    from asr_kd.report.compare import compare

    compare(systems, out, title, note or [])


@app.command("compare-frames")
def compare_frames_verb(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="ROLE[@SEED]=DIR...",
            help="Outputs of evaluate or decode, or folders of such; a role may repeat.",
        ),
    ],
    out: Out,
    title: Annotated[str, typer.Option("--title", help="Heading of the table.")] = "Results",
    note: Annotated[
        list[str] | None, typer.Option("--note", help="A line below the table; may repeat.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Role that all others are compared with.")
    ] = None,
    difference: Annotated[
        list[str] | None, typer.Option("--difference", help="A:B, a pair of roles; may repeat.")
    ] = None,
    won_back: Annotated[
        list[str] | None,
        typer.Option(
            "--won-back",
            help="FULL:HARD:SOFT, roles: the share (SOFT - HARD) / (FULL - HARD) of lost accuracy; "
            "may repeat.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="Count errors on labels like this (a glob); may repeat."),
    ] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Numbers of errors in place of accuracies.")
    ] = False,
) -> None:
    """Compares frame accuracies in one table with paired statistics, and writes RESULTS.md.

    A row for each role, columns for each data set that was evaluated: accuracy or errors,
    cross-entropy, word error rate where a role was decoded, parameters.
    """
    from asr_kd.report.frames import FrameReport, compare_frames

    report = FrameReport(
        title, tuple(note or ()), baseline, tuple(difference or ()), tuple(won_back or ()),
        tuple(labels or ()), errors,
    )  # fmt: skip
    compare_frames(systems, out, report)
