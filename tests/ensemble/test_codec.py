from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_kd.ensemble.codec import DenseCodec, Keep, SparseCodec
from asr_kd.errors import InputError


def distributions(num_frames: int, num_labels: int, sharpness: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_frames, num_labels, generator=generator, dtype=torch.float64)
    return (sharpness * logits).log_softmax(1).float()


def kl(log_probs: Tensor, other: Tensor) -> Tensor:
    probs = log_probs.double().exp()
    return (torch.xlogy(probs, probs) - torch.xlogy(probs, other.double())).sum(1)


@settings(max_examples=60, deadline=None)
@given(
    num_frames=st.integers(1, 40),
    num_labels=st.sampled_from([1, 2, 5, 104, 255, 256, 300]),
    mass=st.sampled_from([0.3, 0.9, 0.99, 1.0]),
    cap=st.sampled_from([1, 3, 64, 300]),
    sharpness=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
    seed=st.integers(0, 1000),
)
def test_keeps_the_most_probable_until_the_mass(
    num_frames: int, num_labels: int, mass: float, cap: int, sharpness: float, seed: int
) -> None:
    log_probs = distributions(num_frames, num_labels, sharpness, seed)
    codec = SparseCodec(Keep(mass, cap), num_labels)
    targets = codec.decode(codec.encode(log_probs))
    torch.testing.assert_close(targets.dense(num_labels).sum(1), torch.ones(num_frames))
    assert targets.indptr.dtype == targets.labels.dtype == torch.int64
    best = targets.best()
    for n, row in enumerate(log_probs.double().exp()):
        entries = slice(int(targets.indptr[n]), int(targets.indptr[n + 1]))
        labels, probs = targets.labels[entries], targets.probs[entries].double()
        assert float(probs[labels == best[n]]) == float(probs.max())
        kept, others = row[labels], np.delete(row.numpy(), labels)
        assert len(set(labels.tolist())) == len(labels) == min(max(1, len(labels)), cap, num_labels)
        if len(others):
            assert float(kept.min()) >= others.max() * (1 - 1e-6)
        # No more than needed, and as many as needed unless the cap forbids.
        assert float(kept[:-1].sum()) < mass + 1e-6
        if len(labels) < min(cap, num_labels):
            assert float(kept.sum()) >= mass - 1e-6
        assert (float(targets.left[n]) == 0) == (len(labels) == num_labels)
        # Ratios to the largest are right to half a step of 1/16 nat, within the code's range.
        within = kept / kept[0] > np.exp(-15.9)
        ratios = (probs / probs[0]).log() - (kept / kept[0]).log()
        assert float(ratios[within].abs().max()) <= 0.5 / 16 + 1e-4


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 5.0])
def test_rounding_costs_little(sharpness: float) -> None:
    """What is lost beside truncation."""
    log_probs = distributions(300, 200, sharpness, 0)
    codec = SparseCodec(Keep(0.99, 40), 200)
    targets = codec.decode(codec.encode(log_probs))
    exact = torch.zeros(300, 200)
    for n, row in enumerate(log_probs.exp()):
        labels = targets.labels[targets.indptr[n] : targets.indptr[n + 1]]
        exact[n] = (1 - row[labels].sum()) / (200 - len(labels))
        exact[n, labels] = row[labels]
    lost = kl(log_probs, targets.dense(200)) - kl(log_probs, exact)
    assert 0 < float(lost.mean()) < 4e-4


def test_batch_is_a_stack_of_singles() -> None:
    codec = SparseCodec(Keep(0.95, 7), 30)
    log_probs = distributions(25_000, 30, 2.0, 0)  # several blocks
    cuts = [0, 1, 10, 20_000, 25_000]
    parts = [codec.encode(log_probs[a:b]) for a, b in pairwise(cuts)]
    whole = codec.encode(log_probs)
    for field in codec.fields:
        joined = np.concatenate([part[field.name] for part in parts])
        np.testing.assert_array_equal(joined, whole[field.name])
    decoded = codec.decode(whole)
    singles = [codec.decode(part) for part in parts]
    assert torch.equal(decoded.probs, torch.cat([single.probs for single in singles]))
    assert torch.equal(decoded.left, torch.cat([single.left for single in singles]))
    assert torch.equal(decoded.labels, torch.cat([single.labels for single in singles]))


@pytest.mark.parametrize(
    ("num_labels", "width"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4), (70_000, 4)]
)
def test_width_of_labels(num_labels: int, width: int) -> None:
    codec = SparseCodec(Keep(0.99, 3), num_labels)
    log_probs = torch.full((1, num_labels), -30.0)
    log_probs[0, [num_labels - 1, 0]] = torch.tensor([0.7, 0.3]).log()
    arrays = codec.encode(log_probs)
    assert arrays["labels"].dtype.itemsize == width
    assert codec.decode(arrays).labels.tolist() == [num_labels - 1, 0]
    assert sum(array.nbytes for array in arrays.values()) == 1 + 2 * (width + 1)


def test_cap_above_one_byte() -> None:
    codec = SparseCodec(Keep(1.0, 300), 400)
    targets = codec.decode(codec.encode(torch.full((2, 400), 1 / 400).log()))
    assert targets.indptr.tolist() == [0, 300, 600]
    torch.testing.assert_close(targets.left, torch.full((2,), 0.25), rtol=0.05, atol=0)


def test_certain_frame() -> None:
    codec = SparseCodec(Keep(0.99, 4), 50)
    log_probs = torch.full((1, 50), -torch.inf)
    log_probs[0, 7] = 0.0
    targets = codec.decode(codec.encode(log_probs))
    assert targets.labels.tolist() == [7]
    assert float(targets.probs) == pytest.approx(1.0, abs=2e-6)
    assert 0 < float(targets.left) < 2e-6


def test_no_frames() -> None:
    codec = SparseCodec(Keep(0.99, 4), 50)
    targets = codec.decode(codec.encode(torch.zeros(0, 50)))
    assert targets.num_frames == len(targets.labels) == 0
    assert targets.indptr.tolist() == [0]


def test_all_labels_in_half_precision() -> None:
    log_probs = distributions(30, 12, 3.0, 0)
    codec = DenseCodec(12)
    arrays = codec.encode(log_probs)
    assert arrays["log_probs"].dtype == np.float16
    targets = codec.decode(arrays)
    dense = targets.probs.view(30, 12)
    assert float(targets.left.abs().max()) == 0
    torch.testing.assert_close(dense.sum(1), torch.ones(30))
    assert float((dense.log() - log_probs).abs().max()) < 0.01
    assert float(kl(log_probs, dense).max()) < 1e-5
    impossible = torch.tensor([[0.0, -torch.inf]])
    assert codec.__class__(2).decode(DenseCodec(2).encode(impossible)).probs.tolist() == [1, 0]


def test_keep_is_read_and_written() -> None:
    assert Keep.parse("all") == Keep(None)
    assert Keep.parse("mass=0.95") == Keep(0.95, 64)
    assert Keep.parse("cap=16,mass=1") == Keep(1.0, 16)
    for keep in (Keep(), Keep(None), Keep(0.9975, 200)):
        assert Keep.parse(str(keep)) == keep


@pytest.mark.parametrize("text", ["", "most", "mass=0", "mass=1.1", "cap=0", "cap=70000",
                                  "mass=nan", "top=3", "mass=0.9,cap=x"])  # fmt: skip
def test_keep_refuses(text: str) -> None:
    with pytest.raises(InputError, match="expected `all` or `mass"):
        Keep.parse(text)
