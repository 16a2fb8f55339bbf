"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import hypothesis
import pytest

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("asr_kd", deadline=None)
hypothesis.settings.load_profile("asr_kd")

# Real corpora stand beside a developer's checkout; a user has none of them.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared corpora are not here")
    return SHARED


@pytest.fixture(autouse=True)
def _single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # A suite started under srun or torchrun must not believe to be one of many processes.
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        if name in os.environ:
            monkeypatch.delenv(name)
