"""The distribution nearest to a generalist's and its specialists', against slow references."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from asr_kd.models.consensus import consensus, floored

Case = tuple[Tensor, list[tuple[list[int], Tensor]]]


def draw(rng: np.random.Generator, num_labels: int, concentration: float) -> Tensor:
    return torch.from_numpy(rng.dirichlet(np.full(num_labels, concentration)).clip(1e-12))


def case(seed: int, num_labels: int, sets: list[list[int]], concentration: float = 0.5) -> Case:
    """p_g (V,), and of each specialist its labels and (special probabilities, dustbin)."""
    rng = np.random.default_rng(seed)
    members = [(labels, draw(rng, len(labels) + 1, concentration)) for labels in sets]
    return draw(rng, num_labels, concentration), members


def masses(p_g: Tensor, members: list[tuple[list[int], Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    mass = p_g.clone()
    outside = torch.ones(len(members), len(p_g), dtype=torch.bool)
    for m, (labels, p) in enumerate(members):
        mass[labels] += p[:-1]
        outside[m, labels] = False
    return mass[None], torch.stack([p[-1] for _, p in members])[None], outside


def divergence(q: np.ndarray, p_g: Tensor, members: list[tuple[list[int], Tensor]]) -> float:
    """KL(p_g, q) + Σ_m KL(p_m, q), straight from the paper."""

    def kl(p: np.ndarray, r: np.ndarray) -> float:
        return float(np.sum(p * np.log(p / r)))

    total = kl(p_g.numpy(), q)
    for labels, p in members:
        rest = [i for i in range(len(q)) if i not in labels]
        total += kl(p.numpy(), np.append(q[labels], q[rest].sum()))
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sets", [[[0, 1]], [[0, 1], [2, 3]], [[0, 1, 2], [1, 2, 3], [5, 0]]])
def test_no_gradient_descent_on_logits_gets_lower(seed: int, sets: list[list[int]]) -> None:
    p_g, members = case(seed, 7, sets)
    q = consensus(*masses(p_g, members), tolerance=1e-10)[0].exp().numpy()

    def objective(z: np.ndarray) -> float:
        e = np.exp(z - z.max())
        return divergence(e / e.sum(), p_g, members)

    found = optimize.minimize(objective, np.zeros(7), method="BFGS", options={"gtol": 1e-9})
    assert q.sum() == pytest.approx(1, abs=1e-12)
    assert divergence(q, p_g, members) <= found.fun + 1e-9
    e = np.exp(found.x - found.x.max())
    assert np.allclose(q, e / e.sum(), atol=1e-4)


def test_the_arithmetic_mean_where_all_models_cover_all_labels() -> None:
    rng = np.random.default_rng(0)
    each = torch.stack([torch.from_numpy(rng.dirichlet(np.ones(9), 5)) for _ in range(4)])
    q = consensus(each.sum(0), torch.zeros(5, 0), torch.zeros(0, 9, dtype=torch.bool))
    assert torch.allclose(q.exp(), each.mean(0), atol=1e-12)


def test_one_specialist_has_a_closed_form() -> None:
    # Half of each model's word on the special labels and on the rest as a whole; among the rest
    # the generalist alone decides.
    p_g, members = case(3, 8, [[1, 4, 6]])
    (labels, p), rest = members[0], [0, 2, 3, 5, 7]
    q = consensus(*masses(p_g, members))[0].exp()
    assert torch.allclose(q[labels], (p_g[labels] + p[:-1]) / 2)
    whole = (p_g[rest].sum() + p[-1]) / 2
    assert torch.allclose(q[rest], whole * p_g[rest] / p_g[rest].sum())


def test_a_batch_is_a_stack_of_singles() -> None:
    rows = [masses(*case(seed, 12, [[0, 1, 2], [2, 3], [7, 8]], 0.1)) for seed in range(40)]
    mass, dust = torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])
    dust[::3, 1] = 0  # a specialist that takes no part
    together = consensus(mass, dust, rows[0][2], tolerance=1e-9).exp()
    for n in range(40):
        alone = consensus(mass[n : n + 1], dust[n : n + 1], rows[0][2], tolerance=1e-9).exp()
        assert torch.allclose(alone[0], together[n], rtol=0, atol=1e-8)


@hypothesis.given(
    st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.01, 0.1, 1.0]), st.booleans()
)
@hypothesis.settings(max_examples=60)
def test_the_tolerance_is_kept(seed: int, num: int, concentration: float, apart: bool) -> None:
    rng = np.random.default_rng(seed)
    if apart:
        sets = [part.tolist() for part in np.array_split(rng.permutation(15), num + 1)[:num]]
    else:
        sets = [rng.choice(15, 4, replace=False).tolist() for _ in range(num)]
    p_g, members = case(seed, 15, sets, concentration)
    q = consensus(*masses(p_g, members), tolerance=1e-5)[0].exp().numpy()
    exact = consensus(*masses(p_g, members), tolerance=1e-9)[0].exp().numpy()
    assert divergence(q, p_g, members) <= divergence(exact, p_g, members) + 1e-5


def test_specialists_that_contradict_one_another() -> None:
    # Both say that it is not theirs; the third label grows from almost nothing.
    p_g = torch.tensor([0.5, 0.5, 1e-12], dtype=torch.double)
    little = torch.tensor([0.1, 0.9], dtype=torch.double)
    q = consensus(*masses(p_g, [([0], little), ([1], little)]))[0].exp()
    # By symmetry q = (x, x, 1 − 2x), and 1.2·log x + 1.8·log(1 − x) is largest at x = 0.4.
    assert torch.allclose(q, torch.tensor([0.4, 0.4, 0.2], dtype=torch.double), atol=1e-4)


def test_posteriors_of_float32_that_vanish_stay_finite() -> None:
    log_g = torch.tensor([[0.0, -300.0, -5000.0, -torch.inf]]).double()
    log_s = torch.tensor([[-400.0, 0.0]]).double()  # of label 0, and of the dustbin
    mass, said = floored(log_g), floored(log_s)
    mass[:, 0] += said[:, 0]
    q = consensus(mass, said[:, 1:], torch.tensor([[False, True, True, True]]))
    assert torch.isfinite(q).all()
    assert q.exp().sum() == pytest.approx(1)
    assert q.exp()[0, 0] == pytest.approx(0.5)
