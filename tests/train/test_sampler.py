import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.train.sampler import plan_batches

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=60).map(np.array)


@given(LENGTHS, st.integers(1, 1000), st.none() | st.integers(0, 9), st.integers(0, 9))
def test_every_utterance_once_and_no_batch_too_large(
    lengths: np.ndarray, max_frames: int, seed: int | None, epoch: int
) -> None:
    batches = plan_batches(lengths, max_frames, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= max_frames


def test_deterministic_but_another_plan_each_epoch() -> None:
    lengths = np.arange(50, 250)
    first = plan_batches(lengths, 2000, 3, 0)
    assert first == plan_batches(lengths, 2000, 3, 0)
    assert first != plan_batches(lengths, 2000, 3, 1)
    assert first != plan_batches(lengths, 2000, 4, 0)
    # Not only the order of the batches changes but also who stands with whom.
    company = {frozenset(batch) for batch in first}
    assert company != {frozenset(batch) for batch in plan_batches(lengths, 2000, 3, 1)}


def test_padding_is_low() -> None:
    lengths = np.random.default_rng(0).integers(60, 600, 1000)
    batches = plan_batches(lengths, 4000, 0, 0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert lengths.sum() / padded > 0.85
    assert np.median([len(batch) * lengths[batch].max() for batch in batches]) > 3000
