"""Size, truncation error and reading speed of the soft-target store: `python tools/bench_store.py`.

    python tools/bench_store.py --posteriors exp/t1.scp exp/t2.scp --temperature 2

Posteriors are dense log-posteriors in Kaldi archives, averaged if there are several. Without them
only synthetic ones are measured: V = 3,000, rank r of frame n with probability
`∝ exp(−(r / τ_n)^0.7)`, τ log-normal. It was fitted to top-1 0.59, top-20 0.98 and a median of 8
and mean of 19 labels for 99% of the mass; how near it comes stands above its table.

KL is KL(dense ‖ kept entries with what is left spread evenly over the other labels), nats a frame.
Reading is from a warm page cache to tensors that a loss can use, utterances in random order, in
CPU time of one thread; a store's bytes include its index of utterances.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import kaldiio
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from asr_kd.ensemble.average import average
from asr_kd.ensemble.codec import Keep, make_codec
from asr_kd.ensemble.store import (
    INDEX,
    Header,
    ShardWriter,
    TargetStore,
    TeacherId,
    write_header,
)
from asr_kd.io.ark import Archive

MASSES = (0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.993, 0.995, 0.998)
CAPS = (20, 64, 255)
READ = Keep(0.985, 64)
UTT_FRAMES = 500
READ_UTTS = 400  # so that targets outgrow a core's caches
BATCHES = (1, 10, 40)  # utterances
LOWEST = 25.0  # nats below the most probable label; no network says less
LEAST_SECONDS = 1.0


def synthetic(num_frames: int, num_labels: int = 3000) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tau = 0.78 * torch.exp(1.12 * torch.randn(num_frames, 1, generator=generator))
    ranks = torch.rand(num_frames, num_labels, generator=generator).argsort(1)
    return (-((ranks / tau) ** 0.7).clamp_max_(LOWEST)).log_softmax(1)


def real(tables: list[Path], temperature: float) -> Tensor:
    archives = [Archive.read(table) for table in tables]
    frames = []
    for utt in archives[0]:
        posts = [torch.from_numpy(np.array(archive[utt], dtype=np.float32)) for archive in archives]
        frames.append(average(posts, temperature=temperature))
    return torch.cat(frames)


def divergence(log_probs: Tensor, other: Tensor) -> Tensor:
    probs = log_probs.exp()
    return (torch.xlogy(probs, probs) - torch.xlogy(probs, other)).sum(1)


def stored(log_probs: Tensor, keep: Keep) -> tuple[float, Tensor]:
    """Bytes a frame and the KL of each frame."""
    num_labels = log_probs.shape[1]
    codec = make_codec(keep, num_labels)
    num_bytes, kl = 0, []
    for part in log_probs.split(2000):
        arrays = codec.encode(part)
        num_bytes += sum(array.nbytes for array in arrays.values())
        kl.append(divergence(part, codec.decode(arrays).dense(num_labels)))
    return num_bytes / len(log_probs), torch.cat(kl)


def fixed_top16(log_probs: Tensor) -> tuple[float, Tensor]:
    """Sixteen labels of each frame in int16, their log-probabilities in 8 bits of 1/16 nat."""
    values, labels = log_probs.topk(16, dim=1)
    probs = (-(values * -16).round().clamp(0, 255) / 16).exp()
    left = (1 - values.exp().sum(1, keepdim=True)).clamp_min(1e-7)
    scale = 1 / (probs.sum(1, keepdim=True) + left)
    others = (left * scale / (log_probs.shape[1] - 16)).repeat(1, log_probs.shape[1])
    return 48.0, divergence(log_probs, others.scatter(1, labels, probs * scale))


def kaldi_compressed(log_probs: Tensor, folder: Path) -> tuple[float, Tensor]:
    file = folder / "one.ark"
    kl = []
    with file.open("wb") as archive:
        for part in log_probs.split(UTT_FRAMES):
            kaldiio.save_ark(archive, {"u": part.numpy()}, compression_method=2)
    for (_, matrix), part in zip(
        kaldiio.load_ark(str(file)), log_probs.split(UTT_FRAMES), strict=True
    ):
        kl.append(divergence(part, torch.from_numpy(np.array(matrix)).softmax(1)))
    return file.stat().st_size / len(log_probs), torch.cat(kl)


def curve(log_probs: Tensor, title: str, folder: Path) -> Table:
    num_labels = log_probs.shape[1]
    covered = log_probs.exp().sort(1, descending=True).values.cumsum(1)
    needed = ((covered < 0.99).sum(1) + 1).numpy()
    described = (
        f"{title}: {len(log_probs):,} frames, V = {num_labels}, top-1 {covered[:, 0].mean():.3f}, "
        f"top-20 {covered[:, 19].mean():.3f}; 99% of the mass is in {np.median(needed):.0f} labels "
        f"(median; mean {needed.mean():.0f}, 95th percentile {np.quantile(needed, 0.95):.0f})"
    )
    table = Table(title=described, title_justify="left")
    for column in ("format", "bytes/frame", "of float32", "KL mean", "KL p99"):
        table.add_column(column, justify="left" if column == "format" else "right")
    dense = 4 * num_labels
    rows: list[tuple[str, float, Tensor]] = [("dense float32", dense, torch.zeros(1))]
    rows.append(("Kaldi compressed, 8 bit", *kaldi_compressed(log_probs, folder)))
    rows.append(("keep=all, float16", *stored(log_probs, Keep(None))))
    if num_labels > 16:
        rows.append(("fixed top-16, 8 bit", *fixed_top16(log_probs)))
    for mass in MASSES:
        rows.append((f"keep mass={mass:g},cap=64", *stored(log_probs, Keep(mass, 64))))
    for cap in CAPS:
        if cap < num_labels and cap != 64:
            rows.append((f"keep mass=0.99,cap={cap}", *stored(log_probs, Keep(0.99, cap))))
    for name, num_bytes, kl in rows:
        p99 = np.quantile(kl.numpy(), 0.99)
        table.add_row(
            name, f"{num_bytes:.1f}", f"{num_bytes / dense:.2%}", f"{kl.mean():.5f}", f"{p99:.5f}"
        )
    return table


def write_store(folder: Path, utts: Mapping[str, Tensor], keep: Keep) -> TargetStore:
    num_labels = next(iter(utts.values())).shape[1]
    header = Header(
        temperature=1.0, mean="arithmetic", weights=(1.0,), label_set="0", num_labels=num_labels,
        teachers=(TeacherId(name="bench", digest="0"),), keep=str(keep),
    )  # fmt: skip
    folder.mkdir()
    writer = ShardWriter(header.codec)
    for utt, log_probs in utts.items():
        writer.add(utt, len(log_probs), header.codec.encode(log_probs))
    write_header(folder, header, [writer.write(folder / "targets.0.bin")])
    return TargetStore.open(folder)


def frames_per_second(read: Callable[[list[str]], object], utts: list[str], batch: int) -> float:
    """Of reading all utterances in random order, in CPU time; the best of several passes."""
    rng = np.random.default_rng(0)
    best, spent = 0.0, 0.0
    while spent < LEAST_SECONDS:
        order = [utts[k] for k in rng.permutation(len(utts))]
        start = time.process_time()
        for k in range(0, len(order), batch):
            read(order[k : k + batch])
        seconds = time.process_time() - start
        spent += seconds
        best = max(best, len(utts) * UTT_FRAMES / seconds)
    return best


def reading(log_probs: Tensor, title: str, folder: Path) -> Table:
    table = Table(title=f"Reading {title}, utterances of {UTT_FRAMES} frames", title_justify="left")
    for column in ("format", "utterances at once", "M frames/s", "of HDF5", "bytes/frame"):
        table.add_column(column, justify="left" if column == "format" else "right")
    pieces = [p for p in log_probs.split(UTT_FRAMES) if len(p) == UTT_FRAMES]
    few = {f"utt{k:04d}": piece for k, piece in enumerate(pieces)}
    many = {f"utt{k:04d}": pieces[k % len(pieces)] for k in range(READ_UTTS)}

    with h5py.File(folder / "dense.h5", "w") as written:
        for utt, piece in few.items():
            written[utt] = piece.numpy()
    with kaldiio.WriteHelper(f"ark,scp:{folder}/c.ark,{folder}/c.scp", compression_method=2) as ark:
        for utt, piece in few.items():
            ark(utt, piece.numpy())
    hdf5, kaldi = h5py.File(folder / "dense.h5", "r"), kaldiio.load_scp(f"{folder}/c.scp")
    dense_frames = UTT_FRAMES * len(few)

    def rows() -> Iterator[tuple[str, int, float, float]]:
        size = (folder / "dense.h5").stat().st_size / dense_frames
        read: Callable[[list[str]], object] = lambda utts: [  # noqa: E731
            torch.from_numpy(hdf5[utt][:]) for utt in utts
        ]
        yield "dense float32, HDF5", 1, frames_per_second(read, list(few), 1), size
        size = (folder / "c.ark").stat().st_size / dense_frames
        read = lambda utts: [torch.from_numpy(np.array(kaldi[utt])) for utt in utts]  # noqa: E731
        yield "Kaldi compressed, kaldiio", 1, frames_per_second(read, list(few), 1), size
        for keep, utterances in ((Keep(None), few), (READ, many)):
            path = folder / f"store-{keep}"
            store = write_store(path, utterances, keep)
            size = store.num_bytes + (path / INDEX).stat().st_size
            size /= UTT_FRAMES * len(utterances)
            for batch in BATCHES if keep == READ else (1,):
                speed = frames_per_second(store.batch, list(utterances), batch)
                yield f"store, {keep}", batch, speed, size

    base = 0.0
    for name, batch, speed, size in rows():
        base = base or speed
        table.add_row(name, str(batch), f"{speed / 1e6:.2f}", f"{speed / base:.1f}", f"{size:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--posteriors", type=Path, nargs="+", help="scp of log-posteriors")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the real ones")
    parser.add_argument("--frames", type=int, default=10_000, help="synthetic ones")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = {}
    if arguments.posteriors:
        name = f"{len(arguments.posteriors)} teachers at T = {arguments.temperature:g}"
        sets[name] = real(arguments.posteriors, arguments.temperature)
    sets["synthetic"] = synthetic(arguments.frames)
    console = Console(width=100)
    for title, log_probs in sets.items():
        with tempfile.TemporaryDirectory() as folder:
            console.print(curve(log_probs, title, Path(folder)))
            console.print(reading(log_probs, title, Path(folder)))


if __name__ == "__main__":
    main()
