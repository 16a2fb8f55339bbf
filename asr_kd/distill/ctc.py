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
        (B,) or (B,N), natural log; −∞, and no gradient, where no path has a probability: the
        frames are too few, or all paths need a label whose logit is −∞.
    """
    # torch's gradient is that of the logits before a softmax, not of any log_post: the softmax
    # must stay here.
    log_post = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    log_post = log_post.transpose(0, 1)
    never = log_post.isneginf()
    if tokens.ndim == 2:
        return _log_probs(log_post, never, lengths, tokens, token_lengths)
    # One place of the lists after the other: all N at once would want N copies of the posteriors.
    places = zip(tokens.unbind(1), token_lengths.unbind(1), strict=True)
    return torch.stack([_log_probs(log_post, never, lengths, *place) for place in places], 1)


def _log_probs(
    log_post: Tensor, never: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> Tensor:
    """Log-posteriors (T',B,V), where they are −∞, tokens (B,L) and both lengths -> (B,)."""
    log_post = log_post.view_as(log_post)
    losses = functional.ctc_loss(log_post, tokens, lengths, token_lengths, BLANK, "none")
    if log_post.requires_grad:
        # torch gives NaN there, and to an infinite loss even where its weight is 0.
        gone = never | losses.isposinf()[:, None]
        if bool(gone.any()):
            log_post.register_hook(lambda gradient: gradient.masked_fill(gone, 0.0))
    return -losses


def ctc_loss(
    logits: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """`−log p(y|x)` of one sequence for each utterance; arguments as for `sequence_log_probs`.

    Returns:
        (sum over utterances in nats, number of valid frames): a sum over the same frames as that
        of a frame-level loss, to which it can be added. ∞ where one is impossible.
    """
    return -sequence_log_probs(logits, lengths, tokens, token_lengths).sum(), lengths.sum()
