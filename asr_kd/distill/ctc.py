"""Connectionist temporal classification (Graves et al. 2006), by torch's forward-backward.

B utterances, T' frames, V labels of which label 0 is the blank, L tokens. What stands on padded
frames and padded tokens changes nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional

from asr_kd.labels.ctc import BLANK


def sequence_log_probs(
    logits: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> Tensor:
    """`log p(y|x)`: the logsumexp over all paths that collapse to the tokens.

    Args:
        logits: (B,T',V).
        lengths: valid frames (B,).
        tokens: (B,L), or (B,N,L) for N sequences of each utterance; no blank on valid places.
        token_lengths: (B,) or (B,N); 0 asks for blanks alone.

    Returns:
        (B,) or (B,N), natural log; −∞, and no gradient, where the frames are too few.
    """
    entries = tokens.shape[1:-1].numel()
    log_post = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    lengths = lengths.repeat_interleave(entries)
    flat, flat_lengths = tokens.flatten(0, -2), token_lengths.flatten()
    # torch's gradient is that of the logits before a softmax, not of any log_post: the softmax
    # must stay here. zero_infinity: an infinite loss would put NaN into gradients weighted by 0.
    losses = functional.ctc_loss(
        log_post.repeat_interleave(entries, 0).transpose(0, 1),
        flat, lengths, flat_lengths, BLANK, "none", zero_infinity=True,
    )  # fmt: skip
    log_probs = (-losses).masked_fill(_too_short(lengths, flat, flat_lengths), -torch.inf)
    return log_probs.reshape(token_lengths.shape)


def ctc_loss(
    logits: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """`−log p(y|x)` of one sequence for each utterance; arguments as for `sequence_log_probs`.

    Returns:
        (sum over utterances in nats, number of valid frames): a sum over the same frames as that
        of a frame-level loss, to which it can be added. ∞ where tokens do not fit the frames.
    """
    return -sequence_log_probs(logits, lengths, tokens, token_lengths).sum(), lengths.sum()


def _too_short(lengths: Tensor, tokens: Tensor, token_lengths: Tensor) -> Tensor:
    """Whether the frames (B,) are fewer than the tokens need (B,) bool."""
    later = torch.arange(1, max(tokens.shape[1], 1), device=tokens.device)
    repeated = (tokens[:, 1:] == tokens[:, :-1]) & (later < token_lengths[:, None])
    return lengths < token_lengths + repeated.sum(1)
