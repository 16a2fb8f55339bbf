import math
from collections.abc import Iterator
from itertools import pairwise, product

import kaldifst
import numpy as np
import pytest

from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.labels.tying import LEFT, RIGHT, Node, Question, Split, Tying
from asr_kd.search.arrays import arc_array, collect, from_arrays
from asr_kd.search.context import Context, pdfs_in_context
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.graph import TrainingGraphs, decoding_graph
from asr_kd.search.ngram import Entry, NgramModel
from asr_kd.search.self_loops import with_self_loops

# Homophones of one phone and at the start of a longer word, variants, a word of silence.
LEXICON = Lexicon(
    (
        Pronunciation("A", 1.0, ("AH",)),
        Pronunciation("A", 0.5, ("B", "AH")),
        Pronunciation("UH", 0.9, ("AH",)),
        Pronunciation("BE", 1.0, ("B", "IY")),
        Pronunciation("BEE", 0.8, ("B", "IY")),
        Pronunciation("BEAR", 1.0, ("B", "IY", "AH")),
        Pronunciation("HM", 1.0, ("SIL",)),
    ),
    ("SIL",),
    "SIL",
    ("AH", "B", "IY"),
)
BIGRAMS = NgramModel(
    [
        {
            ("A",): Entry(-0.7, -0.2), ("BE",): Entry(-0.6, -0.1), ("BEE",): Entry(-0.5, -0.3),
            ("BEAR",): Entry(-0.8), ("UH",): Entry(-0.9, -0.2),
            ("</s>",): Entry(-0.4), ("<s>",): Entry(-99, -0.25),
        },
        {
            ("<s>", "A"): Entry(-0.3), ("A", "BE"): Entry(-0.2), ("BEE", "A"): Entry(-0.1),
            ("A", "</s>"): Entry(-0.35), ("BE", "BEE"): Entry(-0.15), ("UH", "A"): Entry(-0.1),
        },
    ]
)  # fmt: skip
WORDS = ("A", "BE", "BEE", "BEAR", "UH")
TRANSITION_SCALE, SELF_LOOP_SCALE = 0.7, 0.3


def random_tying(lang: Lang, right: bool, seed: int) -> Tying:
    """Trees of up to eight leaves; silence has one leaf a state."""
    rng = np.random.default_rng(seed)
    neighbours = [None, *lang.topology.hmms]
    leaves = iter(rng.permutation(1000).tolist())

    def grow(depth: int) -> Node:
        if depth == 0:
            return next(leaves)
        context = int(rng.choice([LEFT, RIGHT])) if right else LEFT
        chosen = frozenset(p for p in neighbours if rng.random() < 0.5)
        return Split(Question(context, chosen), grow(depth - 1), grow(depth - 1))

    trees = {
        phone: tuple(grow(0 if phone == "SIL" else 3) for _ in range(hmm.num_states))
        for phone, hmm in lang.topology.hmms.items()
    }
    return renumbered(right, trees)


def renumbered(right: bool, trees: dict[str, tuple[Node, ...]]) -> Tying:
    def leaves(node: Node) -> list[int]:
        return [node] if isinstance(node, int) else [*leaves(node.yes), *leaves(node.no)]

    order = sorted(n for roots in trees.values() for root in roots for n in leaves(root))
    number = {leaf: n for n, leaf in enumerate(order)}

    def changed(node: Node) -> Node:
        if isinstance(node, int):
            return number[node]
        return Split(node.question, changed(node.yes), changed(node.no))

    return Tying(right, {p: tuple(changed(root) for root in roots) for p, roots in trees.items()})


def language(kind: str, states: int, silence_states: int, seed: int = 0) -> Lang:
    lang = Lang.build(LEXICON, states, silence_states, "none", 0.3)
    # Transitions of every state are its own, so that a cost in the wrong place is seen.
    rng = np.random.default_rng(seed)
    steps = {
        (a, b): int(rng.integers(1, 60)) for a in range(len(lang.label_set)) for b in (a, a + 1, -1)
    }
    topology = lang.topology.trained(steps)
    tying = None if kind == "monophone" else random_tying(lang, kind == "triphone", seed)
    return Lang(LEXICON, topology, None, 0.3, tying)


