"""How a specialist is made of its generalist (paper, section 5.2). S special labels of V."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from asr_kd.models.base import AcousticModel

_RIDGE = 1e-4  # relative; a unit that is never active must not make the equations singular


def keep_chances(num_special: int, num_rest: int, special_share: float) -> tuple[float, float]:
    """How probably a special frame and another one count, for the wished share of special ones.

    The scarcer kind counts in full, the other one is thinned out.

    Args:
        num_special, num_rest: frames of either kind, both above 0.
        special_share: between 0 and 1.
    """
    ratio = num_special * (1 - special_share) / (num_rest * special_share)
    return (1.0, ratio) if ratio <= 1 else (1 / ratio, 1.0)


def rest_offset(special_chance: float, rest_chance: float) -> float:
    """What a trained specialist's logits of all that is not special are raised by.

    Frames that count with probability c_y by their label y change Bayes' posterior from p(y|x) to
    p'(y|x) ∝ c_y·p(y|x). The true one is had back by adding −log c_y to every logit, or, which is
    the same to a softmax, log(c_special / c_rest) to those of the rest: the log of how much the
    special labels were oversampled.
    """
    return math.log(special_chance / rest_chance)


@torch.no_grad()
def narrow_output(
    generalist: AcousticModel, special: Tensor, utterances: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The output layer of a specialist with a dustbin.

    Special labels keep their rows. What the dustbin's logit should be, the logsumexp over all
    other labels, is no linear function of the last hidden layer h; its row is the best linear one
    on some data: ridge regression on h.

    Args:
        generalist: of V labels, in evaluation mode.
        special: (V,) bool.
        utterances: features (T,F) to fit the dustbin on.

    Returns:
        Weight (P·(S+1), D) and bias (P·(S+1),), P the frames that the layer predicts at once.
    """
    output = generalist.output
    weight = output.weight.unflatten(0, (-1, len(special)))  # (P,V,D)
    bias = output.bias.unflatten(0, (-1, len(special)))
    frames, _, width = weight.shape
    squares = weight.new_zeros(width + 1, width + 1, dtype=torch.float64)
    products = weight.new_zeros(width + 1, frames, dtype=torch.float64)
    hidden: list[Tensor] = []
    hook = output.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
    try:
        for feats in utterances:
            generalist(feats[None], torch.tensor([len(feats)], device=feats.device))
    finally:
        hook.remove()
    for h in hidden:
        rows = h.reshape(-1, width).double()
        logits = torch.einsum("nd,pvd->npv", rows, weight.double()) + bias.double()
        wanted = logits[:, :, ~special].logsumexp(2)
        rows = nn.functional.pad(rows, (0, 1), value=1.0)
        squares += rows.T @ rows
        products += rows.T @ wanted
    ridge = _RIDGE * squares.diagonal().mean() * torch.eye(width + 1, device=squares.device)
    ridge[-1, -1] = 0.0  # the bias is free
    fitted = torch.linalg.solve(squares + ridge, products).T.to(weight)  # (P,D+1)
    weight = torch.cat([weight[:, special], fitted[:, None, :-1]], 1)
    bias = torch.cat([bias[:, special], fitted[:, -1:]], 1)
    return weight.flatten(0, 1), bias.flatten()


def rest_targets(log_post: Tensor, pdf_ids: Tensor, special: Tensor) -> Tensor:
    """Targets of a specialist that knows all V labels (paper, end of section 5).

    A special frame has its label. Another frame has the generalist's distribution over the labels
    that are not special: its label says that it is none of those, and only so `rest_offset` is
    exact for such a specialist too.

    Args:
        log_post: of the generalist (N,V), logits or log-posteriors.
        pdf_ids: labels (N,).
        special: (V,) bool.

    Returns:
        Probabilities (N,V).
    """
    soft = log_post.masked_fill(special, -torch.inf).softmax(1)
    hard = nn.functional.one_hot(pdf_ids, log_post.shape[1]).to(soft.dtype)
    return torch.where(special[pdf_ids][:, None], hard, soft)
