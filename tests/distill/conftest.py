"""A reference for losses over sequences: every path is written down."""

import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

LogProb = Callable[[Tensor, Sequence[int]], Tensor]


@pytest.fixture
def enumerated() -> LogProb:
    """log p(y|x) of logits (T,V), without padding, by all V^T paths."""

    def log_prob(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        log_post = logits - logits.exp().sum(1, keepdim=True).log()
        paths = [
            sum(log_post[t, label] for t, label in enumerate(path))
            for path in itertools.product(range(logits.shape[1]), repeat=len(logits))
            if [k for k, _ in itertools.groupby(path) if k != 0] == list(tokens)
        ]
        if not paths:
            return logits.new_tensor(-torch.inf)
        return torch.stack(paths).exp().sum().log()  # type: ignore[arg-type]

    return log_prob
