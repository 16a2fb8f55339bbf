import resource
from pathlib import Path

import pytest
import torch

from asr_kd.errors import AsrKdError
from asr_kd.train.state import (
    Progress,
    has_state,
    load_optimizer,
    load_state,
    optimizer_tensors,
    remove_state,
    save_state,
)


def test_a_state_comes_back(tmp_path: Path) -> None:
    assert load_state(tmp_path) is None
    saved = Progress(epoch=2, batch=3, step=17, loss_sum=0.1 + 0.2, best_score=1 / 3)
    save_state(tmp_path, Progress(step=16), {"a": torch.zeros(3)})
    save_state(tmp_path, saved, {"a": torch.ones(3)})
    found = load_state(tmp_path)
    assert found is not None
    assert found[0] == saved
    assert torch.equal(found[1]["a"], torch.ones(3))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1  # the former one is gone
    remove_state(tmp_path)
    assert not has_state(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_former_state(tmp_path: Path) -> None:
    save_state(tmp_path, Progress(step=1), {"a": torch.ones(3)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=r"state\.2\.0\.safetensors: .*too large"):
            save_state(tmp_path, Progress(step=2), {"a": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = load_state(tmp_path)
    assert found is not None
    assert found[0].step == 1
    assert torch.equal(found[1]["a"], torch.ones(3))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_state_says_what_to_do(tmp_path: Path) -> None:
    save_state(tmp_path, Progress(step=1), {"a": torch.ones(3)})
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(AsrKdError, match="train from the start"):
        load_state(tmp_path)


def test_optimizer_state_as_tensors() -> None:
    parameters = [torch.nn.Parameter(torch.randn(3, 2)) for _ in range(2)]
    one = torch.optim.AdamW(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.randn(3, 2)
    one.step()
    other = torch.optim.AdamW(parameters, lr=0.1)
    load_optimizer(other, optimizer_tensors(one))
    for parameter in parameters:
        assert other.state[parameter].keys() == one.state[parameter].keys()
        for name, tensor in one.state[parameter].items():
            assert torch.equal(other.state[parameter][name], tensor)
