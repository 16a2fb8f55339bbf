import math

import kaldifst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.search.decoder import GraphDecoder

Arcs = list[tuple[int, int, int, int, float]]  # source, target, input label, output label, cost


def make_fst(arcs: Arcs, finals: dict[int, float]) -> kaldifst.StdVectorFst:
    fst = kaldifst.StdVectorFst()
    for _ in range(1 + max(max(a[0], a[1]) for a in arcs)):
        fst.add_state()
    fst.start = 0
    for source, target, ilabel, olabel, cost in arcs:
        fst.add_arc(source, kaldifst.StdArc(ilabel, olabel, cost, target))
    for state, cost in finals.items():
        fst.set_final(state, cost)
    return fst


def slow_viterbi(arcs: Arcs, finals: dict[int, float], scores: np.ndarray) -> float:
    """Least cost of a complete path: each frame relaxes every arc, then the epsilons to the end."""
    num_states = 1 + max(max(a[0], a[1]) for a in arcs)

    def close(costs: list[float]) -> list[float]:
        for _ in range(num_states):
            for source, target, ilabel, _, cost in arcs:
                if ilabel == 0:
                    costs[target] = min(costs[target], costs[source] + cost)
        return costs

    costs = close([0.0] + [math.inf] * (num_states - 1))
    for frame in scores:
        after = [math.inf] * num_states
        for source, target, ilabel, _, cost in arcs:
            if ilabel:
                new = costs[source] + cost - float(frame[ilabel - 1])
                after[target] = min(after[target], new)
        costs = close(after)
    return min((costs[state] + cost for state, cost in finals.items()), default=math.inf)


def path_cost(arcs: Arcs, finals: dict[int, float], scores: np.ndarray, labels: list[int],
              words: list[int]) -> float:  # fmt: skip
    """Least cost of the graph's paths with just these labels and words, by exhaustive search."""
    best = math.inf
    stack = [(0, 0, 0, 0.0, 0)]
    while stack:
        state, t, w, cost, epsilons = stack.pop()
        if t == len(labels) and w == len(words) and state in finals:
            best = min(best, cost + finals[state])
        for source, target, ilabel, olabel, weight in arcs:
            if source != state or (olabel and (w == len(words) or words[w] != olabel)):
                continue
            if ilabel == 0 and epsilons < 5:
                stack.append((target, t, w + bool(olabel), cost + weight, epsilons + 1))
            elif ilabel and t < len(labels) and labels[t] == ilabel - 1:
                new = cost + weight - float(scores[t, ilabel - 1])
                stack.append((target, t + 1, w + bool(olabel), new, 0))
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_best_path_is_that_of_a_slow_search(seed: int, num_frames: int) -> None:
    rng = np.random.default_rng(seed)
    num_states, num_labels = int(rng.integers(2, 6)), 3
    arcs: Arcs = []
    for _ in range(int(rng.integers(3, 14))):
        source, target = (int(n) for n in rng.integers(0, num_states, 2))
        # Epsilon arcs go forward only, or they could form a cycle.
        ilabel = int(rng.integers(0 if target > source else 1, num_labels + 1))
        arcs.append((source, target, ilabel, int(rng.integers(0, 4)), float(rng.uniform(0, 3))))
    finals = {int(s): float(rng.uniform(0, 2)) for s in rng.integers(0, num_states, 2)}
    finals = {s: c for s, c in finals.items() if s < 1 + max(max(a[:2]) for a in arcs)}
    scores = (rng.normal(size=(num_frames, num_labels)) * 3).astype(np.float32)
    expected = slow_viterbi(arcs, finals, scores)
    path = GraphDecoder(make_fst(arcs, finals), num_labels, beam=1000.0).decode(scores)
    assert path.complete == (expected < math.inf)
    if path.complete:
        assert path.cost == pytest.approx(expected, abs=1e-3)
        assert len(path.labels) == num_frames
        again = path_cost(arcs, finals, scores, path.labels.tolist(), path.words)
        assert again == pytest.approx(expected, abs=1e-3)


def chain(labels: list[int]) -> tuple[Arcs, dict[int, float]]:
    """Left to right with self-loops; the last state is final, the first arc says the word 7."""
    arcs: Arcs = []
    for i, label in enumerate(labels):
        arcs.append((i, i + 1, label + 1, 7 if i == 0 else 0, 0.0))
        arcs.append((i + 1, i + 1, label + 1, 0, 0.0))
    return arcs, {len(labels): 0.0}


