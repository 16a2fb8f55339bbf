"""Priors of models of token sequences: where no alignment counts labels, the model says."""

import numpy as np
import torch
from numpy.typing import NDArray

from asr_kd.labels.priors import floored_log_prior
from asr_kd.models.base import AcousticModel
from asr_kd.train.dataset import AlignedData, plain_batch
from asr_kd.train.sampler import plan_batches

_ENOUGH_FRAMES = 500_000  # of features


@torch.no_grad()
def mean_posterior(model: AcousticModel, data: AlignedData, max_frames: int) -> NDArray[np.float32]:
    """Natural log of the mean posterior of each label (V,), floored as counted priors are.

    Args:
        model: in evaluation mode, on any device.
        data: what it was trained on; utterances all over it until there are 500,000 frames.
        max_frames: of a batch, padding included.
    """
    step = max(1, round(int(data.num_frames.sum()) / _ENOUGH_FRAMES))
    chosen = np.arange(0, len(data), step)
    device = next(model.parameters()).device
    total = torch.zeros(len(data.label_set), dtype=torch.float64)
    for rows in plan_batches(data.num_frames[chosen], max_frames):
        batch = plain_batch(data, chosen[rows].tolist()).to(device)
        logits, lengths = model(batch.feats, batch.lengths)
        there = torch.arange(logits.shape[1], device=device) < lengths[:, None]
        total += logits[there].double().softmax(-1).sum(0).cpu()
    return floored_log_prior(total.numpy())
