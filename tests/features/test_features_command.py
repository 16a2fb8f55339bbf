"""`asr-kd make-feats` as it is typed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from asr_kd.cli import data as data_verbs  # noqa: F401
from asr_kd.cli import features as features_verbs  # noqa: F401
from asr_kd.cli.app import app
from asr_kd.errors import InputError
from asr_kd.features.spec import read_spec

CONFIGS = Path(__file__).parents[2] / "configs/features"
NOISE = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)


def run(*words: str) -> None:
    result = CliRunner().invoke(app, ["make-feats", *words])
    if result.exception is not None:
        raise result.exception


def test_configuration_and_overrides(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = data_dir({"ann-0": NOISE})
    out = tmp_path / "out"
    config = str(CONFIGS / "mfcc13.yaml")
    run(str(path), "--out", str(out), "--config", config, "sample_rate=8000", "num_ceps=12")
    spec = read_spec(out)
    assert (spec.kind, spec.num_ceps, spec.sample_rate) == ("mfcc", 12, 8000)
    # Its own feature.json says what these are: nothing is computed again.
    run(str(out), "--out", str(tmp_path / "again"))
    assert read_spec(tmp_path / "again") == spec


def test_unknown_key(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_meel: unknown key; did you mean 'num_mel'"):
        run(str(data_dir({"ann-0": NOISE})), "--out", str(tmp_path / "out"), "num_meel=3")


def test_default_is_log_mel_at_16_khz(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8000 Hz, expected 16000 Hz; set sample_rate=8000"):
        run(str(data_dir({"ann-0": NOISE})), "--out", str(tmp_path / "out"))
