"""Time, memory and size of decoding graphs of a large language, made on the spot.

A lexicon and an ARPA file of the sizes given are made up: words of a Markov chain of phones,
n-grams of Zipf's law, back-off weights that make every history's probabilities sum to one. Trees of
random questions tie the states. Then the stages run as `prepare-lang` and `make-graph` run them.
Seconds are the process's own, so that other programs on the machine do not count.
"""

import argparse
import logging
import resource
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import read_manifest
from asr_kd.labels.lang import Lang
from asr_kd.labels.tying import LEFT, RIGHT, Node, Question, Split, Tying
from asr_kd.search.graph import TrainingGraphs
from asr_kd.search.stages import GraphConfig, LangConfig, make_graph, prepare_lang

PHONES = 69  # of CMUdict with the stress of vowels
ZIPF = 1.05
BACKOFF_MASS = 0.4


def main() -> None:
    """Prints a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=200_000)
    parser.add_argument("--bigrams", type=int, default=2_000_000)
    parser.add_argument("--trigrams", type=int, default=1_000_000)
    parser.add_argument("--context", choices=["monophone", "biphone", "triphone"],
                        default="triphone")  # fmt: skip
    parser.add_argument("--leaves", type=int, default=4000)
    parser.add_argument("--transcripts", type=int, default=200, help="training graphs to time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    clock = _Clock()
    logging.getLogger("asr_kd").setLevel(logging.DEBUG)
    logging.getLogger("asr_kd").addHandler(clock)
    with tempfile.TemporaryDirectory(prefix="bench_graph-") as name:
        folder = Path(name)
        words = write_dictionary(folder / "dict", args.words, rng)
        clock.line(f"dictionary of {args.words} words written")
        counts = write_arpa(folder / "lm.arpa", words, args.bigrams, args.trigrams, rng)
        clock.line(f"ARPA of {' + '.join(map(str, counts))} n-grams written")
        prepare_lang(folder / "dict", folder / "lang", LangConfig())
        lang = Lang.read(folder / "lang")
        if args.context != "monophone":
            lang = replace(lang, tying=random_tying(lang, args.context, args.leaves, rng))
        lang.write(folder / "tied")
        clock.line(f"language of {len(lang.label_set)} labels")
        time_transcripts(lang, args.transcripts, rng)
        clock.reset()
        begun = time.process_time()
        make_graph(folder / "tied", folder / "lm.arpa", folder / "graph", GraphConfig())
        seconds = time.process_time() - begun
        info = read_manifest(folder / "graph", "make-graph").info
        size = (folder / "graph" / "HCLG.fst").stat().st_size
        ngrams = sum(counts)
        print(f"make-graph: {seconds:.1f} s, peak {peak_gib():.2f} GiB, "
              f"{info['states']} states, {info['arcs']} arcs, {size / 2**20:.0f} MiB; "
              f"for each n-gram {info['states'] / ngrams:.1f} states, "
              f"{info['arcs'] / ngrams:.1f} arcs, {1e6 * seconds / ngrams:.1f} µs")  # fmt: skip


class _Clock(logging.Handler):
    """Prints messages with the seconds since the last one and the peak of memory so far."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self.last = time.process_time()

    def line(self, text: str) -> None:
        now = time.process_time()
        print(f"{now - self.last:8.1f} s {peak_gib():7.2f} GiB  {text}", flush=True)
        self.last = now

    def emit(self, record: logging.LogRecord) -> None:
        self.line(record.getMessage())


