import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr_kd.models.config import FrontendConfig, TdnnLayerConfig
from asr_kd.models.frontend import Frontend, length_mask


def slow_deltas(x: NDArray[np.float64], order: int, window: int) -> NDArray[np.float64]:
    """Regression deltas by loops; beyond the edges only the statics are replicated, as Kaldi's."""
    pad = order * window
    signals = [np.concatenate([x[:1].repeat(pad, 0), x, x[-1:].repeat(pad, 0)])]
    norm = sum(k * k for k in range(-window, window + 1))
    for _ in range(order):
        last = signals[-1]
        signals.append(np.zeros_like(last))
        for t in range(window, len(last) - window):
            for k in range(-window, window + 1):
                signals[-1][t] += k * last[t + k] / norm
    return np.concatenate([s[pad : pad + len(x)] for s in signals], 1)


@pytest.mark.parametrize(("order", "window"), [(0, 2), (1, 2), (2, 2), (2, 3), (3, 1)])
def test_deltas_agree_with_the_slow_ones(order: int, window: int) -> None:
    torch.manual_seed(0)
    frontend = Frontend(FrontendConfig(delta_order=order, delta_window=window), 4)
    feats = torch.randn(3, 11, 4)
    lengths = torch.tensor([11, 2, 7])
    found = frontend.add_deltas(feats, lengths)
    for b, n in enumerate(lengths.tolist()):
        expected = slow_deltas(feats[b, :n].double().numpy(), order, window)
        np.testing.assert_allclose(found[b, :n].numpy(), expected, atol=1e-5)


def test_deltas_of_a_ramp() -> None:
    frontend = Frontend(FrontendConfig(delta_order=2), 1)
    ramp = 3.0 * torch.arange(20.0)[None, :, None]
    middle = frontend.add_deltas(ramp, torch.tensor([20]))[0, 8:12]
    torch.testing.assert_close(middle[:, 1], torch.full((4,), 3.0))
    torch.testing.assert_close(middle[:, 2], torch.zeros(4), atol=1e-5, rtol=0)


def test_splicing_replicates_the_last_valid_frame() -> None:
    frontend = Frontend(FrontendConfig(left=1, right=2), 1)
    feats = torch.tensor([[[1.0], [2.0], [3.0], [99.0]]])
    spliced = frontend(feats, torch.tensor([3]))
    assert spliced[0, :3].tolist() == [[1, 1, 2, 3], [1, 2, 3, 3], [2, 3, 3, 3]]


def test_fit_normalises_the_training_data() -> None:
    torch.manual_seed(0)
    frontend = Frontend(FrontendConfig(delta_order=1), 3)
    utts = [torch.randn(n, 3) * torch.tensor([5.0, 0.1, 0.0]) + 70.0 for n in (40, 3, 90)]
    frontend.fit(utts)
    normed = torch.cat([frontend(u[None], torch.tensor([len(u)]))[0] for u in utts])
    torch.testing.assert_close(normed.mean(0), torch.zeros(6), atol=1e-2, rtol=0)
    expected = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])  # a constant dimension stays finite
    torch.testing.assert_close(normed.std(0, correction=0), expected, atol=1e-3, rtol=0)


def test_length_mask() -> None:
    assert length_mask(torch.tensor([0, 2]), 3).tolist() == [[False] * 3, [True, True, False]]


@pytest.mark.parametrize("offsets", [(0, 1, 3), (1, 0), (2, 2)])
def test_uneven_offsets_are_refused(offsets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equal steps"):
        TdnnLayerConfig(offsets=offsets)


def test_one_scale_for_all_dimensions() -> None:
    frontend = Frontend(FrontendConfig(shared_scale=True), 3)
    feats = [torch.tensor([[0.0, 4.0, 4.0], [0.0, 8.0, 8.0]])]
    frontend.fit(feats)
    torch.testing.assert_close(frontend.mean, torch.full((3,), 4.0))
    torch.testing.assert_close(frontend.std, torch.full((3,), (160 / 6 - 16) ** 0.5))
