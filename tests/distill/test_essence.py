import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_kd.distill.essence import essence
from asr_kd.distill.loss import distillation_loss
from asr_kd.ensemble.soft_targets import SoftTargets


def targets_of(rows: list[dict[int, float]]) -> SoftTargets:
    """What a frame does not hold is left."""
    indptr = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    labels = torch.tensor([v for row in rows for v in row], dtype=torch.int64)
    probs = torch.tensor([p for row in rows for p in row.values()], dtype=torch.float64)
    left = torch.tensor([max(0.0, 1 - sum(row.values())) for row in rows], dtype=torch.float64)
    return SoftTargets(indptr, labels, probs, left)


def rows_of(targets: SoftTargets | Tensor) -> list[dict[int, float]]:
    assert isinstance(targets, SoftTargets)
    bounds = targets.indptr.tolist()
    return [
        dict(zip(targets.labels[a:b].tolist(), targets.probs[a:b].tolist(), strict=True))
        for a, b in itertools.pairwise(bounds)
    ]


def reference(row: dict[int, float], mass: float, floor: float) -> dict[int, float]:
    """One frame, entry by entry."""
    kept: dict[int, float] = {}
    for label, prob in sorted(row.items(), key=lambda item: -item[1]):
        if kept and (sum(kept.values()) >= mass or prob < floor):
            break
        kept[label] = prob
    return kept


def draw(seed: int, num_frames: int, num_labels: int, truncated: bool) -> list[dict[int, float]]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(num_frames):
        dense = (3 * torch.randn(num_labels, generator=generator, dtype=torch.float64)).softmax(0)
        count = int(torch.randint(1, num_labels + 1, (), generator=generator))
        kept = torch.randperm(num_labels, generator=generator)
        if truncated:
            kept = dense.topk(count).indices[torch.randperm(count, generator=generator)]
        rows.append({v: float(dense[v]) for v in kept.tolist()})
    return rows


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    num_frames=st.integers(1, 9),
    num_labels=st.integers(1, 12),
    truncated=st.booleans(),
    mass=st.sampled_from([0.01, 0.5, 0.9, 0.999, 1.0]),
    floor=st.sampled_from([0.0, 0.001, 0.1, 0.9]),
)
def test_equals_a_slow_reference(
    seed: int, num_frames: int, num_labels: int, truncated: bool, mass: float, floor: float
) -> None:
    rows = draw(seed, num_frames, num_labels, truncated)
    targets = targets_of(rows)
    bucket = essence(targets, mass, floor, "bucket")
    scaled = essence(targets, mass, floor, "renormalise")
    if mass == 1 and floor == 0:
        assert bucket is targets
        assert (scaled is targets) == (not targets.left.any())
    assert isinstance(bucket, SoftTargets)
    assert isinstance(scaled, SoftTargets)
    for n, row in enumerate(rows):
        kept = reference(row, mass, floor)
        held = sum(kept.values())
        assert rows_of(bucket)[n] == pytest.approx(kept)
        assert float(bucket.left[n]) == pytest.approx(1 - held, abs=1e-12)
        assert rows_of(scaled)[n] == pytest.approx({v: p / held for v, p in kept.items()})
    assert float(scaled.left.abs().max()) == 0


def test_planted() -> None:
    targets = targets_of([{4: 0.05, 1: 0.6, 7: 0.3, 2: 0.05}, {3: 0.2, 0: 0.1}])
    assert rows_of(essence(targets, mass=0.8)) == [{1: 0.6, 7: 0.3}, {3: 0.2, 0: 0.1}]
    assert rows_of(essence(targets, floor=0.3)) == [{1: 0.6, 7: 0.3}, {3: 0.2}]
    kept = essence(targets, floor=0.3)
    assert isinstance(kept, SoftTargets)
    torch.testing.assert_close(kept.left, torch.tensor([0.1, 0.8], dtype=torch.float64))


def test_a_truncated_store_can_be_renormalised_without_truncating_further() -> None:
    targets = targets_of([{4: 0.1, 1: 0.6}, {3: 0.5, 0: 0.5}])
    found = essence(targets, rest="renormalise")
    assert rows_of(found) == [pytest.approx({1: 6 / 7, 4: 1 / 7}), {3: 0.5, 0: 0.5}]
    assert isinstance(found, SoftTargets)
    assert found.left.tolist() == [0.0, 0.0]


def test_dense_targets_are_targets_that_keep_all() -> None:
    dense = (2 * torch.randn(6, 9, dtype=torch.float64)).softmax(1)
    found = essence(dense, 0.9, 0.01)
    expected = essence(SoftTargets.from_dense(dense), 0.9, 0.01)
    assert isinstance(found, SoftTargets)
    assert isinstance(expected, SoftTargets)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert essence(dense) is dense
    assert essence(dense, rest="renormalise") is dense


def test_batch_is_a_stack_of_singles() -> None:
    rows = draw(5, 8, 10, truncated=True)
    together = rows_of(essence(targets_of(rows), 0.7, 0.02))
    assert together == [rows_of(essence(targets_of([row]), 0.7, 0.02))[0] for row in rows]


def test_no_frames() -> None:
    found = essence(targets_of([]), 0.5)
    assert isinstance(found, SoftTargets)
    assert found.num_frames == 0


def test_the_loss_of_both_rests() -> None:
    """The bucket asks for the mass of all others together; renormalised targets ask nothing."""
    targets = targets_of([{0: 0.6, 2: 0.3, 1: 0.1}])
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.3]], dtype=torch.float64)
    p = logits.softmax(1)[0].tolist()
    bucket, _ = distillation_loss(logits, essence(targets, 0.8), None, 1.0, 0.0)
    expected = -0.6 * math.log(p[0]) - 0.3 * math.log(p[2]) - 0.1 * math.log(p[1] + p[3])
    assert float(bucket) == pytest.approx(expected)
    scaled, _ = distillation_loss(logits, essence(targets, 0.8, 0, "renormalise"), None, 1.0, 0.0)
    assert float(scaled) == pytest.approx(-(0.6 * math.log(p[0]) + 0.3 * math.log(p[2])) / 0.9)
