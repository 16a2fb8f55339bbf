"""`asr-kd export` and `asr-kd transcribe`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Out, Overrides, app


@app.command("export")
def export_verb(
    model: Annotated[Path, typer.Argument(help="A trained network, the student for one.")],
    out: Out,
    overrides: Overrides = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit weights; `decode` and `evaluate` tell the cost.")
    ] = False,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", help="Output of make-graph or make-ctc-graph, for transcribe."),
    ] = None,
    scales_from: Annotated[
        Path | None,
        typer.Option("--scales-from", help="Decode directory: take its scales and search."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Turns a network into an ONNX program, with all that its use needs beside it.

    The program takes any numbers of utterances and frames; it is published only if ONNX Runtime
    gives the network's log-posteriors within 1e-4. With --graph the folder is all that transcribe
    wants. decode, evaluate and dump-targets take it as a model.

    Keys, with --graph: scales.acoustic_scale, scales.prior_scale, scales.insertion_penalty; beam,
    max_active.
    """
    from asr_kd.config import load_config
    from asr_kd.decode.config import DecodeConfig
    from asr_kd.decode.export import export

    search = load_config(DecodeConfig, config, overrides or [])
    export(model, out, search, int8=int8, graph=graph, scales_from=scales_from)


@app.command("transcribe")
def transcribe_verb(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio, one channel.")],
    model: Annotated[Path, typer.Option("--model", help="Output of export --graph.")],
    resample: Annotated[
        bool, typer.Option("--resample", help="Convert audio of another sample rate.")
    ] = False,
    one_speaker: Annotated[
        bool,
        typer.Option(
            "--one-speaker",
            help="All files are one speaker's: normalise them together, where the model does so "
            "by speaker. Otherwise each file is a speaker of its own.",
        ),
    ] = False,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of the network.")] = 1,
    stream: Annotated[
        Path | None,
        typer.Option(
            "--stream",
            metavar="NETWORK",
            help="Hear the files as sound that comes, by the network that was exported (its "
            "folder; of cmvn=global, and a bounded context): features, network and search take "
            "block after block. What has been heard is shown on the standard error as it grows.",
        ),
    ] = None,
    block_ms: Annotated[
        float | None,
        typer.Option("--block-ms", min=1, help="Sound of a block, with --stream. [default: 200]"),
    ] = None,
) -> None:
    """Prints what is said in audio files, a line each: the file, a tab, the words."""
    from asr_kd.decode.transcribe import Student, transcribe

    if stream is None:
        if block_ms is not None:
            raise typer.BadParameter("--block-ms is of use with --stream only")
        student = Student(model, threads)
        for path, words, _ in transcribe(files, student, convert=resample, one_speaker=one_speaker):
            typer.echo(f"{path}\t{' '.join(words)}")
        return
    if resample or one_speaker:
        raise typer.BadParameter("--resample and --one-speaker want whole files, not --stream")
    from asr_kd.decode.streaming import stream as listen

    shown: list[str] = []
    for heard in listen(files, Student(model), stream, block_ms or 200.0, threads):
        path, words, _ = heard.so_far
        if heard.last:
            typer.echo(f"{path}\t{' '.join(words)}")
        elif words != shown:
            typer.echo(f"{path}\t{heard.seconds:.2f} s\t{' '.join(words)}", err=True)
        shown = [] if heard.last else words
