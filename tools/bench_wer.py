"""Speed and memory of scoring with alignments beside its peers; prints a table.

    python tools/bench_wer.py [--utterances 100000] [--repeats 3]

Three systems of 5, 10 and 20% word errors, about 20 words an utterance out of 20,000 (a word's
frequency goes with 1 / rank), 100 utterances a speaker. Every row reads the four files, aligns each
system with the reference and counts; it runs in a process of its own, one row after the other in
several rounds. Seconds are of CPU, the least of the rounds, without starting the process; the peak
is the largest resident size of the whole process, interpreter and libraries included.

Character errors, which jiwer counts, have a row of their own; it has nothing to stand beside.
Below the table: paired bootstrap and all tests of every pair, and `asr-kd compare` as a command.
sclite (Debian: apt-get install sctk) is left out where it is not installed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from shutil import which

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from asr_kd.score.alignment import Method, align
from asr_kd.score.formats.read import read_transcript
from asr_kd.score.pair import PairSide, compare_pair
from asr_kd.score.text import Text
from asr_kd.score.wer import character_errors

ERROR_RATES = (0.05, 0.10, 0.20)
VOCABULARY = 20_000
WORDS = 20  # of an utterance, the mean of a Poisson distribution
UTTERANCES_OF_A_SPEAKER = 100
RESAMPLES = 1000
SCLITE = "sclite"
CHARACTERS = "asr_kd, characters"


@dataclass(frozen=True)
class Cost:
    """What a row took.

    Attributes:
        seconds: of CPU, all in all.
        aligning: of them after the files were read; None where that is not known.
        peak: bytes.
        counts: substitutions, deletions and insertions of all systems together; of characters
            the errors alone.
    """

    seconds: float
    aligning: float | None
    peak: int
    counts: tuple[int, ...]


def utterance_id(number: int) -> str:
    """Of its speaker and itself, as sclite's `-i spu_id` expects it."""
    return f"s{number // UTTERANCES_OF_A_SPEAKER:05}_{number:07}"


def speaker(utt_id: str) -> str:
    return utt_id.split("_")[0]


def write_corpus(folder: Path, utterances: int) -> None:
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, VOCABULARY + 1)
    words = np.array([f"word{i}" for i in range(VOCABULARY)])

    def draw(count: int) -> NDArray[np.int64]:
        return rng.choice(VOCABULARY, count, p=frequency / frequency.sum())

    lengths = rng.poisson(WORDS, utterances)
    ref = draw(lengths.sum())
    _write(folder / "ref", words[ref], lengths)
    lines = [f"{utt_id} {speaker(utt_id)}\n" for utt_id in map(utterance_id, range(utterances))]
    (folder / "utt2spk").write_text("".join(lines))
    of = np.repeat(np.arange(utterances), lengths)
    for i, rate in enumerate(ERROR_RATES):
        # Of ten errors six are substitutions, two deletions and two insertions.
        kind = rng.choice(4, len(ref), p=[1 - rate, 0.6 * rate, 0.2 * rate, 0.2 * rate])
        heard = np.where(kind == 1, draw(len(ref)), ref)
        times = np.array([1, 1, 0, 2])[kind]
        spoken = np.bincount(of, times, minlength=utterances).astype(np.int64)
        _write(folder / f"hyp{i}", words[np.repeat(heard, times)], spoken)


def _write(stem: Path, words: NDArray[np.str_], lengths: NDArray[np.int64]) -> None:
    """The same transcripts as Kaldi's `text` and as `trn`."""
    ends = np.cumsum(lengths).tolist()
    spoken = [
        " ".join(words[end - length : end])
        for end, length in zip(ends, lengths.tolist(), strict=True)
    ]
    pairs = [(utterance_id(number), line) for number, line in enumerate(spoken)]
    stem.with_suffix(".text").write_text("".join(f"{u} {line}\n" for u, line in pairs))
    stem.with_suffix(".trn").write_text("".join(f"{line} ({u})\n" for u, line in pairs))


def ours(ref: Text, hyp: Text, method: Method) -> Iterable[int]:
    return align(ref, hyp, method).counts()[:, 1:].sum(axis=0).tolist()


def by_jiwer(ref: Text, hyp: Text) -> Iterable[int]:
    import jiwer

    words = jiwer.Compose([jiwer.ReduceToListOfListOfWords()])
    output = jiwer.process_words(
        [" ".join(line) for line in ref.values()], [" ".join(hyp[u]) for u in ref], words, words
    )
    return output.substitutions, output.deletions, output.insertions


def by_kaldialign(ref: Text, hyp: Text) -> Iterable[int]:
    import kaldialign

    counts = [0, 0, 0]
    for utt_id, line in ref.items():
        for left, right in kaldialign.align(line, hyp[utt_id], "*"):
            if left != right:
                counts[2 if left == "*" else 1 if right == "*" else 0] += 1
    return counts


def characters(ref: Text, hyp: Text) -> Iterable[int]:
    return [int(character_errors(ref, hyp)[:, 0].sum())]


