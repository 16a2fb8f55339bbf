"""Speed of an exported student on one core: `python tools/bench_transcribe.py MODEL FILE...`.

MODEL is what `asr-kd export --graph` published, FILE audio. All that `asr-kd transcribe` does is
timed: reading and features, network, search. CPU seconds of all threads of this process count, not
those of other programs; the wall clock stands beside them. `--at-least 50` ends with status 1 if it
is slower.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from asr_kd.decode.transcribe import Student
from asr_kd.features.cmvn import apply_cmvn, cmvn_stats
from asr_kd.io.audio import audio_info


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--at-least", type=float, default=0.0, help="times real time")
    arguments = parser.parse_args()
    start = time.process_time()
    student = Student(arguments.model)
    student.search(np.zeros((1, len(student.labels)), np.float32), "warm-up")  # reads the graph
    loading = time.process_time() - start
    seconds = sum(audio_info(path).seconds for path in arguments.files)
    runs = [one_pass(student, arguments.files) for _ in range(arguments.repeats)]
    best = min(runs, key=lambda run: run["CPU"])
    table = Table(title=f"{len(arguments.files)} files, {seconds:.0f} s of audio, one core")
    for column in ("work", "seconds", "real-time factor", "times real time"):
        table.add_column(column, justify="left" if column == "work" else "right")
    for work, spent in best.items():
        table.add_row(work, f"{spent:.3f}", f"{spent / seconds:.5f}", f"{seconds / spent:,.0f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"loading (once): {loading:.3f} s of CPU time")
    speed = seconds / best["CPU"]
    if speed < arguments.at_least:
        console.print(f"{speed:.0f} times real time, less than {arguments.at_least:g}")
        sys.exit(1)


def one_pass(student: Student, files: list[Path]) -> dict[str, float]:
    """Seconds by kind of work over all files; `CPU` is their sum, `wall` what a clock shows."""
    spent: dict[str, float] = defaultdict(float)
    begun = time.perf_counter()
    for path in files:
        times = [time.process_time()]
        feats = student.features(path)
        if student.cmvn != "global":
            feats = apply_cmvn(feats, cmvn_stats(feats))
        times.append(time.process_time())
        log_posts = student.log_posts(feats)
        times.append(time.process_time())
        student.search(log_posts, str(path))
        times.append(time.process_time())
        for work, a, b in zip(("features", "network", "search"), times, times[1:], strict=False):
            spent[work] += b - a
    return {**spent, "CPU": sum(spent.values()), "wall": time.perf_counter() - begun}


if __name__ == "__main__":
    main()
