"""Covariance of posteriors, batch by batch, and the clusters that are planted in it."""

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from asr_kd.distill.clusters import Clusters, cluster_columns
from asr_kd.distill.confusion import Confusion
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet

BLOCKS = [[0, 5, 10], [1, 6, 11, 12], [2, 7], [3, 4, 8, 9, 13]]
LABELS = LabelSet("hmm-states", tuple(f"P{k // 2}_{k % 2}" for k in range(14)))


def confused_posteriors(num_frames: int, seed: int) -> torch.Tensor:
    """Labels of a block share the frame's probability; blocks are told apart. Rare ones too."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(14, 0.7))
    probs = np.full((num_frames, 14), 1e-4)
    for row in probs:
        block = BLOCKS[rng.choice(4, p=[shares[b].sum() for b in BLOCKS])]
        row[block] += rng.dirichlet(np.ones(len(block)) * 2)
    return torch.from_numpy(probs / probs.sum(1, keepdims=True))


@hypothesis.given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(0, 100))
def test_merged_covariance_is_that_of_all_frames(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = torch.from_numpy(rng.dirichlet(np.ones(6), max(1, sum(sizes))))
    total = Confusion.empty(6)
    for part in frames.split(sizes) if sum(sizes) else [frames]:
        if len(part):
            total.merge(Confusion.of(part.float()))
    exact = frames.float().double()
    assert total.frames == len(exact)
    wanted = np.cov(exact.numpy().T, bias=True)
    assert np.allclose(total.covariance.numpy(), wanted, rtol=0, atol=1e-14)
    assert np.allclose(total.mean, exact.mean(0))


def test_small_variance_beside_a_large_mean() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-9, (1000, 2)))
    total = Confusion.empty(2)
    for part in (0.5 + noise).split(10):
        total.merge(Confusion.of(part))
    assert np.allclose(total.covariance, np.cov(noise.T, bias=True), rtol=1e-4, atol=0)


@pytest.mark.parametrize("seed", range(5))
def test_planted_blocks_are_found(seed: int) -> None:
    covariance = Confusion.of(confused_posteriors(3000, seed)).covariance
    assert cluster_columns(covariance, 4, seed) == tuple(map(tuple, sorted(BLOCKS)))


def test_the_same_seed_gives_the_same_clusters() -> None:
    covariance = Confusion.of(torch.rand(200, 30, generator=torch.manual_seed(1))).covariance
    once, again = cluster_columns(covariance, 7, 3), cluster_columns(covariance, 7, 3)
    assert once == again
    assert sorted(i for cluster in once for i in cluster) == list(range(30))
    assert all(once)


@pytest.mark.parametrize("num_clusters", [1, 5, 40])
def test_impossible_numbers_of_clusters_are_refused(num_clusters: int) -> None:
    covariance = torch.zeros(30, 30)
    covariance[:3, :3] = torch.eye(3)  # three columns, and 27 of labels that never occur
    with pytest.raises(InputError, match=f"^{num_clusters} clusters: expected 2 to 4"):
        cluster_columns(covariance, num_clusters, 0)


def test_clusters_come_back_from_disk(tmp_path: Path) -> None:
    clusters = Clusters(LABELS, tuple(map(tuple, BLOCKS)))
    clusters.save(tmp_path)
    assert Clusters.load(tmp_path) == clusters
    assert clusters.names(3) == ["P1_0", "P3_1"]


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["P0_0", "XX_1"], "cluster 1: no such labels: XX_1"),
        (["P0_0", "P0_0"], "cluster 1: a label twice"),
        ([], "cluster 1: 0 of 14 labels"),
        (list(LABELS.names), "cluster 1: 14 of 14 labels"),
    ],
)
def test_tables_written_by_hand_are_checked(tmp_path: Path, names: list[str], fault: str) -> None:
    Clusters(LABELS, ((0, 1),)).save(tmp_path)
    file = tmp_path / "clusters.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"clusters": [names]}))
    with pytest.raises(InputError, match=fault):
        Clusters.load(tmp_path)


def test_what_is_no_table_of_clusters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the output of cluster-labels"):
        Clusters.load(tmp_path)
    (tmp_path / "clusters.json").write_text("{}")
    with pytest.raises(InputError, match="not a table of clusters"):
        Clusters.load(tmp_path)
