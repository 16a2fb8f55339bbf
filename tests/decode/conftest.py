"""A toy task whose answers are planted: features are the logits, by a network that copies them.

Two words, "a" and "b", of two states each; a word loop in which any word follows any, with
probability one half each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import kaldifst
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import DnnConfig, FrontendConfig

WORDS = {"<eps>": 0, "a": 1, "b": 2}
LABELS = LabelSet("hmm-states", ("a_0", "a_1", "b_0", "b_1"))
NUM_LABELS = len(LABELS)
SPEC = FeatureSpec(kind="external", name="logits", dim=NUM_LABELS)
LOOP_COST = math.log(2)


def word_loop() -> "kaldifst.StdVectorFst":
    graph = kaldifst.StdVectorFst()
    start = graph.add_state()
    graph.start = start
    graph.set_final(start, 0.0)
    for word in ("a", "b"):
        first, second = graph.add_state(), graph.add_state()
        label = 2 * (WORDS[word] - 1) + 1  # input labels count from 1
        graph.add_arc(start, kaldifst.StdArc(label, WORDS[word], LOOP_COST, first))
        graph.add_arc(first, kaldifst.StdArc(label, 0, 0.0, first))
        graph.add_arc(first, kaldifst.StdArc(label + 1, 0, 0.0, second))
        graph.add_arc(second, kaldifst.StdArc(label + 1, 0, 0.0, second))
        graph.add_arc(second, kaldifst.StdArc(0, 0, 0.0, start))
    return graph


@dataclass(frozen=True)
class Toy:
    """Folders and answers of the toy task."""

    root: Path
    labels: LabelSet = LABELS

    @staticmethod
    def logits_of(pdf_ids: Sequence[int], strength: float = 20.0) -> NDArray[np.float32]:
        """(T, V): one label stands out by `strength` nats."""
        return np.eye(NUM_LABELS, dtype=np.float32)[list(pdf_ids)] * np.float32(strength)

    @staticmethod
    def spelled(words: str) -> list[int]:
        """Each state of each word for three frames."""
        return [pdf for word in words.split() for pdf in np.repeat([0, 1], 3) + 2 * (word == "b")]

    @staticmethod
    def undecided(words: str, margin: float) -> NDArray[np.float32]:
        """Frames of "a a" that win over one long "a" by `margin` nats only."""
        logits = Toy.logits_of(Toy.spelled(words))
        # The second a's first state stands `margin` above the first a's last one.
        logits[6:9, 1] = logits[6:9, 0] - margin / 3
        return logits

    @property
    def graph(self) -> Path:
        return self.root / "graph"

    @property
    def model(self) -> Path:
        return self.root / "model"

    def data(
        self, name: str, logits: Mapping[str, NDArray[np.float32]], text: Mapping[str, str] | None
    ) -> Path:
        """Publishes a feature directory."""
        artefact = Artefact(self.root / name, "make-feats", {"name": name}, {})
        work = artefact.begin()
        with ArkWriter(work / "feats.0.ark", published=artefact.path / "feats.0.ark") as ark:
            for utt_id, matrix in sorted(logits.items()):
                ark.write(utt_id, np.asarray(matrix, np.float32))
        utt2spk = {utt_id: utt_id.split("-")[0] for utt_id in logits}
        num_frames = {utt_id: len(matrix) for utt_id, matrix in logits.items()}
        data = DataDir(artefact.path, utt2spk=utt2spk, text=text or {}, feats=ark.scp,
                       num_frames=num_frames)  # fmt: skip
        data.write(work)
        write_spec(SPEC, work)
        artefact.publish()
        return artefact.path

    def ali(self, name: str, pdf_ids: Mapping[str, Sequence[int]]) -> Path:
        """Publishes an alignment directory."""
        artefact = Artefact(self.root / name, "align", {"name": name}, {})
        work = artefact.begin()
        with ArkWriter(work / "ali.0.ark", published=artefact.path / "ali.0.ark") as ark:
            for utt_id, pdfs in sorted(pdf_ids.items()):
                ark.write(utt_id, np.asarray(pdfs, np.int32))
        write_table(work / "ali.scp", ark.scp)
        LABELS.save(work / "labels.json")
        artefact.publish()
        return artefact.path

    def save_model(self, name: str, scale: float = 1.0, label_set: LabelSet = LABELS) -> Path:
        copying_model(scale, label_set).save(self.root / name)
        return self.root / name


def copying_model(scale: float, label_set: LabelSet) -> Checkpoint:
    """A network whose logits are its input times `scale`."""
    config = DnnConfig(frontend=FrontendConfig(), num_layers=1, width=2 * NUM_LABELS)
    model = build_model(config, NUM_LABELS, NUM_LABELS)
    eye = torch.eye(NUM_LABELS)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.cat([eye, -eye]))  # type: ignore[index]
        model.layers[0].bias.zero_()  # type: ignore[index]
        model.output.weight.copy_(scale * torch.cat([eye, -eye], dim=1))  # type: ignore[union-attr]
        model.output.bias.zero_()  # type: ignore[union-attr]
    prior = np.full(NUM_LABELS, -math.log(NUM_LABELS), np.float32)
    return Checkpoint(model.eval(), label_set, SPEC, "global", prior)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path)
    artefact = Artefact(toy.graph, "make-graph", {}, {})
    work = artefact.begin()
    word_loop().write(str(work / "HCLG.fst"))
    write_table(work / "words.txt", {word: str(number) for word, number in WORDS.items()})
    LABELS.save(work / "labels.json")
    artefact.publish()
    toy.save_model("model")
    return toy
