"""One program, many processes: a stage's utterances in shards, dealt to ranks and workers.

Ranks come from `torchrun` or Slurm's `srun`; each takes every world-th shard and works on them with
`nj` local processes. A finished shard leaves a marker, so that a killed stage goes on with what is
missing. Rank 0 waits for all shards and publishes.
"""

import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from asr_kd.errors import AsrKdError
from asr_kd.log import progress, setup_logging

S = TypeVar("S")
Func = Callable[[int, S], Mapping[str, Any]]

# Not SLURM_NTASKS: a batch script has that too, where no `srun` has started the other processes.
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
_logger = logging.getLogger("asr_kd.shards")


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, by `torchrun` or `srun`; else (0, 1)."""
    for rank, world in _RANKS:
        if rank in os.environ and world in os.environ:
            return int(os.environ[rank]), int(os.environ[world])
    return 0, 1


def split(utt_ids: Sequence[str], shard_size: int) -> list[list[str]]:
    """Cuts a list into shards of at most `shard_size`, in order."""
    return [list(utt_ids[i : i + shard_size]) for i in range(0, len(utt_ids), shard_size)]


def run_shards(
    work: Path,
    func: Func[S],
    shards: Sequence[S],
    nj: int,
    label: str,
    sizes: Sequence[int] | None = None,
) -> list[dict[str, Any]] | None:
    """Runs `func(k, shard)` for every shard that has no marker yet.

    Args:
        work: the artefact's work folder; markers stand in `work/shards`.
        func: picklable; writes the shard's files (atomically) and returns JSON-able facts.
        shards: picklable descriptions, the same in every process.
        nj: local worker processes; 1 works in this process.
        label: what is being done, for the progress display.
        sizes: number of units in each shard, for the progress display; default 1 each.

    Returns:
        The facts of all shards in order on rank 0, which waits for the others; None elsewhere.

    Raises:
        Whatever `func` raises; shards finished before that stay finished.
    """
    rank, world = rank_and_world()
    if rank != 0 and not work.exists():  # all shards stood already, and rank 0 has published
        return None
    markers = work / "shards"
    markers.mkdir(exist_ok=True)
    sizes = [1] * len(shards) if sizes is None else sizes
    missing = [k for k in range(rank, len(shards), world) if not _marker(markers, k).exists()]
    done_before = len(range(rank, len(shards), world)) - len(missing)
    if done_before:
        _logger.info("%s: %d shards stand from an earlier run", label, done_before)
    with progress(sum(sizes[k] for k in missing), label) as advance:
        for k, facts in _results(func, [(k, shards[k]) for k in missing], nj):
            unfinished = markers / f".{k}.{os.getpid()}.tmp"
            unfinished.write_text(json.dumps(dict(facts)), encoding="utf-8")
            unfinished.replace(_marker(markers, k))
            advance(sizes[k])
    if rank != 0:
        return None
    _wait([_marker(markers, k) for k in range(len(shards))], label)
    texts = [_marker(markers, k).read_text(encoding="utf-8") for k in range(len(shards))]
    return [json.loads(text) for text in texts]


def _marker(markers: Path, k: int) -> Path:
    return markers / f"{k}.json"


def _results(
    func: Func[S], tasks: Sequence[tuple[int, S]], nj: int
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if nj <= 1 or len(tasks) <= 1:
        for k, shard in tasks:
            yield k, func(k, shard)
        return
    # Not fork: threads of torch and the decoder's state do not survive it.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(nj, len(tasks)), context, initializer=_start_worker)
    try:
        futures = {pool.submit(func, k, shard): k for k, shard in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise AsrKdError("a worker process died (killed, or out of memory?); run again, it goes on "
                         "where it stopped, perhaps with a smaller --nj") from error  # fmt: skip
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C ends workers at once; the default would end their shard and take the next.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    # Where unpickling the work has imported torch already, the variables come too late.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    setup_logging()


def _leave_with_parent() -> None:
    # A killed parent cannot dismiss its workers: they would wait, and hold memory, forever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _wait(paths: Sequence[Path], label: str) -> None:
    last = time.monotonic()
    while missing := [path for path in paths if not path.exists()]:
        if time.monotonic() - last > 30:
            last = time.monotonic()
            _logger.info("%s: waiting for %d shards of other processes", label, len(missing))
        time.sleep(0.2)