ROWS: dict[str, Callable[[Text, Text], Iterable[int]]] = {
    "jiwer": by_jiwer,
    "kaldialign": by_kaldialign,
    "asr_kd": lambda ref, hyp: ours(ref, hyp, "levenshtein"),
    "asr_kd --alignment sclite": lambda ref, hyp: ours(ref, hyp, "sclite"),
    CHARACTERS: characters,
}


def cost(name: str, folder: Path) -> Cost:
    """Runs a row; in a process of its own."""
    if name == SCLITE:
        return _cost_of_sclite(folder)
    ROWS[name]({"u": ["a"]}, {"u": ["a"]})  # imports
    start = time.process_time()
    ref = read_transcript(folder / "ref.text").text
    systems = [read_transcript(folder / f"hyp{i}.text").text for i in range(len(ERROR_RATES))]
    read = time.process_time()
    counts = np.sum([list(ROWS[name](ref, hyp)) for hyp in systems], axis=0)
    end = time.process_time()
    return Cost(end - start, end - read, _peak(), tuple(counts.tolist()))


def _cost_of_sclite(folder: Path) -> Cost:
    counts = np.zeros(3, np.int64)
    for i in range(len(ERROR_RATES)):
        summary = subprocess.run(
            ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", f"hyp{i}.trn", "trn", "-i", "spu_id",
             "-s", "-o", "rsum", "stdout"],
            cwd=folder, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        total = next(line for line in summary.splitlines() if "| Sum " in line)
        counts += [int(count) for count in total.replace("|", " ").split()[4:7]]
    seconds, peak = _of_children()
    return Cost(seconds, None, peak, tuple(counts.tolist()))


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _of_children() -> tuple[float, int]:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def cost_of_pairs(folder: Path) -> tuple[float, float]:
    """Seconds of the bootstrap of every pair alone, and of all tests together."""
    ref = read_transcript(folder / "ref.text").text
    hyps = [read_transcript(folder / f"hyp{i}.text").text for i in range(len(ERROR_RATES))]
    aligned = [align(ref, hyp) for hyp in hyps]
    speakers = {utt_id: speaker(utt_id) for utt_id in ref}
    blocks = tuple(speakers.values())
    start = time.process_time()
    sides = [PairSide(str(i), [one], [None]) for i, one in enumerate(aligned)]
    for side in sides:
        side.drawn(blocks, [None], RESAMPLES, 0)
    drawn = time.process_time()
    for a, b in combinations(sides, 2):
        compare_pair(a, b, speakers, RESAMPLES)
    return drawn - start, time.process_time() - start


def cost_of_command(folder: Path) -> tuple[float, int]:
    """CPU seconds and peak of the `compare` verb over the three systems, all outputs."""
    command = Path(sys.executable).with_name("asr-kd")
    systems = [f"system{i}={folder / f'hyp{i}.text'}" for i in range(len(ERROR_RATES))]
    subprocess.run(
        [command, "compare", *systems, "--ref", folder / "ref.text",
         "--utt2spk", folder / "utt2spk", "--out", folder / "report"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return _of_children()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    names = [*([SCLITE] if which("sctk") else []), *ROWS]
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder, options.utterances)
        rounds: dict[str, list[Cost]] = {name: [] for name in names}
        for _ in range(options.repeats):
            for name in names:
                with ProcessPoolExecutor(1, context) as alone:
                    rounds[name].append(alone.submit(cost, name, folder).result())
        with ProcessPoolExecutor(1, context) as alone:
            drawing, testing = alone.submit(cost_of_pairs, folder).result()
        with ProcessPoolExecutor(1, context) as alone:
            seconds, peak = alone.submit(cost_of_command, folder).result()
    slowest = min(each.seconds for each in rounds[names[0]])
    table = Table(
        "", "CPU s", "aligning", f"x {names[0]}", "peak MB", "errors", "S", "D", "I",
        title=f"{options.utterances:,} utterances of {WORDS} words, {len(ERROR_RATES)} systems",
    )  # fmt: skip
    for name, costs in rounds.items():
        least = min(each.seconds for each in costs)
        aligning = [each.aligning for each in costs if each.aligning is not None]
        counts = costs[0].counts
        table.add_row(
            name, f"{least:.2f}", f"{min(aligning):.2f}" if aligning else "-",
            "-" if name == CHARACTERS else f"{slowest / least:.1f}",
            f"{max(each.peak for each in costs) / 1e6:,.0f}", f"{sum(counts):,}",
            *(f"{count:,}" for count in counts if name != CHARACTERS),
        )  # fmt: skip
    Console(width=100).print(table)
    print(f"paired bootstrap of every pair, {RESAMPLES:,} resamples of speakers: {drawing:.2f} s")
    print(f"the same with MAPSSWE and all other tests of every pair: {testing:.2f} s")
    print(f"asr-kd compare, all outputs: {seconds:.1f} s, peak {peak / 1e6:,.0f} MB")


if __name__ == "__main__":
    # Libraries read the number of threads when they are loaded.
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if single.items() <= os.environ.items():
        main()
    else:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **single})