def planted(labels: list[int], num_labels: int, rng: np.random.Generator) -> np.ndarray:
    scores = rng.normal(size=(len(labels), num_labels)).astype(np.float32)
    scores[np.arange(len(labels)), labels] += 10
    return scores


def test_planted_path_comes_back() -> None:
    labels = [0, 0, 0, 2, 1, 1]
    decoder = GraphDecoder(make_fst(*chain([0, 2, 1])), 3)
    rng = np.random.default_rng(0)
    for _ in range(3):  # one decoder serves many utterances
        path = decoder.decode(planted(labels, 3, rng))
        assert path.labels.tolist() == labels
        assert path.labels.dtype == np.int32
        assert path.words == [7]
        assert path.complete


def test_partial_path_is_called_partial() -> None:
    decoder = GraphDecoder(make_fst(*chain([0, 2, 1])), 3)
    path = decoder.decode(planted([0, 2], 3, np.random.default_rng(0)))
    assert not path.complete
    assert path.labels.tolist() == [0, 2]


def test_no_frames_make_no_complete_path() -> None:
    path = GraphDecoder(make_fst([(0, 0, 1, 0, 0.0)], {0: 0.0}), 1).decode(
        np.zeros((0, 1), np.float32)
    )
    assert path.words == []
    assert path.labels.shape == (0,)
    assert not path.complete


def test_nan_names_utterance_and_frame() -> None:
    decoder = GraphDecoder(make_fst(*chain([0, 1])), 2)
    scores = np.zeros((5, 2), np.float32)
    scores[3, 1] = np.nan
    with pytest.raises(InputError, match="spk-utt7: score of label 1 at frame 3 is nan"):
        decoder.decode(scores, "spk-utt7")
    scores[3, 1] = np.inf
    with pytest.raises(InputError, match="is inf"):
        decoder.decode(scores, "spk-utt7")


def test_impossible_labels_are_avoided() -> None:
    # −inf is the score of a label that a model excludes.
    arcs: Arcs = [(0, 0, 1, 1, 0.0), (0, 0, 2, 2, 5.0)]
    scores = np.array([[-np.inf, -3.0], [-2.0, -np.inf]], np.float32)
    path = GraphDecoder(make_fst(arcs, {0: 0.0}), 2, beam=100).decode(scores)
    assert path.words == [2, 1]
    assert path.cost == pytest.approx(10)


def test_scores_of_another_label_set_are_refused() -> None:
    graph = make_fst(*chain([0, 4]))
    with pytest.raises(InputError, match="needs at least 5 labels, the scores have 4"):
        GraphDecoder(graph, 4)
    with pytest.raises(ValueError, match="V is 5"):
        GraphDecoder(graph, 5).decode(np.zeros((3, 4), np.float32))
    with pytest.raises(InputError, match="empty"):
        GraphDecoder(kaldifst.StdVectorFst(), 4)


def test_graph_lives_as_long_as_its_decoder() -> None:
    decoders = [GraphDecoder(make_fst(*chain([0, 2, 1])), 3) for _ in range(50)]
    for _ in range(100):  # memory that a freed graph would have left is used again
        make_fst(*chain(list(range(3)) * 5))
    scores = planted([0, 2, 1], 3, np.random.default_rng(0))
    assert all(decoder.decode(scores).words == [7] for decoder in decoders)


def test_beam_can_be_widened() -> None:
    # 60 cheap branches that lead nowhere fill the narrow beam; the way to the end costs 20 more.
    arcs: Arcs = [(0, 1, 2, 9, 20.0), (1, 2, 2, 0, 0.0), (2, 3, 2, 0, 0.0)]
    for branch in range(4, 64):
        arcs += [(0, branch, 1, 0, 0.0), (branch, branch, 1, 0, 0.0)]
    decoder = GraphDecoder(make_fst(arcs, {3: 0.0}), 2, beam=1.0)
    scores = np.zeros((3, 2), np.float32)
    assert not decoder.decode(scores).complete
    decoder.set_beam(40.0)
    path = decoder.decode(scores)
    assert path.complete
    assert path.words == [9]
