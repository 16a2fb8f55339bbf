"""Re-estimation and splitting of Gaussians, given the label of every frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_kd.labels.gmm import DiagGmms

_LEAST_FRAMES = 10.0  # a Gaussian with less is taken away
_FRAMES_TO_SPLIT = 20.0  # per Gaussian that a label may have
_SPLIT_DISTANCE = 0.2  # standard deviations between the halves of a split Gaussian, about
_POWER = 0.25  # labels get Gaussians in proportion to their frames to this power


def single_gaussians(feats: NDArray[np.float32], num_labels: int) -> DiagGmms:
    """V equal Gaussians with mean and variance of all frames (N, D)."""
    mean = feats.mean(axis=0, dtype=np.float64)
    variance = feats.var(axis=0, dtype=np.float64)
    return DiagGmms(
        np.arange(num_labels),
        np.ones(num_labels, np.float32),
        np.tile(mean, (num_labels, 1)).astype(np.float32),
        np.tile(variance, (num_labels, 1)).astype(np.float32),
    )


@dataclass(frozen=True)
class Step:
    """Result of one re-estimation.

    Attributes:
        gmms: the new mixtures.
        frames: (V,) frames of each label.
        log_like: mean log-likelihood per frame under the former mixtures.
    """

    gmms: DiagGmms
    frames: NDArray[np.int64]
    log_like: float


def reestimate(
    gmms: DiagGmms,
    feats: NDArray[np.float32],
    pdf_ids: NDArray[np.int32],
    variance_floor: NDArray[np.float32],
) -> Step:
    """One step of expectation maximisation inside each label.

    A label without frames stays as it is; Gaussians left with hardly any frame are taken away, the
    label's last one never.

    Args:
        gmms: mixtures to improve.
        feats: (N, D).
        pdf_ids: (N,) label of each frame; a negative one leaves the frame out.
        variance_floor: (D,) least variance.
    """
    order = np.argsort(pdf_ids, kind="stable")
    order = order[np.searchsorted(pdf_ids[order], 0) :]
    frames = np.bincount(pdf_ids[order], minlength=len(gmms.starts))
    ends = np.cumsum(frames)
    log_like = 0.0
    parts = []
    for label, (start, size) in enumerate(zip(gmms.starts, gmms.sizes, strict=True)):
        own = slice(start, start + size)
        if not frames[label]:
            parts.append((gmms.weights[own], gmms.means[own], gmms.variances[own]))
            continue
        x = feats[order[ends[label] - frames[label] : ends[label]]]
        each = gmms.weighted_log_likes(x, own)
        most = each.max(axis=0)
        posts = np.exp(each - most)
        total = posts.sum(axis=0)
        log_like += float((np.log(total) + most).sum(dtype=np.float64))
        posts /= total
        parts.append(_maximise(posts, x, variance_floor))
    weights, means, variances = (
        np.concatenate(p).astype(np.float32) for p in zip(*parts, strict=True)
    )
    sizes = [len(part[0]) for part in parts]
    starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)
    new = DiagGmms(starts, weights, means, variances)
    return Step(new, frames, log_like / max(1, len(order)))


def _maximise(
    posts: NDArray[np.float32], x: NDArray[np.float32], variance_floor: NDArray[np.float32]
) -> tuple[NDArray, NDArray, NDArray]:
    """Weights (g,), means (g, D) and variances (g, D) from posteriors (g, n) and frames (n, D)."""
    occupancy = posts.sum(axis=1, dtype=np.float64)
    keep = occupancy >= min(_LEAST_FRAMES, occupancy.max())
    posts, occupancy = posts[keep], occupancy[keep]
    means = (posts @ x) / occupancy[:, None]
    variances = (posts @ x**2) / occupancy[:, None] - means**2
    return occupancy / occupancy.sum(), means, np.maximum(variances, variance_floor)


def split(
    gmms: DiagGmms, frames: NDArray[np.int64], total: int, rng: np.random.Generator
) -> DiagGmms:
    """Splits Gaussians until there are about `total`.

    A label's share grows with the power 0.25 of its frames, as in Kaldi; in a label the heaviest
    Gaussian is split first, into two that lie a random fraction of a standard deviation apart.

    Args:
        gmms: mixtures to split.
        frames: (V,) frames of each label.
        total: Gaussians wanted in all labels together.
        rng: for the directions of the splits.
    """
    share = frames.astype(np.float64) ** _POWER
    wanted = np.floor(total * share / max(share.sum(), 1e-9))
    wanted = np.minimum(wanted, frames // _FRAMES_TO_SPLIT).astype(np.int64)
    starts: list[int] = []
    weights: list[float] = []
    means: list[NDArray] = []
    variances: list[NDArray] = []
    for label, (start, size) in enumerate(zip(gmms.starts, gmms.sizes, strict=True)):
        starts.append(len(weights))
        w = gmms.weights[start : start + size].tolist()
        m, v = list(gmms.means[start : start + size]), list(gmms.variances[start : start + size])
        while len(w) < wanted[label]:
            heaviest = int(np.argmax(w))
            w[heaviest] /= 2
            step = _SPLIT_DISTANCE / 2 * np.sqrt(v[heaviest]) * rng.standard_normal(len(m[0]))
            w.append(w[heaviest])
            m.append(m[heaviest] + step)
            v.append(v[heaviest])
            m[heaviest] = m[heaviest] - step
        weights += w
        means += m
        variances += v
    return DiagGmms(
        np.array(starts),
        np.array(weights, np.float32),
        np.array(means, np.float32),
        np.array(variances, np.float32),
    )
