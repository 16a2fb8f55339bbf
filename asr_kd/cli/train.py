"""`asr-kd train`."""

from pathlib import Path
from typing import Annotated

import typer

from asr_kd.cli.app import ConfigFile, Out, Overrides, app


@app.command("train")
def train_verb(
    data: Annotated[Path, typer.Argument(help="Feature directory to train on.")],
    ali: Annotated[
        Path,
        typer.Argument(
            help="Its alignment (align), or its tokens (encode-text), or both in one folder "
            "(align-ctc); - for data without transcripts, which want soft targets and "
            "distill.hard_weight=0, or lists (--nbest) and ctc.weight=0."
        ),
    ],
    dev: Annotated[Path, typer.Option("--dev", help="Feature directory that picks the best.")],
    dev_ali: Annotated[Path, typer.Option("--dev-ali", help="Alignment or tokens of the dev set.")],
    out: Out,
    overrides: Overrides = None,
    targets: Annotated[
        Path | None, typer.Option("--targets", help="Soft-target store: train a student on it.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option("--teacher", help="Model that teaches on line; repeatable."),
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="Model whose layers to start from.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="DIR:NUMBER",
            help="Cluster (from cluster-labels) that a specialist of the --init model is about.",
        ),
    ] = None,
    guide: Annotated[
        Path | None,
        typer.Option("--guide", help="Model that shows CTC at which frames to put its spikes."),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", help="Decoding graph (make-graph) for MMI, with mmi.weight."),
    ] = None,
    nbest: Annotated[
        Path | None,
        typer.Option("--nbest", help="Lists of teachers (dump-nbest), to learn whole sequences."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Trains a model: on hard labels, or as a student of stored targets or on-line teachers.

    A run that was stopped or killed goes on in mid-epoch when started again. Under torchrun or
    srun the training is data-parallel; max_frames counts all processes together.

    --teacher models also give hints: distill.hints is a list of {student: LAYER, teacher: LAYER},
    each with of (which teacher, from 1), weight, and a schedule (constant, linear, cosine) by which
    the weight falls to 0. Layers are named as in the model: layers.0, layers.3 and so on; a wrong
    name is answered with all of them. Together with --targets the store gives the targets and the
    teachers give the hints; with distill.soft_weight=0 distill.hard_weight=0 there are hints only.

    distill.loss=logits matches logits. Those of a store are rounded, the more the higher its
    temperature: form it at T = 1 with the geometric mean.

    --init takes over all layers of a model; with init.layers the first ones, every init.step-th, or
    those of a table {own layer: its layer}. OUT/init.md says what came from where.

    --cluster makes a specialist: special labels and one dustbin for all others (specialist.rest
    dustbin), or all labels with the generalist's soft targets on the others' frames (soft).
    specialist.special_share of the frames that count are special; the published model's logits are
    corrected for that.

    A folder with tokens.scp trains by CTC: ctc.weight·CTC, plus ctc.frame_weight times the
    cross-entropy with an alignment in the same folder, plus with --guide ctc.guide_weight times the
    loss of guided CTC. Of a student all this stands in the place of the hard labels. The dev set's
    ctc.criterion (token-error-rate, ctc-loss) chooses the checkpoint. Utterances with more tokens
    than frames, after model.subsampling and at the fastest augment.speed, are left out and named.

    --nbest adds nbest.weight times the cross-entropy with the teachers' distribution over the
    sequences of each list, p^nbest.scale of theirs; with soft targets all this still stands in the
    place of the hard labels. Lists alone, of data without transcripts: ALI is -, ctc.weight=0.

    --graph adds mmi.weight times the maximum mutual information of the alignment against all paths
    of a decoding graph (lattice-free): fine-tune a trained model by it (--init, few epochs, a low
    learning_rate). mmi.acoustic_scale and mmi.prior_scale are as in decoding; the right path may
    differ from the alignment by mmi.tolerance frames (0: boundaries count as words do; half a short
    word: words could be left out). MMI on the dev set then chooses the checkpoint. A graph of some
    thousand arcs is fast, one of more than 100,000 is refused.

    Keys: model.kind (dnn, tdnn, blstm, conformer, vgg, resnet) and what that kind has; cmvn, seed,
    epochs, max_frames, learning_rate, muon_learning_rate, schedule, warmup_steps, weight_decay,
    max_grad_norm, max_weight_norm, ema_decay, augment.speed.prob and so on (warp, channel, noise,
    mix, mask, shift), frames.only, frames.exclude, init.layers, init.step,
    specialist.special_share, specialist.rest, ctc.weight, ctc.frame_weight, ctc.guide_weight,
    ctc.criterion, nbest.weight, nbest.scale, mmi.weight, mmi.acoustic_scale, mmi.prior_scale,
    mmi.tolerance, accelerator, precision, save_every, log_every; of students distill.temperature,
    distill.soft_weight, distill.hard_weight, distill.loss, distill.essence.mass and so on (floor,
    rest), distill.mean, distill.weights, distill.hints, distill.teachers_per_batch,
    distill.teacher_precision.
    """
    from asr_kd.config import load_config
    from asr_kd.train.config import TrainConfig
    from asr_kd.train.inputs import TrainInputs
    from asr_kd.train.stage import train

    labels = None if str(ali) == "-" else ali
    teachers = tuple(teacher or ())
    inputs = TrainInputs(
        data, labels, dev, dev_ali, targets, teachers, init, cluster, guide, nbest, graph
    )
    train(inputs, load_config(TrainConfig, config, overrides or ()), out)
