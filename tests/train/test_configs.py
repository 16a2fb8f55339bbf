"""The configurations that ship are valid."""

import itertools
from pathlib import Path

import pytest

from asr_kd.config import load_config
from asr_kd.models.build import build_model
from asr_kd.train.config import TrainConfig

FILES = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_shipped_configuration(file: Path) -> None:
    config = load_config(TrainConfig, file)
    assert config != TrainConfig()
    assert build_model(config.model, 13, 120).num_params > 0


def test_the_papers_network() -> None:
    file = next(f for f in FILES if f.stem == "dnn")
    model = build_model(load_config(TrainConfig, file).model, 40, 14000)
    # 26 frames of 40 coefficients, 8 layers of 2560, 14,000 states (paper, section 3).
    sizes = [26 * 40, *[2560] * 8, 14000]
    assert model.num_params == sum((a + 1) * b for a, b in itertools.pairwise(sizes))