def peak_gib() -> float:
    """Most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_dictionary(folder: Path, num_words: int, rng: np.random.Generator) -> list[str]:
    """Pronunciations of a Markov chain of phones, some shared by several words; returns words."""
    phones = [f"P{n:02d}" for n in range(PHONES)]
    # After each phone few others are likely, so that words share beginnings.
    chain = rng.dirichlet(np.full(PHONES, 0.15), PHONES).cumsum(axis=1)
    first = rng.dirichlet(np.full(PHONES, 0.5)).cumsum()
    lengths = np.clip(rng.poisson(6.0, num_words) + 1, 1, 20)
    current = np.minimum(np.searchsorted(first, rng.random(num_words)), PHONES - 1)
    columns = [current]
    for _ in range(lengths.max() - 1):
        draws = rng.random(num_words)
        current = np.minimum((chain[current] < draws[:, None]).sum(axis=1), PHONES - 1)
        columns.append(current)
    table = np.stack(columns, axis=1)
    words = [f"W{n:06d}" for n in range(num_words)]
    lines = (
        f"{word} {' '.join(phones[p] for p in row[:length])}\n"
        for word, row, length in zip(words, table.tolist(), lengths.tolist(), strict=True)
    )
    folder.mkdir()
    (folder / "lexicon.txt").write_text("".join(lines) + "<UNK> SPN\n")
    (folder / "silence_phones.txt").write_text("SIL\nSPN\n")
    (folder / "optional_silence.txt").write_text("SIL\n")
    (folder / "nonsilence_phones.txt").write_text("".join(f"{phone}\n" for phone in phones))
    return words


def write_arpa(
    path: Path, words: list[str], bigrams: int, trigrams: int, rng: np.random.Generator
) -> list[int]:
    """A back-off trigram model of about these sizes; returns the numbers of n-grams."""
    num_words = len(words)
    unigram = 1 / np.arange(1, num_words + 1) ** ZIPF
    unigram /= unigram.sum()
    # Words, then the end of a sentence (like a frequent word), then its start.
    end, start = num_words, num_words + 1
    probs = np.append(unigram * 0.95, 0.05)
    pairs = _distinct(_zipf(num_words, bigrams, rng), end, start, probs, bigrams, rng)
    # A trigram's last two words are a bigram too, as in models that were pruned.
    by_first = np.searchsorted(pairs[:, 0], np.arange(start + 2))
    usable = np.flatnonzero(
        (pairs[:, 1] < end) & (by_first[pairs[:, 1] + 1] > by_first[pairs[:, 1]])
    )
    weights = probs[np.minimum(pairs[usable, 0], end)] * probs[pairs[usable, 1]]
    chosen = usable[
        np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(3 * trigrams) * 0.999999)
    ]
    low, high = by_first[pairs[chosen, 1]], by_first[pairs[chosen, 1] + 1]
    third = pairs[(low + (high - low) * rng.random(len(chosen)) ** 2).astype(np.int64), 1]
    keys = np.unique(chosen.astype(np.int64) * (end + 1) + third)
    keys = np.sort(rng.permutation(keys)[:trigrams])
    context, third = keys // (end + 1), keys % (end + 1)

    bigram, backoff1 = _backed_off(pairs[:, 0], probs[pairs[:, 1]], start + 1)
    order = np.searchsorted(
        pairs[:, 0] * (end + 1) + pairs[:, 1], pairs[context, 1] * (end + 1) + third
    )
    trigram, backoff2 = _backed_off(context, bigram[order], len(pairs))
    names = [*words, "</s>", "<s>"]
    with path.open("w") as file:
        file.write(f"\\data\\\nngram 1={len(names)}\nngram 2={len(pairs)}\nngram 3={len(keys)}\n")
        file.write("\n\\1-grams:\n")
        log_probs = [*np.log10(probs).tolist(), -99.0]
        file.writelines(
            f"{p:.6f}\t{name}\t{b:.6f}\n"
            for p, name, b in zip(log_probs, names, backoff1.tolist(), strict=True)
        )
        file.write("\n\\2-grams:\n")
        file.writelines(
            f"{p:.6f}\t{names[a]} {names[b]}\t{c:.6f}\n"
            for p, (a, b), c in zip(
                np.log10(bigram).tolist(), pairs.tolist(), backoff2.tolist(), strict=True
            )
        )
        file.write("\n\\3-grams:\n")
        file.writelines(
            f"{p:.6f}\t{names[a]} {names[b]} {names[c]}\n"
            for p, (a, b), c in zip(
                np.log10(trigram).tolist(), pairs[context].tolist(), third.tolist(), strict=True
            )
        )
        file.write("\n\\end\\\n")
    return [len(names), len(pairs), len(keys)]


def _zipf(num_words: int, total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How many different words follow each word: fewer, the rarer it is, 1 at least for most."""
    wanted = 1 / np.arange(1, num_words + 2) ** 0.75
    wanted *= total / wanted.sum()
    return rng.poisson(np.minimum(wanted, num_words / 4)).astype(np.int64)


def _distinct(
    followers: NDArray[np.int64],
    end: int,
    start: int,
    probs: NDArray[np.float64],
    total: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """(N, 2) different pairs in order; the last of `followers` is that of sentence starts."""
    histories = np.append(np.arange(end), start)
    cumulative = np.cumsum(probs / probs.sum())
    keys = np.empty(0, np.int64)
    for _ in range(20):
        # Frequent pairs come again and again: draw until there are enough different ones.
        first = np.repeat(histories, followers)
        second = np.searchsorted(cumulative, rng.random(len(first)) * 0.999999)
        keys = np.unique(np.append(keys, first * (end + 1) + second))
        if len(keys) >= total:
            break
    keys = np.sort(rng.permutation(keys)[:total])
    return np.stack([keys // (end + 1), keys % (end + 1)], axis=1)


def _backed_off(
    histories: NDArray[np.int64], lower: NDArray[np.float64], num_histories: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities of seen n-grams, and log10 back-off weights of all histories."""
    seen = np.bincount(histories, lower, num_histories)
    probs = (1 - BACKOFF_MASS) * lower / seen[histories]
    weights = np.where(seen > 0, BACKOFF_MASS / np.maximum(1 - seen, 1e-6), 1.0)
    return probs, np.log10(weights)


def random_tying(lang: Lang, kind: str, leaves: int, rng: np.random.Generator) -> Tying:
    """Trees of random questions with about as many leaves in all."""
    phones = list(lang.topology.hmms)
    silence = set(lang.lexicon.silence_phones)
    states = sum(hmm.num_states for p, hmm in lang.topology.hmms.items() if p not in silence)
    number = count()

    def grow(wanted: int) -> Node:
        if wanted < 2:
            return next(number)
        right = kind == "triphone" and rng.random() < 0.5
        chosen = frozenset(p for p in phones if rng.random() < 0.4)
        share = int(rng.integers(1, wanted))
        return Split(Question(RIGHT if right else LEFT, chosen), grow(share), grow(wanted - share))

    trees = {
        phone: tuple(
            grow(1 if phone in silence else round(leaves / states)) for _ in range(hmm.num_states)
        )
        for phone, hmm in lang.topology.hmms.items()
    }
    return Tying(kind == "triphone", trees)


def time_transcripts(lang: Lang, number: int, rng: np.random.Generator) -> None:
    """Prints the time to make training graphs of 35 words, as an utterance of LibriSpeech has."""
    vocabulary = len(lang.lexicon.words)
    begun = time.process_time()
    graphs = TrainingGraphs(lang)
    made = time.process_time()
    states = 0
    for _ in range(number):
        words = 1 + np.minimum(rng.zipf(1.3, 35), vocabulary - 1)
        states += graphs(words.tolist()).num_states
    ended = time.process_time()
    print(f"training graphs: {made - begun:.1f} s once, then {1e3 * (ended - made) / number:.2f} "
          f"ms and {states / number:.0f} states for each of 35 words")  # fmt: skip


if __name__ == "__main__":
    main()
