"""Small networks, feature directories and archives of posteriors."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr_kd.data.directory import DataDir
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import (
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
)

NUM_LABELS = 11
LABELS = LabelSet("hmm-states", tuple(f"s{k}" for k in range(NUM_LABELS)))
HALF = SubsamplingConfig(factor=2, width=8)
CONFIGS = {
    "dnn": DnnConfig(frontend=FrontendConfig(left=1, right=1), num_layers=1, width=8),
    "tdnn": TdnnConfig(layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=8),)),
    "blstm": BlstmConfig(num_layers=1, width=4),
    "tdnn2": TdnnConfig(
        layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=8),), subsampling=HALF, dropout=0.0
    ),
    "blstm2": BlstmConfig(num_layers=1, width=4, subsampling=HALF),
    "conformer2": ConformerConfig(num_layers=1, width=8, num_heads=2, kernel=3, subsampling=HALF),
    "chunked2": ConformerConfig(
        num_layers=1, width=8, num_heads=2, kernel=3, subsampling=HALF, chunk=3
    ),
}
Floats = NDArray[np.float32]
Features = Callable[..., Path]


def log_posts(num_frames: int, seed: int, num_labels: int = NUM_LABELS) -> Floats:
    """(T,V) natural-log posteriors."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * rng.standard_normal((num_frames, num_labels)))
    return logits.log_softmax(1).float().numpy()


@pytest.fixture
def labels() -> LabelSet:
    return LABELS


@pytest.fixture
def make_posts() -> Callable[..., Floats]:
    """`make_posts(num_frames, seed)`: (T,V) natural-log posteriors."""
    return log_posts


@pytest.fixture
def utt_frames() -> dict[str, int]:
    """Utterance id → frames."""
    return {f"spk{k % 3}-utt{k}": 3 + 5 * k % 17 for k in range(9)}


@pytest.fixture
def make_features(tmp_path: Path, utt_frames: dict[str, int]) -> Features:
    """`make_features(name, dim)`: a feature directory of the utterances."""

    def make(
        name: str, dim: int, num_frames: Mapping[str, int] = utt_frames, counted: bool = True
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rng = np.random.default_rng(dim)
        with ArkWriter(folder / "feats.ark") as writer:
            for utt, frames in num_frames.items():
                writer.write(utt, rng.standard_normal((frames, dim)).astype(np.float32))
        DataDir(
            folder,
            utt2spk={utt: utt.split("-")[0] for utt in num_frames},
            feats=writer.scp,
            num_frames=dict(num_frames) if counted else {},
        ).write(folder)
        write_spec(FeatureSpec(kind="external", name=f"random{dim}", dim=dim), folder)
        return folder

    return make


@pytest.fixture
def make_network(tmp_path: Path) -> Callable[..., Path]:
    """`make_network(name, kind, dim, seed)`: a checkpoint with random weights."""

    def make(name: str, kind: str, dim: int, seed: int = 0, labels: LabelSet = LABELS) -> Path:
        torch.manual_seed(seed)
        model = build_model(CONFIGS[kind], dim, len(labels))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)  # posteriors worth averaging
        spec = FeatureSpec(kind="external", name=f"random{dim}", dim=dim)
        prior = np.log(np.random.default_rng(seed).dirichlet(np.ones(len(labels))))
        folder = tmp_path / name
        folder.mkdir()
        Checkpoint(model.eval(), labels, spec, "global", prior.astype(np.float32)).save(folder)
        return folder

    return make


@pytest.fixture
def make_archive(tmp_path: Path) -> Callable[..., str]:
    """`make_archive(name, matrices)`: an archive of log-posteriors, as a teacher's name."""

    def make(name: str, matrices: Mapping[str, Floats], labels: LabelSet = LABELS) -> str:
        with ArkWriter(tmp_path / f"{name}.ark") as writer:
            for utt, matrix in matrices.items():
                writer.write(utt, matrix)
        write_table(tmp_path / f"{name}.scp", writer.scp)
        labels.save(tmp_path / f"{name}.json")
        return f"ark:{tmp_path / name}.scp={tmp_path / name}.json"

    return make
