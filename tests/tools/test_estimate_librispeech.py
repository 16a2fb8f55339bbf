"""Estimates of the LibriSpeech recipes, from planted rates."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from asr_kd.io.audio import write_flac
from asr_kd.models.build import build_model
from asr_kd.models.config import DnnConfig
from asr_kd.models.multiply_adds import multiply_adds

ROOT = Path(__file__).resolve().parents[2]
tool = SimpleNamespace(**run_path(str(ROOT / "tools" / "estimate_librispeech.py")))

RATES: dict[str, Any] = {
    "machine": "a machine",
    "language": "three words",
    "rates": {
        "features": 100.0, "perturbed_features": 50.0, "alignment": 1e4, "reestimation": 1e5,
        "targets": 2e4, "target_bytes": 50.0, "search": 2.0, "graph_ngrams": 1e4,
        "graph_bytes": 100.0, "arpa_ngrams": 1e6, "arpa_bytes": 8.0,
    },
    "training": {"tdnn": 1e10, "blstm": 5e9, "dnn": 2e10},
    "forward": {"tdnn": 3e10, "blstm": 1e10, "dnn": 5e10},
}  # fmt: skip
TRAIN = 100.6  # hours


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Networks that all are the same small DNN."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "features.yaml").write_text("kind: mfcc\nnum_ceps: 13\n")
    for name in ("teacher", "student", "hard-student"):
        (folder / f"{name}.yaml").write_text(
            "model: {kind: dnn, num_layers: 1, width: 8}\nepochs: 3\n"
        )
    (folder / "tree.yaml").write_text("leaves: 500\n")
    (folder / "decode.yaml").write_text(
        "grid: {acoustic_scale: [0.1, 0.2], insertion_penalty: [0.0], rounds: 0}\n"
    )
    return folder


def make_plan(configs: Path, **changed: Any) -> Any:
    parts = {"train": ["train-clean-100"], "dev": ["dev-clean"], "test": ["test-clean"]}
    given: dict[str, Any] = {
        "name": "librispeech", "parts": parts, "models": ["3-gram.pruned.3e-7", "4-gram"],
        "nj": 4, "seeds": 1, "teachers": 2, "tune_share": 0.5, "configs": configs,
        "overrides": [], "corpus": None, "rates": RATES,
    }  # fmt: skip
    return tool.Plan(**{**given, **changed})


def test_every_stage_against_its_definition(configs: Path) -> None:
    plan = make_plan(configs)
    found = tool.estimate(plan)
    train, dev, test = (plan.hours[name] for name in ("train", "dev", "test"))
    assert train == TRAIN
    assert dev == pytest.approx(5.4, abs=0.2)  # the paper's table
    assert test == pytest.approx(5.4, abs=0.2)
    frames = 3 * TRAIN * 360_000
    cost = multiply_adds(build_model(DnnConfig(num_layers=1, width=8), 13, 500))
    assert found[2].hours == pytest.approx(((TRAIN + dev + test) / 100 + 2 * TRAIN / 50) / 4)
    assert found[2].size == pytest.approx((frames + 360_000 * (dev + test)) * 13 * 4)
    # Of 40 iterations 10 begin with an alignment, and then every third: 12, 15, ... 39. All of it
    # on 2 million frames, but for the last alignment.
    trained = (20 / 1e4 + 40 / 1e5) * 2e6
    assert found[3].hours * 3600 == pytest.approx(trained + frames / 1e4 / 4)
    ngrams, large = (size / 8 for size in (13654242, 1355172078))
    trained = (3 / 1e4 + 35 / 1e5) * 2e6 + frames / 1e4 / 4
    others = (frames / 1e5 + 360_000 * (dev + test) / 1e4) / 4
    assert found[4].hours * 3600 == pytest.approx(trained + others + ngrams / 1e4)
    assert found[5].hours * 3600 == pytest.approx(max(2 / 4, 1) * frames * 3 * cost / 2e10)
    assert found[5].gpu_hours == pytest.approx(2 * frames * 3 * 3 * cost / 5e12 / 3600)
    dumped = frames * (2 * cost / 5e10 + 1 / 2e4)
    assert found[6].hours * 3600 == pytest.approx(dumped + frames * 3 * cost / 2e10)
    assert found[6].size > frames * 50
    searched = 3600 * (0.5 * dev * 3 + test) / 2.0  # both points of the grid, and the lists
    scored = 360_000 * (0.5 * dev * 2 + test) * 7 * cost / 5e10
    assert found[7].hours * 3600 == pytest.approx((7 * searched + scored) / 4)
    assert found[8].hours * 3600 == pytest.approx(7 * (ngrams + large) / 1e6 / 4)


def test_settings_processes_and_measured_gpus_count(configs: Path) -> None:
    whole = tool.estimate(make_plan(configs))
    less = tool.estimate(make_plan(configs, overrides=["teacher*:epochs=1", "tree:leaves=500"]))
    assert less[5].hours == pytest.approx(whole[5].hours / 3)
    assert less[6] == whole[6]
    alone = tool.estimate(make_plan(configs, nj=1))
    assert alone[2].hours == pytest.approx(4 * whole[2].hours)
    gpu = {"machine": "a GPU", "training": {"dnn": 1e12}, "forward": {"dnn": 3e12}}
    plan = make_plan(configs, rates={**RATES, "gpu": gpu})
    assert tool.estimate(plan)[5].gpu_hours == pytest.approx(alone[5].hours / 50)
    assert "a GPU" in tool.sources(plan)
    assert "assumed" in tool.sources(make_plan(configs))


def test_hours_of_a_corpus_that_is_there(configs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "LibriSpeech/train-clean-100/84/1"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-999, 999, 16_000 * 9).astype(np.int16)
    for n in range(4):
        write_flac(folder / f"84-1-{n}.flac", noise, 16_000)
    plan = make_plan(configs, corpus=tmp_path)
    assert plan.hours["train"] == pytest.approx(4 * 9 / 3600, rel=0.01)
    assert tool.told(1, tool.estimate(plan)[1], plan) == ""


def test_lines_for_people(configs: Path) -> None:
    plan = make_plan(configs)
    assert tool.told(5, tool.Cost(26.04, 1.25, 3.2e9), plan) == (
        "26 hours on 4 cores, or 1.2 GPU-hours; 3.2 GB"
    )
    assert tool.told(8, tool.Cost(0.05), plan) == "3 minutes on 4 cores"
    assert tool.told(1, tool.estimate(plan)[1], plan).startswith("8.4 GB to fetch")