@pytest.mark.parametrize("right", [False, True])
def test_leaves_are_those_of_the_trees(right: bool) -> None:
    lang = language("triphone" if right else "biphone", 2, 3, seed=5)
    neighbours = [None, *lang.topology.hmms]
    for phone, hmm in lang.topology.hmms.items():
        found = pdfs_in_context(lang, phone)
        assert found.shape == (5, 5 if right else 1, hmm.num_states)
        for (i, a), (j, c) in product(enumerate(neighbours), enumerate(neighbours)):
            expected = [lang.pdf_id(a, phone, c, s) for s in range(hmm.num_states)]
            assert found[i, j if right else 0].tolist() == expected


@pytest.mark.parametrize("kind", ["monophone", "biphone", "triphone"])
def test_models_of_a_sequence(kind: str) -> None:
    lang = language(kind, 2, 3)
    context = Context(lang)
    phones = ["SIL", "B", "IY", "AH", "AH", "SIL", "SIL", "B"]
    sequence = kaldifst.make_linear_acceptor([*(lang.phones[p] for p in phones), context.end])
    path = kaldifst.compose(context.fst, sequence)
    labels = [
        arc.ilabel
        for state in range(path.num_states)
        for arc in kaldifst.ArcIterator(path, state)
        if 0 < arc.ilabel <= len(context)
    ]
    expected = [
        (b, tuple(lang.pdf_id(a, b, c, s) for s in range(lang.topology.hmms[b].num_states)))
        for a, b, c in zip([None, *phones], phones, [*phones[1:], None], strict=False)
    ]
    models = [
        (phone, tuple(row)) for phone, rows in context.models.items() for row in rows.tolist()
    ]
    assert [models[label - 1] for label in labels] == expected


def phone_sequences(lang: Lang, words: tuple[str, ...]) -> Iterator[tuple[list[str], float]]:
    """All ways to say words, each with its cost: variants, and silence around each word."""
    variants = [[p for p in LEXICON.pronunciations if p.word == word] for word in words]
    for chosen in product(*variants):
        for pauses in product((False, True), repeat=len(words) + 1):
            phones = ["SIL"] if pauses[0] else []
            for entry, pause in zip(chosen, pauses[1:], strict=True):
                phones += [*entry.phones, *(["SIL"] if pause else [])]
            cost = -sum(math.log(p.prob) for p in chosen)
            cost -= sum(math.log(lang.silence_prob if p else 1 - lang.silence_prob) for p in pauses)
            yield phones, cost


def best_cost(lang: Lang, phones: list[str], scores: np.ndarray) -> float:
    """Viterbi over the states of one phone sequence, frame by frame, as the textbook has it."""
    around = [None, *phones, None]
    waiting = {(0, 0): 0.0}  # (phone, state) that reads the next frame → cost
    for frame in scores:
        following: dict[tuple[int, int], float] = {}
        for (i, state), cost in waiting.items():
            if i == len(phones):
                continue
            phone = phones[i]
            score = float(frame[lang.pdf_id(around[i], phone, around[i + 2], state)])
            for to, step in steps(lang, phone, state):
                node = (i, to) if to < lang.topology.hmms[phone].num_states else (i + 1, 0)
                following[node] = min(cost - score + step, following.get(node, math.inf))
        waiting = following
    return waiting.get((len(phones), 0), math.inf)


def steps(lang: Lang, phone: str, state: int) -> Iterator[tuple[int, float]]:
    row = dict(lang.topology.hmms[phone].transitions[state])
    stay = row.get(state, 0.0)
    for to, prob in row.items():
        if to == state:
            yield to, -SELF_LOOP_SCALE * math.log(stay)
        else:
            leave = -SELF_LOOP_SCALE * math.log(1 - stay)
            yield to, leave - TRANSITION_SCALE * math.log(prob / (1 - stay))


def lm_cost(words: tuple[str, ...]) -> float:
    sentence = ["<s>", *words, "</s>"]
    histories = pairwise(sentence)
    return -math.log(10) * sum(BIGRAMS.log_prob(word, [before]) for before, word in histories)


