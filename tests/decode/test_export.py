"""Exported programs compute what networks do, and are models like any other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from asr_kd.artefact import read_manifest
from asr_kd.config import load_config
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.decode import decode
from asr_kd.decode.export import TOLERANCE, export, largest_difference, write_program
from asr_kd.ensemble.costs import network_latency_ms
from asr_kd.ensemble.teachers import open_teachers
from asr_kd.errors import AsrKdError, InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    MemberConfig,
    ResnetConfig,
    SpecialistsConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)
from asr_kd.models.onnx_program import OnnxProgram
from asr_kd.models.tdnn import Tdnn
from asr_kd.models.trained_on import write_trained_on

DIM, V = 16, 7
LAYERS = tuple(TdnnLayerConfig(offsets=o, width=12) for o in ((-2, -1, 0, 1), (-3, 0, 3), (0,)))
DELTAS = FrontendConfig(delta_order=2)
STACK3 = SubsamplingConfig(factor=3, width=12)
CONV4 = SubsamplingConfig(factor=4, kind="conv", width=12, channels=3)
SMALL: dict[str, Any] = {"num_layers": 2, "width": 12, "num_heads": 3, "kernel": 5}
CONFIGS: dict[str, AnyModelConfig] = {
    "dnn": DnnConfig(frontend=FrontendConfig(left=3, right=2), num_layers=2, width=16),
    "tdnn": TdnnConfig(layers=LAYERS, frontend=DELTAS),
    "tdnn-stride3": TdnnConfig(layers=LAYERS, frontend=DELTAS, stride=3),
    "blstm": BlstmConfig(num_layers=2, width=6, frontend=FrontendConfig(left=1)),
    "vgg": VggConfig(depth=11, width_multiplier=1 / 16, frontend=DELTAS),
    "tdnn-stack3": TdnnConfig(layers=LAYERS, stride=2, subsampling=STACK3),
    "blstm-conv4": BlstmConfig(num_layers=1, width=6, frontend=DELTAS, subsampling=CONV4),
    "conformer": ConformerConfig(**SMALL, frontend=DELTAS, subsampling=CONV4),
    "conformer-chunk2": ConformerConfig(**SMALL, subsampling=STACK3, chunk=2, left_chunks=1),
    "resnet-stride2": ResnetConfig(depth=18, width_multiplier=1 / 16, stride=2),
}
GIVEN = DecodeConfig(scales=Scales(acoustic_scale=0.5, insertion_penalty=1.0), beam=9.0)
TEXT = {"s-1": "a b", "s-2": "b", "t-1": "a a b", "t-2": "b a"}


def network(config: AnyModelConfig) -> Any:
    torch.manual_seed(3)
    model = build_model(config, DIM, V).eval()
    with torch.no_grad():
        model.frontend.mean += torch.randn(model.frontend.normalised_dim)
        model.frontend.std *= 1 + torch.rand(model.frontend.normalised_dim)
        model.output.weight *= 4  # posteriors that are sure of something
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_programs_compute_what_networks_do(name: str, tmp_path: Path) -> None:
    model = network(CONFIGS[name])
    path = tmp_path / "model.onnx"
    assert write_program(model, path) <= TOLERANCE
    # Numbers of utterances and frames that neither tracing nor the stage's own check has seen.
    program = OnnxProgram(path, takes_lengths=True)
    for lengths in ([17], [4, 40, 1], [123, 5], [2] * 6):
        feats = torch.randn(len(lengths), max(lengths), DIM)
        for row, n in enumerate(lengths):
            feats[row, n:] = torch.nan  # padding must not matter
        found = program(feats.numpy(), np.array(lengths))
        outputs = [-(-n // model.subsampling) for n in lengths]
        assert found.shape == (len(lengths), max(outputs), V)
        for row, n in enumerate(lengths):
            with torch.no_grad():
                alone = model(feats[row : row + 1, :n], torch.tensor([n]))[0][0].log_softmax(1)
            np.testing.assert_allclose(found[row, : outputs[row]], alone, atol=TOLERANCE, rtol=0)


class Branching(Tdnn):
    """Adds something to long utterances only, which tracing cannot see."""

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        logits = super().encode(x, lengths, mask)
        if x.shape[1] > 300:
            logits = logits + torch.arange(self.num_labels)
        return logits


def test_a_program_that_differs_is_seen(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = TdnnConfig(layers=LAYERS)
    assert write_program(Tdnn(config, DIM, V).eval(), tmp_path / "same.onnx") <= TOLERANCE
    assert write_program(Branching(config, DIM, V).eval(), tmp_path / "other.onnx") > 0.1


def test_a_program_that_differs_is_not_published(
    toy: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("asr_kd.decode.export.TOLERANCE", -1.0)
    with pytest.raises(AsrKdError, match="not published"):
        export(toy.model, tmp_path / "out", DecodeConfig())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def data(toy: Any) -> Path:
    return toy.data("data", {u: toy.logits_of(toy.spelled(t)) for u, t in TEXT.items()}, TEXT)


@pytest.mark.parametrize("int8", [False, True])
def test_an_exported_student_is_a_model(toy: Any, data: Path, tmp_path: Path, int8: bool) -> None:
    write_trained_on(toy.model, ["x-1", "y-2"])
    export(toy.model, tmp_path / "exported", DecodeConfig(), int8=int8)
    ali = toy.ali("ali", {utt_id: toy.spelled(words) for utt_id, words in TEXT.items()})
    for name in ("model", "exported"):
        out = tmp_path / f"decode_{name}"
        decode([str(toy.root / name)], data, toy.graph, out, GIVEN, ali=ali)
        assert (out / "hyp").read_text() == "".join(f"{u} {t}\n" for u, t in TEXT.items())
    ours, theirs = (
        read_manifest(tmp_path / f"decode_{name}").info for name in ("model", "exported")
    )
    for figure in ("wer", "frame_accuracy", "params", "multiply_adds_per_second"):
        assert theirs[figure] == pytest.approx(ours[figure])
    # Eight bits cost something, and as many bits as the network has cost nothing.
    assert theirs["cross_entropy"] == pytest.approx(ours["cross_entropy"], abs=1e-4)
    assert theirs["bytes"] == (tmp_path / "exported" / "model.onnx").stat().st_size
    info = read_manifest(tmp_path / "exported", "export").info
    assert ("int8_difference" in info) == int8
    assert (tmp_path / "exported" / "trained_on.txt").read_text() == "x-1\ny-2\n"


def test_an_exported_student_keeps_its_frame_rate(toy: Any, data: Path, tmp_path: Path) -> None:
    plain = Checkpoint.load(toy.model)
    model = build_model(TdnnConfig(layers=LAYERS, subsampling=STACK3), 4, 4).eval()
    slow = Checkpoint(model, plain.label_set, plain.spec, "global", plain.log_prior)
    slow.save(tmp_path / "slow")
    export(tmp_path / "slow", tmp_path / "exported", DecodeConfig())
    ours, theirs = open_teachers([str(tmp_path / name) for name in ("slow", "exported")], data)
    features = DataDir.read(data).num_frames
    for teacher in (ours, theirs):
        assert teacher.num_frames == {utt_id: -(-n // 3) for utt_id, n in features.items()}
        assert teacher.frame_shift_ms == 30
        # 2 frames until three are one, then 1 and 3 of these.
        assert network_latency_ms([teacher]) == 10 * (2 + 3 * 4)
    for utt_id, n in ours.num_frames.items():
        found, wanted = (teacher.log_posts([utt_id])[0] for teacher in (theirs, ours))
        assert found.shape == (n, 4)
        torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)
    decode([str(tmp_path / "slow")], data, toy.graph, tmp_path / "decode", GIVEN)
    info = read_manifest(tmp_path / "decode", "decode").info
    assert info["latency_ms"] == 140
    # Up to two frames of each utterance's end are rounded up.
    seconds = sum(features.values()) / 100
    assert seconds <= info["audio_seconds"] <= seconds + 0.02 * len(features)
    with pytest.raises(InputError, match=r"slow has one in 30 ms, .*model has one in 10 ms"):
        open_teachers([str(tmp_path / "slow"), str(toy.model)], data)


def test_int8_is_smaller_and_near(tmp_path: Path) -> None:
    layers = tuple(TdnnLayerConfig(offsets=(-1, 0, 1), width=96) for _ in range(3))
    model = network(TdnnConfig(layers=layers))
    prior = np.full(V, -np.log(V), np.float32)
    labels = LabelSet("hmm-states", tuple("abcdefg"))
    spec = FeatureSpec(kind="external", name="x", dim=DIM)
    Checkpoint(model, labels, spec, "global", prior).save(tmp_path / "model")
    for int8 in (False, True):
        export(tmp_path / "model", tmp_path / str(int8), DecodeConfig(), int8=int8)
    sizes = [(tmp_path / str(int8) / "model.onnx").stat().st_size for int8 in (False, True)]
    assert sizes[1] < 0.45 * sizes[0]
    info = read_manifest(tmp_path / "True", "export").info
    assert info["difference"] <= TOLERANCE < info["int8_difference"] < 1
    found = largest_difference(model, tmp_path / "True" / "model.onnx")
    assert found == pytest.approx(info["int8_difference"])


def test_scales_and_search_of_a_decode_directory(toy: Any, data: Path, tmp_path: Path) -> None:
    decode([str(toy.model)], data, toy.graph, tmp_path / "dev", GIVEN)
    out = tmp_path / "out"
    export(
        toy.model, out, DecodeConfig(max_active=50), graph=toy.graph, scales_from=tmp_path / "dev"
    )
    stored = load_config(DecodeConfig, out / "decode.yaml")
    assert (stored.scales, stored.beam, stored.max_active) == (GIVEN.scales, 9.0, 50)
    assert (out / "HCLG.fst").read_bytes() == (toy.graph / "HCLG.fst").read_bytes()
    described = yaml.safe_load((out / "model.yaml").read_text())
    assert described["source"] == "model.onnx"
    priors = json.loads((out / "priors.json").read_text())
    np.testing.assert_allclose(priors, Checkpoint.load(toy.model).log_prior)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"config": GIVEN}, "with a graph only"),
        ({"graph": True}, "wants the scales"),
        ({"graph": True, "config": GIVEN, "scales_from": "dev"}, "one of both"),
        ({"graph": "empty", "config": GIVEN}, r"no HCLG.fst;.* `make-ctc-graph`\n.*no words.txt"),
        ({"graph": "other", "config": GIVEN}, "label sets differ"),
        ({"model": "specialists"}, "distil it into one network"),
        ({"model": "nowhere"}, "nowhere"),
    ],
)
def test_bad_input(options: dict[str, Any], said: str, toy: Any, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "empty").mkdir()
    toy.labels.save(tmp_path / "empty" / "labels.json")
    shutil.copytree(toy.graph, tmp_path / "other")
    LabelSet("hmm-states", tuple("wxyz")).save(tmp_path / "other" / "labels.json")
    if options.get("model") == "specialists":
        one = DnnConfig(frontend=FrontendConfig(), num_layers=1, width=4)
        member = MemberConfig(model=one, labels=(0, 1), dustbin=True)
        config = SpecialistsConfig(generalist=one, members=(member,))
        plain = Checkpoint.load(toy.model)
        Checkpoint(build_model(config, 4, 4).eval(), plain.label_set, plain.spec, "global",
                   plain.log_prior).save(tmp_path / "specialists")  # fmt: skip
    graph = options.get("graph")
    scales = options.get("scales_from")
    with pytest.raises(InputError, match=said):
        export(
            tmp_path / options.get("model", "model"), tmp_path / "out",
            options.get("config", DecodeConfig()),
            graph=None if graph is None else toy.graph if graph is True else tmp_path / graph,
            scales_from=None if scales is None else tmp_path / scales,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
