"""Size and speed of the acoustic models: `python tools/bench_models.py`.

Forward and backward of the hard cross-entropy over rows of equal length, as in training. The
networks are those of the recipes, or as published but for the width; ratios are to the first row.
On one thread of a CPU the process's own time counts, not that of other programs.
"""

import argparse
import time
from fractions import Fraction

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import (
    BlstmConfig,
    DnnConfig,
    FrontendConfig,
    ModelConfig,
    ResnetConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)

_TDNN_OFFSETS = (tuple(range(-3, 5)), (-1, 0, 1), (-2, 0, 2), (-3, 0, 3))


def candidates(multipliers: list[Fraction], stride: int) -> dict[str, ModelConfig]:
    """The networks to measure; the first is what the others are held against."""
    layers = tuple(TdnnLayerConfig(offsets=offsets, width=160) for offsets in _TDNN_OFFSETS)
    spliced = FrontendConfig(left=10, right=5)
    found: dict[str, ModelConfig] = {
        "tdnn 4×160": TdnnConfig(layers=layers, stride=stride),
        "dnn 4×512": DnnConfig(num_layers=4, width=512, frontend=spliced),
        "blstm 2×128": BlstmConfig(),
    }
    for multiplier in multipliers:
        width = float(multiplier)
        deep: list[VggConfig | ResnetConfig] = [
            VggConfig(depth=11, width_multiplier=width, stride=stride),
            VggConfig(depth=19, width_multiplier=width, stride=stride),
            ResnetConfig(depth=18, width_multiplier=width, stride=stride),
            ResnetConfig(depth=34, width_multiplier=width, stride=stride),
        ]
        for config in deep:
            found[f"{config.kind}{config.depth} × {multiplier}"] = config
    return found


def seconds(model: AcousticModel, feats: torch.Tensor, pdf_ids: torch.Tensor) -> float:
    """Time of one forward and backward pass."""
    clock = time.perf_counter
    if not feats.is_cuda and torch.get_num_threads() == 1:
        clock = time.process_time
    lengths = torch.full((len(feats),), feats.shape[1], device=feats.device)
    model.zero_grad()
    start = clock()
    logits, _ = model(feats, lengths)
    functional.cross_entropy(logits.flatten(0, 1), pdf_ids).backward()
    if feats.is_cuda:
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--frames", type=int, default=200, help="of each row")
    parser.add_argument("--bands", type=int, default=40, help="dimensions of the features")
    parser.add_argument("--labels", type=int, default=120)
    parser.add_argument("--stride", type=int, default=2, help="of those that have one")
    parser.add_argument(
        "--multipliers", type=Fraction, nargs="+", default=[Fraction(1, 16), Fraction(1, 8)]
    )
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    num_frames = arguments.rows * arguments.frames
    feats = torch.randn(arguments.rows, arguments.frames, arguments.bands, device=device)
    pdf_ids = torch.randint(arguments.labels, (num_frames,), device=device)
    configs = candidates(arguments.multipliers, arguments.stride)
    models = {
        name: build_model(config, arguments.bands, arguments.labels).to(device)
        for name, config in configs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        seconds(model, feats, pdf_ids)  # warm-up
    for _ in range(arguments.repeats):  # interleaved: the machine's moods hit all alike
        for name, model in models.items():
            times[name].append(seconds(model, feats, pdf_ids))
    where = arguments.device if device.type != "cpu" else f"{arguments.threads} thread(s)"
    table = Table(title=f"{num_frames:,} frames, forward + backward, {where}")
    for column in ("model", "parameters", "ratio", "frames/s", "time, ratio"):
        table.add_column(column, justify="left" if column == "model" else "right")
    first = next(iter(models))
    for name, model in models.items():
        best = min(times[name])
        table.add_row(
            name, f"{model.num_params:,}", f"{model.num_params / models[first].num_params:.2f}",
            f"{num_frames / best:,.0f}", f"{best / min(times[first]):.1f}",
        )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
