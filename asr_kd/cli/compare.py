"""`asr-kd compare` and `asr-kd compare-frames`."""

from typing import Annotated

import typer

from asr_kd.cli.app import Out, app


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
