"""The essence of soft targets: their larger entries, and a rule for what they leave over."""

from typing import Literal

import torch
from torch import Tensor

from asr_kd.ensemble.soft_targets import SoftTargets

Rest = Literal["bucket", "renormalise"]


def essence(
    targets: SoftTargets | Tensor, mass: float = 1.0, floor: float = 0.0, rest: Rest = "bucket"
) -> SoftTargets | Tensor:
    """Restricts each frame to its most probable labels.

    An entry stays if the larger ones hold less than `mass` and it is not below `floor`; the
    largest always stays. Both count probabilities as they are in the targets: of a store that was
    truncated when it was made, only what it kept can stay.

    Args:
        targets: of N frames; dense ones are (N,V) probabilities.
        mass: share of each frame to keep, in (0, 1].
        floor: least probability to keep, in [0, 1).
        rest: "bucket" keeps what is left over, as one bucket of all other labels;
            "renormalise" scales what stays to add up to 1, and asks nothing of the other labels.

    Returns:
        The targets themselves with a mass of 1 and no floor, unless there is something left over to
        renormalise; else new ones, which list the labels of each frame from the most probable on.
    """
    complete = isinstance(targets, Tensor) or not bool(targets.left.any())
    if mass >= 1 and floor <= 0 and (rest == "bucket" or complete):
        return targets
    if isinstance(targets, Tensor):
        targets = SoftTargets.from_dense(targets)
    counts = targets.indptr.diff()
    # Frames as rows of a matrix; places that a frame does not fill sort to the end.
    places = torch.arange(int(counts.max()) if len(counts) else 0, device=counts.device)
    filled = places < counts[:, None]
    probs = targets.probs.new_full(filled.shape, -1.0).masked_scatter(filled, targets.probs)
    labels = targets.labels.new_zeros(filled.shape).masked_scatter(filled, targets.labels)
    probs, order = probs.sort(dim=1, descending=True, stable=True)
    labels = labels.gather(1, order)
    kept = (probs.clamp_min(0).cumsum(1) - probs < mass) & (probs >= floor)
    kept[:, :1] = True
    kept &= filled  # what is filled sorts before what is not
    held = torch.where(kept, probs, 0.0).sum(1)
    if rest == "bucket":
        total = torch.where(filled, probs, 0.0).sum(1)
        left = targets.left + (total - held).clamp_min(0)
    else:
        probs = probs / held[:, None]
        left = torch.zeros_like(targets.left)
    indptr = torch.cat([counts.new_zeros(1), kept.sum(1).cumsum(0)])
    return SoftTargets(indptr, labels[kept], probs[kept], left)
