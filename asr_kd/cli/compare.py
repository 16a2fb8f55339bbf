"""`asr-kd compare` and `asr-kd compare-frames`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Alignment, Out, Partial, ScoringNormaliser, app


@app.command("compare")
def compare_verb(
    systems: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROLE[@SEED][:SET]=PATH]...",
            help="Hypotheses: a file, a folder of `asr-kd decode`, or a decode folder of Kaldi; or "
            "a glob, in which {role}, {seed} and {set} stand for what a name says. A role may "
            "repeat. PATH,format=FORMAT says the format, PATH,dev=DEV_DIR where Kaldi's LM weight "
            "was the best.",
        ),
    ] = None,
    ref: Annotated[
        list[str] | None,
        typer.Option("--ref", metavar="[SET=]FILE", help="Reference, of one set or of all."),
    ] = None,
    utt2spk: Annotated[
        list[str] | None,
        typer.Option("--utt2spk", metavar="[SET=]FILE", help="Speakers; whole ones are drawn."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file that names systems and references.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for RESULTS.md, report.html, results.json and CSV."),
    ] = None,
    normaliser: ScoringNormaliser = None,
    alignment: Alignment = "levenshtein",
    partial: Partial = False,
    frames: Annotated[
        bool,
        typer.Option("--frames/--no-frames", help="Frame accuracies too; not of other labels."),
    ] = True,
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Compare all others with this system alone.")
    ] = None,
    difference: Annotated[
        list[str] | None,
        typer.Option("--difference", help="A:B, a pair to compare in place of all; may repeat."),
    ] = None,
    fail_if_worse: Annotated[
        str | None,
        typer.Option(
            "--fail-if-worse",
            metavar="SYSTEM",
            help="Exit with 3 if paired bootstrap and MAPSSWE find it worse than another.",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Level of --fail-if-worse.")
    ] = 0.05,
    title: Annotated[str, typer.Option("--title", help="Heading of the table.")] = "Results",
    note: Annotated[
        list[str] | None, typer.Option("--note", help="A line below the table; may repeat.")
    ] = None,
) -> None:
    """Compares systems in one table with paired statistics, and writes reports.

    Two text files are enough: asr-kd compare --ref ref.txt a=hyp_a.txt b=hyp_b.txt --out report

    Roles with a meaning are baseline, teacher, ensemble, hard-student and student; any other is
    just a row. Several paths of a role are its members or its seeds. Of more than six systems the
    tables show the differences from the first alone, unless --baseline or --difference says more.
    """
    from asr_kd.report.compare import Settings, compare
    from asr_kd.report.pairs import Chosen

    settings = Settings(
        tuple(ref or ()), tuple(utt2spk or ()), config, normaliser, alignment, partial, frames,
        Chosen(baseline, tuple(difference or ())), fail_if_worse, alpha,
    )  # fmt: skip
    compare(systems or [], out, title, note or [], settings)


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
