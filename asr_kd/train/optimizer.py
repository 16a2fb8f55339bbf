"""Optimizers and the schedule of their learning rates."""

import math

import torch
from torch import nn

from asr_kd.train.config import TrainConfig

_BETAS = (0.9, 0.98)  # trainings of a few thousand steps cannot wait for 0.999


def make_optimizers(student: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the hidden layers' matrices and AdamW for the rest.

    Muon (Jordan et al. 2024) takes the orthogonal factor of each matrix's momentum as the step,
    here scaled to the size of AdamW's steps.
    """
    if not config.muon_learning_rate:
        return [_adamw(list(student.parameters()), config)]
    hidden: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in student.named_parameters():
        is_last = not {"output", "projections"}.isdisjoint(name.split("."))
        (others if is_last or parameter.ndim != 2 else hidden).append(parameter)
    muon = torch.optim.Muon(
        hidden,
        lr=config.muon_learning_rate,
        weight_decay=config.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [_adamw(others, config), muon]


def _adamw(parameters: list[nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, betas=_BETAS, weight_decay=config.weight_decay
    )


@torch.no_grad()
def limit_weight_norms(network: nn.Module, largest: float) -> None:
    """Scales down the incoming weights of each unit whose L2 norm exceeds `largest`.

    The weight constraint of dropout's authors (Hinton et al. 2012), which the paper's teacher has.
    It holds for all linear layers, the output layer among them; LSTM layers are left as they are.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            torch.renorm(module.weight, 2, 0, largest, out=module.weight)


def rate_factor(config: TrainConfig, step: int, fraction: float) -> float:
    """What learning rates are multiplied by at update `step` (from 0), `fraction` of all epochs."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = {
        "cosine": 0.5 * (1 + math.cos(math.pi * fraction)),
        "linear": 1 - fraction,
        "constant": 1.0,
    }
    return warm * decay[config.schedule]
