"""Time and memory of the distillation loss beside dense torch: `python tools/bench_loss.py`.

Forward and backward of `T²·CE_soft + 0.5·CE_hard`. The dense way is what everybody writes:
`F.kl_div(log_softmax(z / T), q)·T² + 0.5·F.cross_entropy(z, labels)`. Extra memory is the peak
beside the logits and the targets, in units of the logits; their gradient is 1.0 of it.
"""

import argparse
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from asr_kd.distill.loss import distillation_loss
from asr_kd.ensemble.soft_targets import SoftTargets

DENSE = "dense, F.kl_div + F.cross_entropy"
Step = Callable[[], Tensor]


def dense_torch(logits: Tensor, probs: Tensor, pdf_ids: Tensor, temperature: float) -> Tensor:
    log_p = functional.log_softmax(logits / temperature, dim=-1)
    soft = functional.kl_div(log_p, probs, reduction="sum") * temperature**2
    return soft + 0.5 * functional.cross_entropy(logits, pdf_ids, reduction="sum")


def sparse_autograd(
    logits: Tensor, targets: SoftTargets, pdf_ids: Tensor, temperature: float
) -> Tensor:
    """The same loss as ours, bucket included, by torch's own autograd."""
    log_p = functional.log_softmax(logits / temperature, dim=-1)
    rows = targets.frames()
    soft = -(targets.probs * log_p[rows, targets.labels]).sum()
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[rows, targets.labels] = True
    bucket = log_p.masked_fill(mask, -torch.inf).logsumexp(1)
    soft = soft - (targets.left * bucket).sum()
    hard = functional.cross_entropy(logits, pdf_ids, reduction="sum")
    return soft * temperature**2 + 0.5 * hard


def top(probs: Tensor, kept: int) -> SoftTargets:
    values, labels = probs.topk(kept, dim=1)
    indptr = torch.arange(len(probs) + 1, device=probs.device) * kept
    return SoftTargets(indptr, labels.flatten(), values.flatten(), 1 - values.sum(1))


def run(step: Step, logits: Tensor) -> None:
    logits.grad = None
    step().backward()
    if logits.is_cuda:
        torch.cuda.synchronize()


def seconds(step: Step, logits: Tensor) -> float:
    # On one thread, the thread's own time: other programs on the machine do not count.
    clock = time.perf_counter
    if not logits.is_cuda and torch.get_num_threads() == 1:
        clock = time.process_time
    start = clock()
    run(step, logits)
    return clock() - start


def extra_memory(step: Step, logits: Tensor) -> float:
    """Peak of what forward and backward allocate, in units of the logits."""
    logits.grad = None
    gc.collect()
    size = logits.numel() * logits.element_size()
    if logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(step, logits)
        return (torch.cuda.max_memory_allocated() - before) / size
    peak = before = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(step, logits)
    done.set()
    watcher.join()
    return (max(peak, resident()) - before) / size


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(
    num_frames: int, num_labels: int, temperature: float, device: str, repeats: int, table: Table
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(num_frames, num_labels, device=device, requires_grad=True)
    probs = torch.softmax(3 * torch.randn(num_frames, num_labels, device=device), dim=-1)
    pdf_ids = torch.randint(num_labels, (num_frames,), device=device)
    kept = top(probs, 16)
    steps: dict[str, Step] = {
        "dense, F.kl_div + F.cross_entropy": lambda: dense_torch(
            logits, probs, pdf_ids, temperature
        ),
        "sparse, torch's autograd": lambda: sparse_autograd(logits, kept, pdf_ids, temperature),
        "asr_kd, sparse": lambda: distillation_loss(logits, kept, pdf_ids, temperature)[0],
        "asr_kd, dense": lambda: distillation_loss(logits, probs, pdf_ids, temperature)[0],
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    memory = {}
    for name, step in steps.items():
        memory[name] = extra_memory(step, logits)  # also the warm-up
    for _ in range(repeats):  # interleaved: the machine's moods hit all alike
        for name, step in steps.items():
            times[name].append(seconds(step, logits))
    slowest = min(times[DENSE])
    for name, values in times.items():
        table.add_row(
            f"{num_labels:,}", f"{temperature:g}", name, f"{1e3 * min(values):.0f}",
            f"{slowest / min(values):.1f}", f"{memory[name]:.2f}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--frames", type=int, default=4096)
    parser.add_argument("--labels", type=int, nargs="+", default=[3000, 9000])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where = arguments.device if arguments.device != "cpu" else f"{arguments.threads} thread(s)"
    table = Table(title=f"{arguments.frames} frames, forward + backward, {where}")
    for column in ("V", "T", "loss", "ms", "times as fast", "extra memory / logits"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for num_labels in arguments.labels:
        for temperature in arguments.temperatures:
            measure(
                arguments.frames,
                num_labels,
                temperature,
                arguments.device,
                arguments.repeats,
                table,
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