@pytest.mark.parametrize(("states", "silence_states", "frames"), [(1, 1, 4), (2, 4, 6)])
@pytest.mark.parametrize("kind", ["monophone", "biphone", "triphone"])
def test_graphs_are_exhaustive_search(
    kind: str, states: int, silence_states: int, frames: int
) -> None:
    lang = language(kind, states, silence_states, seed=states)
    grammar = grammar_fst(lang, BIGRAMS)
    graph = decoding_graph(lang, grammar, TRANSITION_SCALE, SELF_LOOP_SCALE)
    num_labels = len(lang.label_set)
    decoder = GraphDecoder(graph, num_labels, beam=1000.0)
    transcripts = TrainingGraphs(lang, TRANSITION_SCALE, SELF_LOOP_SCALE)
    rng = np.random.default_rng(7)
    found = set()
    for trial in range(4):
        scores = (4 * rng.normal(size=(frames, num_labels))).astype(np.float32)
        costs = {}
        for length in range(4):
            for words in product(WORDS, repeat=length):
                ways = [(p, c) for p, c in phone_sequences(lang, words) if len(p) <= frames]
                best = min((c + best_cost(lang, p, scores) for p, c in ways), default=math.inf)
                if best < math.inf:
                    costs[words] = best
        for words in sorted(costs, key=lambda words: costs[words])[:10]:
            path = GraphDecoder(
                transcripts([lang.words[word] for word in words]), num_labels, 1000.0
            ).decode(scores)
            assert path.complete
            assert path.cost == pytest.approx(costs[words], abs=1e-3)
        total = {words: cost + lm_cost(words) for words, cost in costs.items()}
        words = min(total, key=lambda words: total[words])
        path = decoder.decode(scores)
        assert path.cost == pytest.approx(total[words], abs=2e-2), trial
        assert path.words == [lang.words[word] for word in words]
        found.add(words)
    assert len(found) > 1


@pytest.mark.parametrize("right", [False, True])
def test_trees_of_single_leaves_make_the_monophone_graph(right: bool) -> None:
    lang = language("monophone", 2, 4)
    first, hmms = lang.topology.first_pdf, lang.topology.hmms
    trees = {p: tuple(first[p] + s for s in range(hmm.num_states)) for p, hmm in hmms.items()}
    tied = Lang(LEXICON, lang.topology, None, 0.3, Tying(right, trees))
    rng = np.random.default_rng(1)
    scores = (4 * rng.normal(size=(15, len(lang.label_set)))).astype(np.float32)
    paths = []
    for one in (lang, tied):
        graph = decoding_graph(one, grammar_fst(one, BIGRAMS))
        paths.append(GraphDecoder(graph, len(one.label_set), 100.0).decode(scores))
    assert paths[0].words == paths[1].words
    assert paths[0].labels.tolist() == paths[1].labels.tolist()
    assert paths[0].cost == pytest.approx(paths[1].cost, abs=1e-2)


def test_other_context_is_another_path() -> None:
    """A planted alignment whose pdfs belong to the context that was spoken is found."""
    lang = language("triphone", 2, 3)
    phones = ["SIL", "B", "IY", "AH", "B", "IY"]
    around = [None, *phones, None]
    labels = np.array(
        [
            lang.pdf_id(around[i], phone, around[i + 2], state)
            for i, phone in enumerate(phones)
            for state in range(lang.topology.hmms[phone].num_states)
            for _ in range(3)
        ]
    )
    scores = np.zeros((len(labels), len(lang.label_set)), np.float32)
    scores[np.arange(len(labels)), labels] = 20.0
    graph = TrainingGraphs(lang)([lang.words[word] for word in ("BEAR", "BE")])
    path = GraphDecoder(graph, len(lang.label_set), 100.0).decode(scores)
    assert path.complete
    assert path.labels.tolist() == labels.tolist()


def test_start_that_is_entered_again() -> None:
    """Its first visit follows no state: nothing is paid for leaving one, and it cannot last."""
    lang = Lang.build(LEXICON, 1, 1, "none", 0.3)
    pdf_id = lang.topology.first_pdf["AH"]
    arcs = arc_array([pdf_id + 1], 7, 0.25, 0)
    loop = collect(0, np.array([0.5], np.float32), np.array([0]), arcs)
    graph = from_arrays(with_self_loops(loop, lang, scale=2.0))
    decoder = GraphDecoder(graph, len(lang.label_set), beam=100.0)
    stay, leave = -2 * math.log(0.75), -2 * math.log(0.25)
    assert graph.final(graph.start).value == 0.5
    for frames in (1, 2, 3):
        path = decoder.decode(np.zeros((frames, len(lang.label_set)), np.float32))
        assert path.complete
        assert path.words == [7]
        assert path.cost == pytest.approx(0.75 + leave + (frames - 1) * stay, abs=1e-5)
