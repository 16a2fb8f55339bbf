"""`asr-kd correct-bias`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import Device, Out, app


@app.command("correct-bias")
def correct_bias_verb(
    model: Annotated[Path, typer.Argument(help="Trained model.")],
    dev: Annotated[Path, typer.Option("--data", help="Dev features that the offset is chosen on.")],
    dev_ali: Annotated[Path, typer.Option("--ali", help="Their alignment.")],
    labels: Annotated[
        list[str],
        typer.Option("--labels", help="Labels to correct: a name or a glob as IY_*; may repeat."),
    ],
    out: Out,
    each: Annotated[
        bool, typer.Option("--each", help="An offset for each label; default: one for all.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Corrects the output biases of labels that the training lacked, or had too much of.

    Publishes the corrected model, and in CORRECTION.md and .json the offsets and the dev errors
    before and after: in all, on these labels and on the others.
    """
    from asr_kd.ensemble.devices import torch_device
    from asr_kd.train.correct_bias import Correction, correct_bias

    correction = Correction(tuple(labels), each)
    correct_bias(model, correction, dev, dev_ali, out, torch_device(device))
