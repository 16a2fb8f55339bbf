import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.search.ctc_fst import ctc_graph, repeatable, unit_language
from asr_kd.search.decoder import GraphDecoder, num_input_labels
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.ngram import Entry, NgramModel

NAMES = ("<blank>", "▁a", "b", "▁c")
# One piece that may repeat, a prefix of another word, equal pieces inside, two words alike.
SPELLINGS = {"a": [1], "ab": [1, 2], "cbb": [3, 2, 2], "cbB": [3, 2, 2], "c": [3]}
LM = NgramModel(
    [
        {
            ("a",): Entry(-0.7, -0.2), ("ab",): Entry(-0.6, -0.1), ("cbb",): Entry(-0.9, -0.3),
            ("cbB",): Entry(-0.8), ("c",): Entry(-1.0, -0.05), ("</s>",): Entry(-0.4),
            ("<s>",): Entry(-99, -0.25),
        },
        {
            ("<s>", "a"): Entry(-0.3), ("a", "a"): Entry(-0.5), ("cbB", "a"): Entry(-0.1),
            ("ab", "</s>"): Entry(-0.35), ("ab", "cbb"): Entry(-0.15), ("c", "c"): Entry(-0.6),
        },
    ]
)  # fmt: skip


def lm_cost(model: NgramModel, words: tuple[str, ...]) -> float:
    history, total = ["<s>"], 0.0
    for word in (*words, "</s>"):
        total += model.log_prob(word, history)
        history.append(word)
    return -math.log(10) * total


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(b for a, b in pairwise((-1, *path)) if a != b and b)


def enumerated(
    scores: np.ndarray, spellings: dict[str, list[int]], model: NgramModel
) -> dict[tuple[str, ...], float]:
    """Sentence → cost of its best path, over all paths of labels and all sentences."""
    frames, labels = scores.shape
    best: dict[tuple[int, ...], float] = {}
    for path in product(range(labels), repeat=frames):
        tokens = collapsed(path)
        cost = -float(scores[np.arange(frames), list(path)].sum())
        best[tokens] = min(cost, best.get(tokens, math.inf))
    found = {}
    for length in range(frames + 1):
        for words in product(spellings, repeat=length):
            tokens = tuple(token for word in words for token in spellings[word])
            if tokens in best:
                found[words] = best[tokens] + lm_cost(model, words)
    return found


def decoder(lang: Lang, model: NgramModel) -> GraphDecoder:
    graph = ctc_graph(lang, grammar_fst(lang, model))
    assert num_input_labels(graph) == len(lang.topology.hmms)
    return GraphDecoder(graph, len(lang.topology.hmms), beam=1000.0)


@pytest.fixture(scope="module")
def lang() -> Lang:
    return unit_language(NAMES, SPELLINGS)


@pytest.fixture(scope="module")
def closed(lang: Lang) -> GraphDecoder:
    return decoder(lang, LM)


def test_numbers_of_phones_are_labels_plus_one(lang: Lang) -> None:
    assert [lang.phones[name] for name in NAMES] == [1, 2, 3, 4]
    assert repeatable(lang) == {1, 2, 3}
    assert repeatable(unit_language(NAMES, {"ab": [1, 2], "c": [3]})) == {3}


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_words_are_those_of_exhaustive_search(
    lang: Lang, closed: GraphDecoder, seed: int, frames: int
) -> None:
    scores = np.random.default_rng(seed).normal(size=(frames, 4)).astype(np.float32) * 2
    expected = enumerated(scores, SPELLINGS, LM)
    path = closed.decode(scores)
    assert path.complete
    # The library's determinisation and minimisation quantise weights.
    assert path.cost == pytest.approx(min(expected.values()), abs=1e-2)
    names = {number: word for word, number in lang.words.items()}
    words = tuple(names[number] for number in path.words)
    assert expected[words] == pytest.approx(min(expected.values()), abs=1e-2)
    # Labels are a path of just these words.
    assert collapsed(tuple(path.labels.tolist())) == tuple(
        token for word in words for token in SPELLINGS[word]
    )


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ([1, 1, 1], "a"), ([1, 0, 1], "a a"), ([1, 1, 0, 1, 2], "a ab"), ([0, 3, 3, 0], "c"),
        ([3, 2, 0, 2], "cbB"), ([0, 0], ""), ([1, 2, 3, 0, 3], "ab c c"),
    ],
)  # fmt: skip
def test_planted_paths(lang: Lang, closed: GraphDecoder, path: list[int], words: str) -> None:
    scores = np.full((len(path), 4), -30, np.float32)
    scores[np.arange(len(path)), path] = 0
    found = closed.decode(scores)
    assert found.labels.tolist() == path
    assert [lang.words[word] for word in words.split()] == found.words


def test_equal_tokens_need_a_blank_between_them(closed: GraphDecoder) -> None:
    """Where only one path is possible, "cbb" without a blank is no word at all."""
    for path, possible in (([3, 2, 0, 2], True), ([3, 2, 2], False), ([3, 2, 2, 2], False)):
        scores = np.full((len(path), 4), -np.inf, np.float32)
        scores[np.arange(len(path)), path] = 0
        assert closed.decode(scores).complete == possible


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_open_vocabulary(seed: int, frames: int) -> None:
    """Tokens are their own words: every token may repeat."""
    spellings = {name: [i] for i, name in enumerate(NAMES) if i}
    model = NgramModel(
        [
            {("▁a",): Entry(-0.7, -0.2), ("b",): Entry(-0.6, -0.1), ("▁c",): Entry(-0.5),
             ("</s>",): Entry(-0.4), ("<s>",): Entry(-99, -0.25)},
            {("<s>", "▁a"): Entry(-0.2), ("b", "b"): Entry(-0.3), ("▁a", "b"): Entry(-0.1)},
        ]
    )  # fmt: skip
    lang = unit_language(NAMES, spellings)
    scores = np.random.default_rng(seed).normal(size=(frames, 4)).astype(np.float32) * 2
    expected = min(enumerated(scores, spellings, model).values())
    assert decoder(lang, model).decode(scores).cost == pytest.approx(expected, abs=1e-2)


def test_arcs_grow_with_labels_not_with_their_square() -> None:
    """Tokens that never follow themselves share what comes after them."""
    names = ("<blank>", *(f"▁{i}" for i in range(100)), "x")
    lang = unit_language(names, {str(i): [i + 1, 101] for i in range(100)})
    words = {(str(i),): Entry(-2.0) for i in range(100)} | {("</s>",): Entry(-2.0)}
    graph = ctc_graph(lang, grammar_fst(lang, NgramModel([words])))
    assert sum(graph.num_arcs(s) for s in range(graph.num_states)) < 1000


def test_no_word_is_left() -> None:
    lang = unit_language(NAMES, {"a": [1]})
    endless = NgramModel([{("a",): Entry(-0.1), ("</s>",): Entry(-99)}])
    with pytest.raises(InputError, match="no sequence of words that units can spell"):
        ctc_graph(lang, grammar_fst(lang, endless))
