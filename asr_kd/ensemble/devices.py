"""Where networks run."""

import os

import torch

from asr_kd.errors import InputError


def torch_device(name: str) -> torch.device:
    """The device of this process: each of a machine's processes takes a GPU in turn.

    Args:
        name: cpu, cuda, or auto: a GPU where there is one.

    Raises:
        InputError: for cuda where torch finds no GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(f"device {name}: torch finds no GPU here")
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    return torch.device("cuda", local % torch.cuda.device_count())
