"""Guided CTC: models that put their spikes where one guide has its own.

Kurata & Audhkhasi, "Guiding CTC Posterior Spike Timings for Improved Posterior Fusion and
Knowledge Distillation" (2019). CTC leaves open at which frame a token has its spike, and every
model finds other places: frames cannot be averaged. Where the guide's most probable label is a
token, the model is to find that token probable at that frame; where it is the blank, nothing is
asked for.

The loss is theirs as it is described elsewhere, `L_CTC + L_G` with `L_G = −Σ M∘P`: posteriors
themselves are summed, not their logarithms, and there is no mean over frames. (The descriptions
leave open what M is where the guide says blank; here it is 0.) `ctc.guide_weight` is ours, theirs
is its default, 1. The guide hears what the model hears, changes of speed and all.
"""

import torch
from torch import Tensor

from asr_kd.labels.ctc import BLANK


def guide_loss(logits: Tensor, lengths: Tensor, guide_logits: Tensor) -> tuple[Tensor, Tensor]:
    """`−Σ M∘P`: P the model's posteriors, M 1 at the guide's spikes and 0 elsewhere.

    To be added to the loss of CTC.

    Args:
        logits: of the model (B,T',V).
        lengths: valid frames (B,).
        guide_logits: logits or log-posteriors of the guide on the same frames (B,T',V); constant.

    Returns:
        (sum over frames, between −(number of spikes) and 0; number of valid frames).
    """
    rows, frames, labels = spikes(guide_logits.detach(), lengths)
    post = logits[rows, frames].to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
    return -post.gather(1, labels[:, None]).sum(), lengths.sum()


def spikes(log_post: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a model's most probable label is a token.

    Args:
        log_post: log-posteriors or logits (B,T',V).
        lengths: valid frames (B,).

    Returns:
        Row, frame and label of each of S spikes, (S,) each.
    """
    best = log_post.argmax(-1)
    valid = torch.arange(best.shape[1], device=best.device) < lengths[:, None]
    rows, frames = ((best != BLANK) & valid).nonzero(as_tuple=True)
    return rows, frames, best[rows, frames]
