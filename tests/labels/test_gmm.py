from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from asr_kd.errors import InputError
from asr_kd.labels.gmm import DiagGmms, GmmModel
from asr_kd.labels.gmm_training import reestimate, single_gaussians, split
from asr_kd.labels.label_set import LabelSet


def random_gmms(rng: np.random.Generator, sizes: list[int], dim: int) -> DiagGmms:
    weights = [rng.dirichlet(np.ones(n)) for n in sizes]
    return DiagGmms(
        np.cumsum([0, *sizes[:-1]]),
        np.concatenate(weights).astype(np.float32),
        rng.normal(size=(sum(sizes), dim)).astype(np.float32),
        rng.uniform(0.2, 2, size=(sum(sizes), dim)).astype(np.float32),
    )


def test_log_likes_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    gmms = random_gmms(rng, [1, 3, 2], 5)
    feats = rng.normal(size=(7, 5)).astype(np.float32) * 3
    expected = np.empty((7, 3))
    for label, (start, size) in enumerate(zip(gmms.starts, gmms.sizes, strict=True)):
        each = [
            np.log(gmms.weights[g])
            + norm.logpdf(feats, gmms.means[g], np.sqrt(gmms.variances[g])).sum(axis=1)
            for g in range(start, start + size)
        ]
        expected[:, label] = logsumexp(each, axis=0)
    np.testing.assert_allclose(gmms.log_likes(feats), expected, rtol=1e-4, atol=1e-4)
    for chosen in ([0, 2], [1], [2, 1]):
        left_out = np.setdiff1d(range(3), chosen)
        scores = gmms.log_likes(feats, np.array(chosen))
        np.testing.assert_allclose(scores[:, chosen], expected[:, chosen], rtol=1e-4, atol=1e-4)
        assert (scores[:, left_out] == -np.inf).all()


def test_far_frames_stay_finite() -> None:
    gmms = random_gmms(np.random.default_rng(0), [2, 2], 3)
    assert np.isfinite(gmms.log_likes(np.full((1, 3), 1000, np.float32))).all()


def test_training_finds_the_planted_mixture() -> None:
    rng = np.random.default_rng(1)
    planted = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    pdf_ids = np.repeat([0, 1], [6000, 3000]).astype(np.int32)
    component = np.where(pdf_ids == 1, 2, rng.random(9000) < 0.25)
    feats = (planted[component.astype(int)] + rng.normal(size=(9000, 2))).astype(np.float32)
    floor = np.full(2, 0.01, np.float32)
    gmms, log_likes = single_gaussians(feats, 2), []
    frames = np.bincount(pdf_ids)
    for _ in range(30):
        step = reestimate(gmms, feats, pdf_ids, floor)
        log_likes.append(step.log_like)
        gmms = step.gmms if len(step.gmms.weights) > 2 else split(step.gmms, frames, 5, rng)
    # Two Gaussians each; label 0 has the planted ones, in either order.
    assert gmms.sizes.tolist() == [2, 2]
    order = np.argsort(gmms.means[:2, 0])
    np.testing.assert_allclose(gmms.means[:2][order], planted[:2], atol=0.15)
    np.testing.assert_allclose(gmms.weights[:2][order], [0.75, 0.25], atol=0.03)
    np.testing.assert_allclose(gmms.variances[:2], 1, atol=0.15)
    # Expectation maximisation never lowers the likelihood.
    assert min(np.diff(log_likes)) > -1e-4


def test_one_step_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(2)
    gmms = random_gmms(rng, [3], 2)  # overlapping, so that posteriors are soft
    feats = rng.normal(size=(400, 2)).astype(np.float32)
    each = [
        np.log(gmms.weights[g])
        + norm.logpdf(feats, gmms.means[g], np.sqrt(gmms.variances[g])).sum(axis=1)
        for g in range(3)
    ]
    posts = np.exp(each - logsumexp(each, axis=0))
    step = reestimate(gmms, feats, np.zeros(400, np.int32), np.zeros(2, np.float32))
    weights = posts.mean(axis=1)
    means = posts @ feats / posts.sum(axis=1, keepdims=True)
    variances = [np.average((feats - m) ** 2, axis=0, weights=p) for m, p in zip(means, posts,
                 strict=True)]  # fmt: skip
    np.testing.assert_allclose(step.gmms.weights, weights, rtol=1e-4)
    np.testing.assert_allclose(step.gmms.means, means, atol=1e-4)
    np.testing.assert_allclose(step.gmms.variances, variances, rtol=1e-3)
    assert step.log_like == pytest.approx(logsumexp(each, axis=0).mean(), abs=1e-4)


def test_floor_unseen_labels_and_frames_left_out() -> None:
    feats = np.zeros((50, 2), np.float32)
    feats[40:] = 100  # left out below
    pdf_ids = np.where(np.arange(50) < 40, 1, -1).astype(np.int32)
    gmms = single_gaussians(np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32), 3)
    step = reestimate(gmms, feats, pdf_ids, np.array([0.5, 0.25], np.float32))
    assert step.frames.tolist() == [0, 40, 0]
    np.testing.assert_allclose(step.gmms.means[1], 0, atol=1e-6)
    np.testing.assert_allclose(step.gmms.variances[1], [0.5, 0.25])
    for unseen in (0, 2):
        np.testing.assert_array_equal(step.gmms.means[unseen], gmms.means[unseen])


def test_split_shares_by_frames_and_keeps_the_density_nearly() -> None:
    rng = np.random.default_rng(0)
    gmms = random_gmms(rng, [1, 1, 1, 1], 3)
    frames = np.array([160_000, 10_000, 30, 0])
    grown = split(gmms, frames, 33, rng)
    assert grown.sizes[0] == 2 * grown.sizes[1]  # 16 times the frames, to the power 1/4
    assert grown.sizes[2:].tolist() == [1, 1]  # too few frames to split
    assert np.add.reduceat(grown.weights, grown.starts) == pytest.approx(1)
    feats = rng.normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_allclose(grown.log_likes(feats), gmms.log_likes(feats), atol=2)


@pytest.fixture
def model() -> GmmModel:
    gmms = random_gmms(np.random.default_rng(0), [1, 2], 6)
    return GmmModel(gmms, LabelSet("hmm-states", ("A_0", "B_0")), "speaker", 2, {"kind": "x"})


def test_model_round_trip(tmp_path: Path, model: GmmModel) -> None:
    model.save(tmp_path)
    again = GmmModel.load(tmp_path)
    feats = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_array_equal(again.log_likes(feats), model.log_likes(feats))
    assert again.digest == model.digest
    assert again.num_params == 3 + 2 * 18


def test_model_refuses_other_features_and_damage(tmp_path: Path, model: GmmModel) -> None:
    with pytest.raises(InputError, match="GMM of 2 dimensions"):
        model.log_likes(np.zeros((4, 3), np.float32))
    with pytest.raises(InputError, match="not a GMM folder"):
        GmmModel.load(tmp_path)
    model.save(tmp_path)
    weights = tmp_path / "gmm.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    with pytest.raises(InputError, match="corrupt GMM"):
        GmmModel.load(tmp_path)
    weights.write_bytes(whole)
    description = tmp_path / "gmm.json"
    description.write_text(description.read_text().replace('"deltas": 2', '"deltas": 3'))
    with pytest.raises(InputError, match="do not belong together"):
        GmmModel.load(tmp_path)
