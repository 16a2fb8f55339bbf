"""`asr-kd train`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Out, Overrides, app


@app.command("train")
def train_verb(
    data: Annotated[Path, typer.Argument(help="Feature directory to train on.")],
    ali: Annotated[Path, typer.Argument(help="Its alignment.")],
    dev: Annotated[Path, typer.Option("--dev", help="Feature directory that picks the best.")],
    dev_ali: Annotated[Path, typer.Option("--dev-ali", help="Alignment of the dev set.")],
    out: Out,
    overrides: Overrides = None,
    targets: Annotated[
        Path | None, typer.Option("--targets", help="Soft-target store: train a student on it.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option("--teacher", help="Model that labels each batch on line; repeatable."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="Model whose weights to start from.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Trains a model: on hard labels, or as a student of stored targets or on-line teachers.

    A run that was stopped or killed goes on in mid-epoch when started again. Under torchrun or
    srun the training is data-parallel; max_frames counts all processes together.

    Keys: model.kind (dnn, tdnn, blstm) and what that kind has; cmvn, seed, epochs, max_frames,
    learning_rate, muon_learning_rate, schedule, warmup_steps, weight_decay, max_grad_norm,
    ema_decay, augment.speed.prob and so on (warp, channel, noise, mix, mask), accelerator,
    precision, save_every, log_every; of students distill.temperature, distill.hard_weight,
    distill.mean, distill.weights, distill.teachers_per_batch, distill.teacher_precision.
    """
    from asr_kd.config import load_config
    from asr_kd.train.build import TrainInputs
    from asr_kd.train.config import TrainConfig
    from asr_kd.train.stage import train

    inputs = TrainInputs(data, ali, dev, dev_ali, targets, tuple(teacher or ()), init)
    train(inputs, load_config(TrainConfig, config, overrides or ()), out)
