"""Sequence-level distillation on n-best lists.

The teachers' distribution over all token sequences is cut to the N of a list, and the student's
cross-entropy with it is `−Σ_i w_i·log p(y_i|x)`, w the teachers' scores normalised over the list
(Kim & Rush 2016 for sequences; Takashima et al. 2018 and Huang et al. 2018 for CTC). Teachers that
spike at different frames still agree on sequences, so that their scores can be averaged.

B utterances, N entries of a list, M teachers, T' frames, V labels, L tokens.
"""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from asr_kd.distill.ctc import sequence_log_probs


def average_scores(
    scores: Tensor, weights: Sequence[float], mean: Literal["arithmetic", "geometric"]
) -> Tensor:
    """Several teachers' log-probabilities of whole sequences as one.

    Args:
        scores: natural-log scores (M,...); −∞ for a sequence that a teacher cannot give.
        weights: M, at least 0; they are normalised.
        mean: `log Σ w_m·p_m`, or `Σ w_m·log p_m` (which is not normalised over all sequences, and
            −∞ where it is to any teacher that has a weight).

    Returns:
        (...).

    Raises:
        ValueError: for weights that do not fit.
    """
    if len(weights) != len(scores) or min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"weights {list(weights)} for {len(scores)} teachers")
    taken = [m for m, weight in enumerate(weights) if weight > 0]
    shares = scores.new_tensor([weights[m] / sum(weights) for m in taken])
    shares = shares.view(-1, *[1] * (scores.ndim - 1))
    if mean == "geometric":
        return (shares * scores[taken]).sum(0)
    return (shares.log() + scores[taken]).logsumexp(0)


def nbest_weights(scores: Tensor, scale: float = 1.0) -> Tensor:
    """`w_i ∝ exp(scale·score_i)` over the list.

    Args:
        scores: natural-log scores (B,N); −∞ on places beyond a list's end.
        scale: above 0; the smaller, the more even the weights, as with a high temperature.

    Returns:
        (B,N); each row sums to 1, or is 0 where there is no entry.
    """
    empty = scores.isneginf().all(-1, keepdim=True)
    return (scale * scores.masked_fill(empty, 0.0)).softmax(-1).masked_fill(empty, 0.0)


def nbest_loss(
    logits: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """`−Σ_i w_i·log p(y_i|x)`.

    Args:
        logits: (B,T',V).
        lengths: valid frames (B,).
        tokens: (B,N,L).
        token_lengths: (B,N).
        weights: (B,N), of `nbest_weights`; an entry of weight 0 costs nothing whatever it is.

    Returns:
        (sum over utterances in nats, number of valid frames), as `ctc_loss`.

    Raises:
        ValueError: naming the first entry that has a weight and does not fit the frames.
    """
    log_probs = sequence_log_probs(logits, lengths, tokens, token_lengths)
    counts = weights != 0
    if (misfits := counts & (log_probs == -math.inf)).any():
        row, entry = misfits.nonzero()[0].tolist()
        raise ValueError(
            f"entry {entry} of utterance {row}: {int(token_lengths[row, entry])} tokens do not fit "
            f"{int(lengths[row])} frames"
        )
    total = (weights * log_probs.masked_fill(~counts, 0.0)).sum()
    return -total, lengths.sum()
