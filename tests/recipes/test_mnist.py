"""The recipe of MNIST, whole: the same script, on a few hundred images of ten simple shapes."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asr_kd.config import load_config
from asr_kd.data.corpora.mnist import MnistConfig
from asr_kd.train.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).parent / "tiny_mnist"
PIXELS = 8


def run_recipe(*options: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / "recipes/mnist/run.sh", *options],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def write_idx(file: Path, values: NDArray[np.uint8]) -> None:
    sizes = struct.pack(f">{values.ndim}i", *values.shape)
    file.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Each digit is a shape of its own under noise."""
    rng = np.random.default_rng(0)
    shapes = rng.random((10, PIXELS, PIXELS)) < 0.4
    folder = tmp_path / "corpus"
    folder.mkdir()
    for part, count in (("train", 300), ("t10k", 100)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.clip(shapes[labels] * 150 + rng.normal(50, 45, (count, PIXELS, PIXELS)), 0, 255)
        write_idx(folder / f"{part}-images-idx3-ubyte", images.astype(np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def errors(work: Path, model: str) -> tuple[int, dict[str, list[int]]]:
    content = json.loads((work / "exp/evaluate" / model / "test/frames.json").read_text())
    assert content["num_frames"] == 100
    return content["errors"], content["by_label"]


@pytest.mark.slow
def test_from_images_to_the_tables(corpus: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    options = (
        "--corpus", corpus, "--work", work, "--configs", TINY,
        "--temperatures", "4", "--seeds", "1",
    )  # fmt: skip
    done = run_recipe(*options)
    assert done.returncode == 0, done.stdout + done.stderr
    table = (work / "RESULTS.md").read_text()
    for role in (
        "teacher", "hard-student", "student", "no-threes", "no-threes-corrected",
        "sevens-and-eights", "sevens-and-eights-corrected",
    ):  # fmt: skip
        assert f"| {role} |" in table
    swept = (work / "RESULTS_temperature.md").read_text()
    for role in ("narrow-T4", "narrow-hard", "wide-T4", "wide-hard"):
        assert f"| {role} |" in swept
    assert "narrow-T4" not in table
    assert "narrow" in (work / "RESULTS_temperature.svg").read_text()
    # Chance is 90 errors: what comes out has been learnt.
    for model in ("teacher", "seed1/hard-student", "seed1/student", "seed1/wide/T4"):
        assert errors(work, f"{model}/last")[0] < 30
    # Soft targets of other digits tell of a three, and the correction brings it to light.
    before, after = (errors(work, f"seed1/no-threes{end}") for end in ("/last", "-corrected"))
    assert after[1]["3"][1] < before[1]["3"][1] or before[1]["3"][1] == 0
    assert after[0] <= before[0]
    # Of students of two digits the correction makes ones that say all ten.
    before, after = (
        errors(work, f"seed1/sevens-and-eights{end}") for end in ("/last", "-corrected")
    )
    assert after[0] < before[0]
    # A second call finds everything done and makes nothing anew.
    made = {file: file.stat().st_mtime_ns for file in work.rglob("manifest.json")}
    assert run_recipe(*options, "--stage", "4", "--stop-stage", "5").returncode == 0
    assert {file: file.stat().st_mtime_ns for file in work.rglob("manifest.json")} == made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--corpus DIR is needed"),
        (("--corpus", "/nowhere"), "--corpus /nowhere: no such folder"),
        (("--corpus", "/", "--teachers", "2"), "all repetitions share one teacher"),
        (("--corpus", "/", "--temperatures"), "--temperatures needs a value"),
        (("--quick", "--deep", "3"), "unknown option --deep"),
    ],
)
def test_options_that_cannot_be(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run_recipe("--work", tmp_path / "work", *options)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("folder", ["configs/mnist", "configs/mnist/quick"])
def test_the_configurations_that_ship(folder: str) -> None:
    files = {file.stem: file for file in (ROOT / folder).glob("*.yaml")}
    load_config(MnistConfig, files.pop("corpus"))
    configs = {name: load_config(TrainConfig, file) for name, file in files.items()}
    assert set(configs) == {
        "first-teacher", "teacher", "hard-student", "student", "no-threes", "sevens-and-eights",
        "narrow", "wide",
    }  # fmt: skip
    full = {name: load_config(TrainConfig, ROOT / f"configs/mnist/{name}.yaml") for name in configs}
    for name, config in configs.items():
        assert config.epochs <= full[name].epochs
        assert config.model == full[name].model
    small = [configs[name].model for name in ("hard-student", "student", "no-threes")]
    assert small[0] == small[1] == small[2] == configs["sevens-and-eights"].model
