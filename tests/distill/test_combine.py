"""A generalist and its specialists become one checkpoint, or are refused with names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.distill.clusters import Clusters
from asr_kd.distill.combine import combine_specialists
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.specialist import specialist_labels
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import BlstmConfig, SpecialistsConfig, TdnnConfig, TdnnLayerConfig
from asr_kd.models.trained_on import read_trained_on, write_trained_on

LABELS = LabelSet("hmm-states", tuple(f"s{k}" for k in range(6)))
TDNN = TdnnConfig(layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=8),), stride=2)


def save(folder: Path, labels: LabelSet, seed: int = 0, config: object = TDNN) -> Checkpoint:
    torch.manual_seed(seed)
    model = build_model(config, 4, len(labels)).eval()  # type: ignore[arg-type]
    prior = np.full(len(labels), -np.log(len(labels)), np.float32)
    checkpoint = Checkpoint(model, labels, FeatureSpec(kind="external"), "speaker", prior)
    checkpoint.save(folder)
    return checkpoint


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("general", "one", "two", "soft", "clusters"):
        (tmp_path / name).mkdir()
    save(tmp_path / "general", LABELS)
    save(tmp_path / "one", specialist_labels(LABELS, [4, 1]), 1)
    save(tmp_path / "two", specialist_labels(LABELS, [0, 2, 3]), 2, BlstmConfig(width=3))
    save(tmp_path / "soft", LABELS, 3)
    Clusters(LABELS, ((0, 5), (1, 4))).save(tmp_path / "clusters")
    return tmp_path


def test_one_checkpoint_holds_all(models: Path) -> None:
    names = [str(models / "one"), str(models / "two"), f"{models}/soft={models}/clusters:1"]
    combine_specialists(models / "general", names, models / "out", num_active=2)
    combined = Checkpoint.load(models / "out")
    parts = [Checkpoint.load(models / name) for name in ("general", "one", "two", "soft")]
    config = combined.model.config
    assert isinstance(config, SpecialistsConfig)
    assert config.num_active == 2
    assert [m.labels for m in config.members] == [(1, 4), (0, 2, 3), (0, 5)]
    assert [m.dustbin for m in config.members] == [True, True, False]
    assert combined.label_set == LABELS
    assert np.array_equal(combined.log_prior, parts[0].log_prior)
    assert combined.model.num_params == sum(part.model.num_params for part in parts)
    assert read_manifest(models / "out", "combine-specialists").info["specialists"] == 3
    inner = ("generalist", "specialists.0", "specialists.1", "specialists.2")
    for part, module in zip(parts, inner, strict=True):
        held = combined.model.get_submodule(module).state_dict()
        for name, tensor in part.model.state_dict().items():
            assert torch.equal(held[name], tensor)


def test_it_has_seen_what_its_parts_have_seen(models: Path) -> None:
    combine_specialists(models / "general", [str(models / "one")], models / "out")
    assert read_trained_on(models / "out") is None
    write_trained_on(models / "general", ["a", "b"])
    write_trained_on(models / "one", ["b", "c"])
    combine_specialists(models / "general", [str(models / "one")], models / "again", 2)
    assert read_trained_on(models / "again") == {"a", "b", "c"}


def test_all_unfit_specialists_are_named_together(models: Path) -> None:
    other = LabelSet("hmm-states", tuple("abcdef"))
    save(models / "stranger", specialist_labels(other, [0, 1]))
    save(models / "plain", other)
    odd = save(models / "odd", specialist_labels(LABELS, [0, 1]), 5)
    replace(odd, cmvn="global", spec=FeatureSpec(kind="external", name="x")).save(models / "odd")
    names = [
        str(models / name) for name in ("one", "stranger", "plain", "odd", "soft", "one", "no")
    ]
    (models / "no").mkdir()
    with pytest.raises(InputError) as refused:
        combine_specialists(models / "general", names, models / "out")
    text = str(refused.value)
    assert f"{models / 'stranger'}: a specialist of another generalist" in text
    assert f"{models / 'stranger'}: 2 labels that {models / 'general'} does not have: a, b" in text
    assert f"{models / 'plain'} has 6 hmm-states" in text
    assert f"{models / 'odd'}: cmvn global, those of {models / 'general'} are speaker" in text
    assert f"{models / 'odd'}: features" in text
    assert f"{models / 'soft'}: has a softmax over all labels" in text
    assert f"{models / 'one'}: the same model as {models / 'one'}" in text
    assert f"{models / 'no'}: not a model directory" in text
    assert not (models / "out").exists()


def test_other_processes_leave_the_model_to_the_first(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        combine_specialists(models / "general", [str(models / "one")], models / "out")
        assert (models / "out").exists() == (rank == "0")


def test_clusters_that_do_not_belong(models: Path) -> None:
    for cluster, fault in [
        (f"{models}/clusters:1", "its labels are not those of"),
        (f"{models}/clusters:7", "has clusters 1 to 2"),
    ]:
        with pytest.raises(InputError, match=fault):
            combine_specialists(models / "general", [f"{models}/one={cluster}"], models / "out")
    combine_specialists(models / "general", [f"{models}/one={models}/clusters:2"], models / "out")


def test_specialists_of_specialists_are_refused(models: Path) -> None:
    combine_specialists(models / "general", [str(models / "one")], models / "out")
    with pytest.raises(InputError, match="has specialists already"):
        combine_specialists(models / "out", [str(models / "two")], models / "twice")
    with pytest.raises(InputError, match="is a generalist with specialists, no specialist"):
        combine_specialists(models / "general", [str(models / "out")], models / "twice")
