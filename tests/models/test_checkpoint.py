import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_kd.config import config_dict
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import DESCRIPTION, WEIGHTS, Checkpoint
from asr_kd.models.config import (
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    ResnetConfig,
    SubsamplingConfig,
    TdnnConfig,
    VggConfig,
)

MODELS = [
    DnnConfig(num_layers=2, width=8, frontend=FrontendConfig(left=2, right=1)),
    TdnnConfig(frontend=FrontendConfig(delta_order=2), stride=2),
    BlstmConfig(width=5),
    VggConfig(depth=11, width_multiplier=1 / 32, frontend=FrontendConfig(delta_order=1)),
    ResnetConfig(depth=34, width_multiplier=1 / 32, stride=2),
    BlstmConfig(width=5, subsampling=SubsamplingConfig(factor=2, kind="conv", channels=3)),
    ConformerConfig(num_layers=1, width=8, num_heads=2, chunk=3, left_chunks=1),
    # Another factor than a conformer's usual one, and the usual one of all others.
    ConformerConfig(num_layers=1, width=8, num_heads=2, subsampling=SubsamplingConfig()),
]


def make(config: object = MODELS[1], num_labels: int = 6) -> Checkpoint:
    torch.manual_seed(0)
    model = build_model(config, 4, num_labels)  # type: ignore[arg-type]
    model.frontend.mean.normal_()
    labels = LabelSet("hmm-states", tuple(f"s{k}" for k in range(num_labels)))
    prior = np.log(np.random.default_rng(0).dirichlet(np.ones(num_labels))).astype(np.float32)
    return Checkpoint(model.eval(), labels, FeatureSpec(kind="external"), "speaker", prior)


@pytest.mark.parametrize("config", MODELS, ids=lambda c: c.kind)
def test_what_is_saved_is_read(config: object, tmp_path: Path) -> None:
    saved = make(config)
    saved.save(tmp_path)
    before = torch.get_rng_state()
    read = Checkpoint.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)  # loading draws nothing
    assert sorted(p.name for p in tmp_path.iterdir()) == [DESCRIPTION, WEIGHTS]
    assert read.digest == saved.digest
    assert read.model.config == config
    assert (read.label_set, read.spec, read.cmvn) == (saved.label_set, saved.spec, "speaker")
    np.testing.assert_array_equal(read.log_prior, saved.log_prior)
    feats, lengths = torch.randn(2, 7, 4), torch.tensor([7, 4])
    assert torch.equal(read.model(feats, lengths)[0], saved.model(feats, lengths)[0])
    assert not read.model.training


def test_models_from_before_there_was_subsampling_keep_their_digest() -> None:
    described = config_dict(TdnnConfig(stride=2))
    assert sorted(described) == ["dropout", "frontend", "kind", "layers", "stride"]
    described = config_dict(BlstmConfig())
    assert sorted(described) == ["dropout", "frontend", "kind", "num_layers", "width"]
    assert config_dict(BlstmConfig(stride=2))["stride"] == 2


def test_digest_tells_what_matters() -> None:
    digests = [make().digest, make(MODELS[0]).digest]
    changed = make()
    changed.model.get_parameter("output.bias").data[0] += 1e-6
    digests.append(changed.digest)
    normalised = make()
    normalised.model.frontend.mean[0] += 1
    digests.append(normalised.digest)
    assert len(set(digests)) == 4
    assert make().digest == make().digest


def fault(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Checkpoint.load(folder)
    return str(caught.value)


def edit(folder: Path, **changes: object) -> None:
    values = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**values, **changes}))


def test_missing_files(tmp_path: Path) -> None:
    assert "no model.json" in fault(tmp_path)
    make().save(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    assert "no model.safetensors" in fault(tmp_path)


def test_corrupt_weights(tmp_path: Path) -> None:
    make().save(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[:-100])
    assert "corrupt or truncated weights" in fault(tmp_path)
    flipped = bytearray(whole)
    flipped[-7] ^= 1  # one bit of one number: still a well-formed file
    (tmp_path / WEIGHTS).write_bytes(flipped)
    assert "do not belong together" in fault(tmp_path)


def test_corrupt_description(tmp_path: Path) -> None:
    make().save(tmp_path)
    text = (tmp_path / DESCRIPTION).read_text()
    (tmp_path / DESCRIPTION).write_text(text[:50])
    assert "not a model description" in fault(tmp_path)
    (tmp_path / DESCRIPTION).write_text(text)
    edit(tmp_path, format="asr_kd.model/9", cmvn="none")
    message = fault(tmp_path)
    assert "format" in message
    assert "cmvn" in message


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    make(BlstmConfig(width=5)).save(tmp_path / "blstm")
    make().save(tmp_path / "tdnn")
    weights = (tmp_path / "blstm" / WEIGHTS).read_bytes()
    (tmp_path / "tdnn" / WEIGHTS).write_bytes(weights)
    message = fault(tmp_path / "tdnn")
    assert "layers.0.affine.weight is missing" in message
    assert "ahead.0.weight_hh_l0 does not belong to a tdnn" in message


def test_another_label_set(tmp_path: Path) -> None:
    make().save(tmp_path)
    others = LabelSet("hmm-states", ("a", "b", "c", "d", "e", "f"))
    edit(tmp_path, label_set=others.to_dict())
    assert "do not belong together" in fault(tmp_path)
    fewer = LabelSet("hmm-states", ("a", "b"))
    edit(tmp_path, label_set=fewer.to_dict())
    assert "6 label priors for 2 labels" in fault(tmp_path)


def test_nan_weights(tmp_path: Path) -> None:
    checkpoint = make()
    checkpoint.model.get_parameter("output.bias").data[0] = torch.nan
    checkpoint.save(tmp_path)
    assert "output.bias holds NaN" in fault(tmp_path)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    make().save(tmp_path)
    torch.save({"output.bias": torch.zeros(6)}, tmp_path / WEIGHTS)
    assert "corrupt or truncated weights" in fault(tmp_path)
