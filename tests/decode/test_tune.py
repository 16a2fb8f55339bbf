import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_kd.decode.config import Grid, Scales
from asr_kd.decode.system import FrameScores, Setup
from asr_kd.decode.tune import best, refine, search_points, tune, warn_at_edge
from asr_kd.search.open_graph import penalised

REF = {"s-1": ["a"], "s-2": ["a", "a"], "t-1": ["a"], "t-2": ["a", "a"]}


@pytest.fixture
def setup(toy: Any) -> Setup:
    # Staying in one long "a" must win where the margin is 3 nats, and lose where it is 8.
    logits = {
        utt_id: toy.undecided("a a", margin=3.0 if len(words) == 1 else 8.0)
        for utt_id, words in REF.items()
    }
    data = toy.data("dev", logits, {utt_id: " ".join(words) for utt_id, words in REF.items()})
    return Setup((str(toy.model),), data, toy.graph, "arithmetic", 13.0, 1000)


def _tune(setup: Setup, grid: Grid, work: Path) -> dict[Scales, tuple[int, int]]:
    work.mkdir()
    shards = [["s-1", "s-2"], ["t-1", "t-2"]]
    found = tune(work, grid, partial(partial, search_points, setup, REF), shards, nj=1)
    assert found is not None
    return found


def test_planted_penalty_is_found(setup: Setup, tmp_path: Path) -> None:
    # At scale 1 a second word costs log 2 + penalty: right between 3 and 8.
    grid = Grid(acoustic_scale=(1.0,), insertion_penalty=(0.0, 4.0, 12.0), rounds=0)
    tried = _tune(setup, grid, tmp_path / "work")
    errors = {scales.insertion_penalty: e for scales, (e, _) in tried.items()}
    assert errors == {0.0: 2, 4.0: 0, 12.0: 2}
    assert best(tried).insertion_penalty == 4.0


def test_planted_acoustic_scale_is_found(setup: Setup, tmp_path: Path) -> None:
    grid = Grid(acoustic_scale=(0.02, 0.15, 1.0), insertion_penalty=(0.0,), rounds=0)
    assert best(_tune(setup, grid, tmp_path / "work")).acoustic_scale == 0.15


def test_a_finer_grid_finds_what_the_coarse_one_missed(setup: Setup, tmp_path: Path) -> None:
    coarse = Grid(acoustic_scale=(1.0,), insertion_penalty=(0.0, 10.0), rounds=0)
    fine = Grid(acoustic_scale=(1.0,), insertion_penalty=(0.0, 10.0), rounds=1)
    assert min(e for e, _ in _tune(setup, coarse, tmp_path / "one").values()) == 2
    tried = _tune(setup, fine, tmp_path / "two")
    assert len(tried) == 3  # no point twice
    assert best(tried).insertion_penalty == 5.0
    assert tried[best(tried)] == (0, 0)


def test_partial_paths_are_counted(toy: Any) -> None:
    # One frame cannot hold the two states of a word.
    data = toy.data("dev", {"s-1": toy.logits_of([0])}, {"s-1": "a"})
    setup = Setup((str(toy.model),), data, toy.graph, "arithmetic", 13.0, 1000)
    points = [Scales(acoustic_scale=1.0)]
    assert search_points(setup, {"s-1": ["a"]}, points, 0, ["s-1"]) == {"points": [[0, 1]]}


def test_prior_scale() -> None:
    log_post = np.log(np.array([[0.7, 0.2, 0.1]], np.float32))
    log_prior = np.log(np.array([0.5, 0.25, 0.25], np.float32))
    scales = Scales(acoustic_scale=0.5, prior_scale=0.8)
    expected = 0.5 * (log_post - 0.8 * log_prior)
    np.testing.assert_allclose(FrameScores(log_post, log_prior).scaled(scales), expected, rtol=1e-6)
    # A GMM's log-likelihoods have no prior to take off.
    np.testing.assert_allclose(FrameScores(log_post, None).scaled(scales), 0.5 * log_post)


def test_penalty_in_the_graph(toy: Any) -> None:
    import kaldifst

    def word_costs(graph: Any) -> list[float]:
        return sorted(
            arc.weight.value
            for state in range(graph.num_states)
            for arc in kaldifst.ArcIterator(graph, state)
            if arc.olabel
        )

    def other_costs(graph: Any) -> float:
        return sum(
            arc.weight.value
            for state in range(graph.num_states)
            for arc in kaldifst.ArcIterator(graph, state)
            if not arc.olabel
        )

    graph = kaldifst.StdVectorFst.read(str(toy.graph / "HCLG.fst"))
    dearer = penalised(graph, 1.5, {0: "<eps>", 1: "a", 2: "b"})
    assert dearer.num_states == graph.num_states
    np.testing.assert_allclose(word_costs(dearer), [w + 1.5 for w in word_costs(graph)])
    assert other_costs(dearer) == other_costs(graph)


def test_refine() -> None:
    assert refine((0.1, 0.4, 1.6), 0.4, geometric=True) == (0.2, 0.4, 0.8)
    assert refine((-2.0, 0.0, 2.0), 2.0, geometric=False) == (1.0, 2.0)
    assert refine((3.0,), 3.0, geometric=False) == (3.0,)


def test_ties_do_not_depend_on_the_order() -> None:
    points = {
        Scales(acoustic_scale=0.2, insertion_penalty=1.0): (5, 0),
        Scales(acoustic_scale=0.4, insertion_penalty=0.0): (5, 0),
        Scales(acoustic_scale=0.2, insertion_penalty=0.0): (5, 0),
        Scales(acoustic_scale=0.1, insertion_penalty=0.0): (5, 1),
    }
    expected = Scales(acoustic_scale=0.2, insertion_penalty=0.0)
    assert best(points) == best(dict(reversed(points.items()))) == expected


def test_the_edge_of_the_grid_is_named(caplog: pytest.LogCaptureFixture) -> None:
    grid = Grid(acoustic_scale=(0.1, 0.2, 0.4), insertion_penalty=(0.0,))
    with caplog.at_level(logging.WARNING):
        warn_at_edge(grid, Scales(acoustic_scale=0.2))
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        warn_at_edge(grid, Scales(acoustic_scale=0.4))
    assert "acoustic_scale = 0.4 lies at the edge" in caplog.text
