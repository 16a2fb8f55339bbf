"""Soft targets at a high temperature match logits: `python tools/plot_high_temperature.py`.

With student logits z, teacher logits v and V labels, `V·T²·d CE_soft/dz` goes to `z − v` as T grows
(without the means over the labels; paper, section 2.1). What is measured is the relative difference
of the two, over all frames, for each T: it should fall as 1/T. The logits are random, or with
`--models STUDENT TEACHER --data FEATDIR` those of two trained models. `--out FILE.svg` draws it.
"""

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from asr_kd.data.directory import DataDir
from asr_kd.distill.loss import soft_cross_entropy
from asr_kd.ensemble.teachers import open_teachers

TEMPERATURES = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]


def relative_difference(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """`|V·T²·gradient − (z − v)| / |z − v|` of logits (N,V) whose rows add up to 0."""
    logits = student.clone().requires_grad_()
    total, _ = soft_cross_entropy(logits, torch.softmax(teacher / temperature, 1), temperature)
    (gradient,) = torch.autograd.grad(total, logits)
    limit = student - teacher
    return float((student.shape[1] * temperature**2 * gradient - limit).norm() / limit.norm())


def random_logits(num_frames: int, num_labels: int, scale: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_frames, num_labels)
    return [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def models_logits(models: list[str], data: Path, num_frames: int) -> list[Tensor]:
    """Log-posteriors are logits up to a constant of the frame."""
    teachers = open_teachers(models, data)
    frames: list[list[Tensor]] = [[], []]
    for utt in DataDir.read(data).utt_ids:
        for rows, teacher in zip(frames, teachers, strict=True):
            rows.append(teacher.log_posts([utt])[0].double())
        if sum(map(len, frames[0])) >= num_frames:
            break
    return [torch.cat(rows)[:num_frames] for rows in frames]


def draw(found: dict[float, float], out: Path, title: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    # Texts stay texts, and the same figures make the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "asr_kd"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.2, 3.6), layout="constrained")
    axes.loglog(list(found), list(found.values()), "o-", label="measured")
    last, value = list(found.items())[-1]
    axes.loglog(list(found), [value * last / t for t in found], "--", color="grey", label="1/T")
    axes.set_xlabel("temperature")
    axes.set_ylabel("relative difference")
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="picture to draw: .png or .svg")
    parser.add_argument("--models", nargs=2, metavar=("STUDENT", "TEACHER"))
    parser.add_argument("--data", type=Path, help="feature directory of the models")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=100, help="of random logits")
    parser.add_argument("--scale", type=float, default=3.0, help="standard deviation of those")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES)
    arguments = parser.parse_args()
    if (arguments.models is None) != (arguments.data is None):
        parser.error("--models and --data belong together")
    if arguments.models:
        logits = models_logits(arguments.models, arguments.data, arguments.frames)
        kind = "of two models"
    else:
        logits = random_logits(arguments.frames, arguments.labels, arguments.scale, arguments.seed)
        kind = f"random, standard deviation {arguments.scale:g}, seed {arguments.seed}"
    student, teacher = (z - z.mean(1, keepdim=True) for z in logits)
    title = f"V·T²·gradient against z − v: {len(student)} frames, {student.shape[1]} labels"
    table = Table()
    for column in ("T", "relative difference", "· T"):
        table.add_column(column, justify="right")
    found = {t: relative_difference(student, teacher, t) for t in sorted(arguments.temperatures)}
    for temperature, difference in found.items():
        table.add_row(f"{temperature:g}", f"{difference:.5f}", f"{difference * temperature:.3f}")
    console = Console()
    console.print(f"{title}; logits {kind}", markup=False, highlight=False)
    console.print(table)
    if arguments.out is not None:
        draw(found, arguments.out, title)


if __name__ == "__main__":
    main()
