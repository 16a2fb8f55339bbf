"""Lists of distinct word sequences against enumeration of all paths."""

import itertools
import math

import kaldifst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.nbest import Lattice, Sentence, best_sentences, with_sentence

Arcs = list[tuple[int, int, int, int, float]]  # source, target, input label, output label, cost
_WIDE = 1000.0


def make_fst(arcs: Arcs, finals: dict[int, float], num_states: int) -> kaldifst.StdVectorFst:
    fst = kaldifst.StdVectorFst()
    for _ in range(num_states):
        fst.add_state()
    fst.start = 0
    for source, target, ilabel, olabel, cost in arcs:
        fst.add_arc(source, kaldifst.StdArc(ilabel, olabel, cost, target))
    for state, cost in finals.items():
        fst.set_final(state, cost)
    return fst


def all_sentences(arcs: Arcs, finals: dict[int, float], scores: np.ndarray) -> list[Sentence]:
    """Every word sequence with its cheapest path, by walking all paths."""
    found: dict[tuple[int, ...], Sentence] = {}
    stack: list[tuple[int, int, tuple[int, ...], float, float]] = [(0, 0, (), 0.0, 0.0)]
    while stack:
        state, t, words, graph, acoustic = stack.pop()
        if t == len(scores) and state in finals:
            one = Sentence(words, graph + finals[state], acoustic)
            if words not in found or one.cost < found[words].cost:
                found[words] = one
        for source, target, ilabel, olabel, cost in arcs:
            if source != state or (ilabel and t == len(scores)):
                continue
            heard = -float(scores[t, ilabel - 1]) if ilabel else 0.0
            said = (*words, olabel) if olabel else words
            stack.append((target, t + bool(ilabel), said, graph + cost, acoustic + heard))
    return sorted(found.values(), key=lambda one: one.cost)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 5), st.sampled_from([1, 2, 5, 1000]))
def test_lists_are_the_first_of_all_sentences(seed: int, num_frames: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    num_states, num_labels = int(rng.integers(2, 5)), 2
    arcs: Arcs = []
    for _ in range(int(rng.integers(3, 9))):
        source, target = (int(x) for x in rng.integers(0, num_states, 2))
        # Epsilon arcs go forward only, or they could form a cycle.
        ilabel = int(rng.integers(0 if target > source else 1, num_labels + 1))
        arcs.append((source, target, ilabel, int(rng.integers(0, 3)), float(rng.uniform(0, 3))))
    finals = {int(s): float(rng.uniform(0, 2)) for s in rng.integers(0, num_states, 2)}
    scores = (rng.normal(size=(num_frames, num_labels)) * 3).astype(np.float32)
    expected = all_sentences(arcs, finals, scores)
    decoder = GraphDecoder(make_fst(arcs, finals, num_states), num_labels, beam=_WIDE)
    beam = float(rng.choice([_WIDE, 2.0]))
    found = decoder.nbest(scores, n, beam)
    if not expected:
        assert len(found) == 1
        assert not decoder.decode(scores).complete
        return
    edge = expected[0].cost + beam
    if any(abs(one.cost - edge) < 1e-3 for one in expected):
        return  # rounding decides
    within = [one.cost for one in expected if one.cost < edge][:n]
    assert [one.cost for one in found] == pytest.approx(within, abs=1e-3)
    # Sequences of equal costs may stand in any order.
    by_words = {one.words: one for one in expected}
    assert len({one.words for one in found}) == len(found)
    for one in found:
        assert one.graph == pytest.approx(by_words[one.words].graph, abs=1e-3)
        assert one.acoustic == pytest.approx(by_words[one.words].acoustic, abs=1e-3)


def word_loop(num_words: int, states: int) -> tuple[Arcs, dict[int, float], int]:
    """Words of several self-looping states each, any after any; word k costs k / 100."""
    arcs: Arcs = []
    for word in range(num_words):
        last = 0
        for k in range(states):
            here, label = 1 + word * states + k, 1 + word * states + k
            cost = 0.5 + word / 100 if k == 0 else 0.0
            arcs += [(last, here, label, word + 1 if k == 0 else 0, cost)]
            arcs += [(here, here, label, 0, 0.0)]
            last = here
        arcs.append((last, 0, 0, 0, 0.0))
    return arcs, {0: 0.0}, 1 + num_words * states


def test_alignments_do_not_crowd_out_words() -> None:
    # Two words over 60 frames that look all alike: each pair has more than 10^4 alignments.
    arcs, finals, num_states = word_loop(3, 3)
    decoder = GraphDecoder(make_fst(arcs, finals, num_states), 9, beam=100.0)
    found = decoder.nbest(np.zeros((60, 9), np.float32), 12, 100.0)
    single = [(word,) for word in (1, 2, 3)]
    pairs = sorted(itertools.product((1, 2, 3), repeat=2), key=lambda pair: (sum(pair), pair))
    assert [one.words for one in found] == [*single, *pairs]
    assert [one.cost for one in found] == pytest.approx(
        [sum(0.5 + (w - 1) / 100 for w in words) for words in (*single, *pairs)], abs=1e-4
    )


def test_what_the_first_search_found_is_always_listed() -> None:
    # Homophones: the same sounds and costs, of which the list has but one.
    arcs: Arcs = [(0, 1, 1, word, 0.0) for word in (7, 8, 9)]
    decoder = GraphDecoder(make_fst(arcs, {1: 0.0}, 2), 1)
    scores = np.zeros((1, 1), np.float32)
    best = tuple(decoder.decode(scores).words)
    assert best in [one.words for one in decoder.nbest(scores, 2, 5.0)]
    assert len(decoder.nbest(scores, 5, 5.0)) == 3
    listed = [Sentence((1,), 1.0, 1.0), Sentence((2,), 2.0, 1.0)]
    assert with_sentence(listed, listed[1], 2) == listed
    assert with_sentence(listed, Sentence((3,), 1.5, 1.0), 2) == [
        listed[0], Sentence((3,), 1.5, 1.0),
    ]  # fmt: skip


def test_partial_paths_are_not_ranked() -> None:
    arcs: Arcs = [(0, 1, 1, 7, 0.0), (0, 1, 1, 8, 0.1), (1, 2, 1, 0, 0.0)]
    decoder = GraphDecoder(make_fst(arcs, {2: 0.0}, 3), 1)
    found = decoder.nbest(np.full((1, 1), -2.0, np.float32), 10, 8.0)
    assert found == [Sentence((7,), pytest.approx(0.0), pytest.approx(2.0))]
    assert decoder.nbest(np.zeros((0, 1), np.float32), 10, 8.0) == [Sentence((), 0.0, 0.0)]


def test_a_lattice_without_an_end_has_no_sentence() -> None:
    lattice = Lattice(
        0, np.full((2, 2), math.inf), np.array([0]), np.array([1]), np.array([5]), np.zeros((1, 2))
    )
    assert best_sentences(lattice, 5, 10.0) == []


def test_a_lattice_search_that_reaches_no_end_leaves_the_first_result() -> None:
    # With few states at work the first search widens its beam; the search for lattices does not.
    arcs: Arcs = [(0, 1, 1, 9, 20.0), (1, 2, 1, 0, 0.0), (0, 3, 2, 5, 0.0), (3, 3, 2, 0, 0.0)]
    decoder = GraphDecoder(make_fst(arcs, {2: 0.0}, 4), 2, beam=1.0)
    scores = np.zeros((2, 2), np.float32)
    assert decoder.decode(scores).complete
    assert decoder.nbest(scores, 5, 8.0) == [Sentence((9,), pytest.approx(20.0), 0.0)]
