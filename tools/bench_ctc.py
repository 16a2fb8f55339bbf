"""Speed of CTC search on one core: `python tools/bench_ctc.py`.

Words of syllables, their text, its bigram language models of words and of units (by sentencepiece;
with the latter the vocabulary is open), and posteriors of sentences are made on the spot: 25 frames
a second, blanks between spikes, random elsewhere.
Labels of the path stand so many nats above noise of one nat that the best label of a frame has the
probability shown. CPU seconds of this process count. `--at-most 0.005` ends with status 1 if the
graph's search of peaky posteriors has a higher real-time factor.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from asr_kd.labels.unit_stages import UnitsConfig, train_units
from asr_kd.labels.units import Units, join_pieces
from asr_kd.search.ctc_fst import ctc_graph, unit_language
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.prefix_beam import PrefixSearch, greedy
from asr_kd.search.smoothing import estimate

Floats = NDArray[np.float32]
FRAMES_PER_SECOND = 25
SURE = {"peaky": 9.0, "unsure": 7.0}  # nats of a path's labels above the others'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=5000)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--beam", type=float, default=10.0)
    parser.add_argument("--sentences", type=int, default=60, help="that are decoded")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--at-most", type=float, default=float("inf"), help="real-time factor")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    words = make_words(arguments.words, rng)
    text = make_text(words, 20_000, rng)
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "text").write_text("\n".join(" ".join(line) for line in text) + "\n")
        config = UnitsConfig(kind="unigram", size=arguments.units)
        train_units(Path(folder) / "text", Path(folder) / "units", config)
        units = Units.read(Path(folder) / "units")
    labels = units.label_set.names
    console.print(f"{len(words)} words, {len(labels)} labels")
    spellings = {word: units.spell([word]) for word in words}
    closed = open_graph("TLG", labels, spellings, text, arguments.beam, console)
    pieces = [[labels[label] for label in units.spell(line)] for line in text if line]
    spellings = {name: [label] for label, name in enumerate(labels) if label}
    free = open_graph("TG of units", labels, spellings, pieces, arguments.beam, console)
    table = Table(title=f"beam {arguments.beam:g}, one core, {FRAMES_PER_SECOND} frames a second")
    for column in ("posteriors", "best label", "search", "real-time factor", "right"):
        table.add_column(column, justify="left" if column[0] in "ps" else "right")
    reached = float("inf")
    spoken = [line for line in text if line][: arguments.sentences]
    for kind, height in SURE.items():
        scores = [make_log_posts(units.spell(line), units, height, rng) for line in spoken]
        seconds = sum(map(len, scores)) / FRAMES_PER_SECOND
        best = float(np.exp(np.concatenate(scores).max(axis=1)).mean())
        searches = {
            f"TLG, beam {arguments.beam:g}": closed,
            f"TG of units, beam {arguments.beam:g}": lambda x: join_pieces(free(x)),
            "greedy": lambda x: units.decode(greedy(x)).split(),
            "prefix beam, 16": lambda x: units.decode(PrefixSearch().search(x)[0].tokens).split(),
        }
        for name, search in searches.items():
            spent = []
            for _ in range(arguments.repeats):
                start = time.process_time()
                found = [search(x) for x in scores]
                spent.append(time.process_time() - start)
            right = sum(a == b for a, b in zip(found, spoken, strict=True))
            factor = min(spent) / seconds
            table.add_row(kind, f"{best:.3f}", name, f"{factor:.5f}", f"{right} of {len(spoken)}")
            if kind == "peaky" and name.startswith("TLG"):
                reached = factor
    console.print(table)
    if reached > arguments.at_most:
        console.print(f"real-time factor {reached:.5f}, more than {arguments.at_most:g}")
        sys.exit(1)


def open_graph(
    name: str,
    labels: Sequence[str],
    spellings: Mapping[str, Sequence[int]],
    text: Sequence[Sequence[str]],
    beam: float,
    console: Console,
) -> Callable[[Floats], list[str]]:
    """Makes the graph of a text's bigrams, searched as `decode` does: scores (T,V) -> words."""
    start = time.process_time()
    lang = unit_language(labels, spellings)
    graph = ctc_graph(lang, grammar_fst(lang, estimate(text, 2, "kneser-ney", spellings)))
    making = time.process_time() - start
    arcs = sum(graph.num_arcs(state) for state in range(graph.num_states))
    console.print(f"{name}: {graph.num_states} states, {arcs} arcs, made in {making:.1f} s")
    decoder = GraphDecoder(graph, len(labels), beam, min_active=0)
    names = {number: word for word, number in lang.words.items()}
    return lambda scores: [names[word] for word in decoder.decode(scores).words]


def make_words(count: int, rng: np.random.Generator) -> list[str]:
    """Different words of one to four syllables."""
    onsets, vowels, codas = (
        [*list("bcdfghklmnprstvwz"), "st", "tr", ""],
        "aeiou",
        ["", "n", "r", "s"],
    )
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.3, 0.1]))
        parts = (rng.choice(onsets) + rng.choice(list(vowels)) + rng.choice(codas)
                 for _ in range(syllables))  # fmt: skip
        found["".join(parts)] = None
    return list(found)


def make_text(words: list[str], sentences: int, rng: np.random.Generator) -> list[list[str]]:
    """Sentences in which words are as frequent as Zipf found them."""
    share = 1 / np.arange(1, len(words) + 1)
    order = rng.permutation(len(words))
    lengths = rng.integers(4, 20, sentences)
    drawn = rng.choice(order, lengths.sum(), p=share / share.sum())
    return [[words[i] for i in line] for line in np.split(drawn, np.cumsum(lengths)[:-1])]


def make_log_posts(
    labels: list[int], units: Units, height: float, rng: np.random.Generator
) -> Floats:
    """Log-posteriors (T,V) of a path with one frame, or two, of each label among blanks."""
    path: list[int] = []
    for label in labels:
        path += [label] * int(rng.integers(1, 3)) + [0] * int(rng.integers(1, 6))
    logits = rng.normal(size=(len(path), len(units.label_set)))
    logits[np.arange(len(path)), path] += height
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return logits.astype(np.float32)


if __name__ == "__main__":
    main()
