"""Matching logits: what distillation becomes at a high temperature (paper, section 2.1).

With student logits z, teacher logits v and V labels, both without their mean over the labels,

    loss = (1/2V)·Σ_i (z_i − v_i)²,    d loss / dz_i = (z_i − v_i) / V.

The paper's gradient of the soft cross-entropy at a high T is (z_i − v_i) / (V·T²), so this is the
limit of `T²·CE_soft`, up to a constant: both are weighed against hard labels in the same way.
"""

import torch
from torch import Tensor


def logit_matching(logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Half the mean squared difference of the logits, each frame's mean removed.

    Args:
        logits: z (..., V) of the student, valid frames only.
        teacher_logits: v of the same shape; a constant added to a frame changes nothing.

    Returns:
        (sum over frames, number of frames).

    Raises:
        ValueError: if the shapes differ.
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            f"teacher's logits {tuple(teacher_logits.shape)}, student's {tuple(logits.shape)}"
        )
    num_labels = logits.shape[-1]
    difference = (logits - teacher_logits).reshape(-1, num_labels)
    # Removing each mean and removing that of the difference are the same.
    difference = difference - difference.mean(1, keepdim=True)
    total = difference.square().sum() / (2 * num_labels)
    return total, torch.tensor(len(difference), device=logits.device)


def teacher_logits(log_probs: Tensor, temperature: float) -> Tensor:
    """The logits behind soft targets: `T·log q` without each frame's mean.

    A student with `softmax(z / T) = q` has `z = T·log q + const`, and without its mean that is the
    only one, so a student that matches these logits gives the targets exactly. For one teacher v is
    its logits. For the geometric mean, `log q = Σ w_m z_m / T + const`: v is the mean of the
    teachers' logits, whatever T. For the arithmetic mean it is neither, and depends on T.

    The error of log q becomes T times as large. A store keeps 16 bits of each log-probability, so
    that its logits are the less precise the higher T is; T = 1 and the geometric mean, whose logits
    are the same at every T, lose least.

    Args:
        log_probs: log q (..., V), formed at T. A probability of 0 has no logit: it counts as the
            smallest normal number, or as the frame's least probability if that is smaller yet.
        temperature: T.

    Returns:
        v (..., V), each frame adding up to 0.
    """
    finite = log_probs.masked_fill(log_probs == -torch.inf, _log_tiny(log_probs.dtype))
    logits = temperature * torch.maximum(log_probs, finite.amin(-1, keepdim=True))
    return logits - logits.mean(-1, keepdim=True)


def floored_log(probs: Tensor) -> Tensor:
    """log q of stored probabilities (..., V), of which small ones may have become 0.

    What is below the smallest normal number counts as that number.
    """
    return probs.log().clamp_min(_log_tiny(probs.dtype))


def _log_tiny(dtype: torch.dtype) -> float:
    return torch.tensor(torch.finfo(dtype).tiny).log().item()
