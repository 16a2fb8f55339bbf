"""Offsets of biases against planted ones and against slow searches over a fine grid."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_kd.distill.bias import BiasSearch

NUM_LABELS = 7


def frames(seed: int, num_frames: int = 400) -> tuple[Tensor, Tensor]:
    """Logits (N,V) that know their labels (N,) fairly well; labels are not equally frequent."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.arange(1.0, NUM_LABELS + 1)
    pdf_ids = torch.multinomial(shares, num_frames, replacement=True, generator=generator)
    logits = torch.randn(num_frames, NUM_LABELS, generator=generator)
    logits[torch.arange(num_frames), pdf_ids] += 2
    return logits, pdf_ids


def certain(seed: int, num_frames: int = 3000) -> tuple[Tensor, Tensor]:
    """Every frame is right, by 2 to 6 nats."""
    _, pdf_ids = frames(seed, num_frames)
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.rand(num_frames, NUM_LABELS, generator=generator)
    logits[torch.arange(num_frames), pdf_ids] += 4
    return logits, pdf_ids


def search(logits: Tensor, pdf_ids: Tensor, chosen: list[int]) -> BiasSearch:
    found = BiasSearch(chosen, logits.shape[1])
    for part in torch.arange(len(logits)).split(150):  # in parts, as a stage adds them
        found.add(logits[part], pdf_ids[part])
    return found


def slow_score(
    logits: Tensor, pdf_ids: Tensor, chosen: list[int], offsets: Tensor
) -> tuple[int, float]:
    shifted = logits.double().clone()
    shifted[:, chosen] += offsets
    correct = int((shifted.argmax(1) == pdf_ids).sum())
    return correct, float(torch.nn.functional.cross_entropy(shifted, pdf_ids, reduction="sum"))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), chosen=st.sets(st.integers(0, 6), min_size=1, max_size=6))
def test_no_offset_of_a_fine_grid_is_better(seed: int, chosen: set[int]) -> None:
    logits, pdf_ids = frames(seed)
    labels = sorted(chosen)
    found = search(logits, pdf_ids, labels)
    offsets = found.shared()
    assert len(offsets.unique()) == 1
    score = slow_score(logits, pdf_ids, labels, offsets)
    assert found.score(offsets) == pytest.approx(score)
    grid = [slow_score(logits, pdf_ids, labels, torch.tensor(o).double())
            for o in torch.arange(-8, 8, 0.02).tolist()]  # fmt: skip
    assert score[0] >= max(correct for correct, _ in grid)
    equal = [cross_entropy for correct, cross_entropy in grid if correct == score[0]]
    # Intervals are left alone by 0.001 at their ends, hence the tolerance.
    assert not equal or score[1] <= min(equal) + 0.01


@pytest.mark.parametrize("offset", [-7.6, 3.5])
def test_a_planted_offset_is_undone(offset: float) -> None:
    logits, pdf_ids = certain(3)
    logits[:, [2, 5]] -= offset
    found = search(logits, pdf_ids, [2, 5])
    assert found.score(torch.zeros(2)).correct < 3000
    offsets = found.shared()
    assert found.score(offsets).correct == 3000
    assert float(offsets[0]) == pytest.approx(offset, abs=1.0)


def test_among_the_perfect_offsets_the_best_cross_entropy_wins() -> None:
    # Any offset between -20 and 20 is right on all frames; by symmetry the best one is 0.
    logits = torch.tensor([[20.0, 0.0], [0.0, 20.0]])
    offsets = search(logits, torch.tensor([0, 1]), [1]).shared()
    assert float(offsets) == pytest.approx(0.0, abs=1e-3)


def test_each_label_has_its_own_offset() -> None:
    logits, pdf_ids = certain(4)
    planted = torch.tensor([4.0, -6.0])
    logits[:, [1, 6]] -= planted
    found = search(logits, pdf_ids, [1, 6])
    shared, each = found.shared(), found.each()
    assert found.score(shared).correct < found.score(each).correct == 3000
    torch.testing.assert_close(each.float(), planted, atol=1.5, rtol=0)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_no_single_offset_improves_on_each(seed: int) -> None:
    logits, pdf_ids = frames(seed, 200)
    found = search(logits, pdf_ids, [0, 3, 4])
    offsets = found.each()
    score = found.score(offsets)
    assert score.correct >= found.score(found.shared()).correct
    for k in range(3):
        for value in torch.arange(-5, 5, 0.1).tolist():
            other = offsets.clone()
            other[k] = value
            assert found.score(other).correct <= score.correct


def test_scores_of_the_chosen_labels_and_of_the_others_add_up() -> None:
    logits, pdf_ids = frames(5)
    found = search(logits, pdf_ids, [1, 4])
    offsets = torch.tensor([0.3, -1.0], dtype=torch.float64)
    whole = found.score(offsets)
    parts = [found.score(offsets, among=among) for among in (True, False)]
    assert whole.correct == sum(part.correct for part in parts)
    assert whole.cross_entropy == pytest.approx(sum(part.cross_entropy for part in parts))
    mine = (pdf_ids == 1) | (pdf_ids == 4)
    assert parts[0] == pytest.approx(slow_score(logits[mine], pdf_ids[mine], [1, 4], offsets))
    counts = [int((pdf_ids == label).sum()) for label in (1, 4)]
    assert found.num_frames().tolist() == [*counts, int((~mine).sum())]


def test_frames_of_the_chosen_labels_alone_raise_them_without_end() -> None:
    logits, _ = frames(6)
    found = search(logits, torch.full((400,), 2), [2])
    offsets = found.shared()
    assert bool(torch.isfinite(offsets).all())
    assert found.score(offsets).correct == 400
