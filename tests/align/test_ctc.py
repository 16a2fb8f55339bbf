"""CTC's best path against all paths, and the stage that publishes them."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import asr_kd.cli.ctc  # noqa: F401  (registers with the application)
from asr_kd.align import ctc as module
from asr_kd.align.ctc import AlignCtcConfig, align_ctc, best_path
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.config import config_dict
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.ctc import collapse, frames_needed
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.report.weigh import weigh_teachers
from asr_kd.train.dataset import AlignedData
from asr_kd.train.labels import FrameRate

LABELS = LabelSet("ctc-char", ("<blank>", "a", "b"))
LENGTHS = {"spk-1": 9, "spk-2": 12, "spk-3": 5, "spk-4": 7}
TOKENS = {"spk-1": [1, 1, 2], "spk-2": [2], "spk-3": [1, 1, 2], "spk-4": []}


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2, 2], [2, 1, 2, 1, 2]])
def test_the_best_of_all_paths(tokens: list[int]) -> None:
    rng = np.random.default_rng(len(tokens))
    for _ in range(5):
        log_post = np.log(rng.dirichlet(np.ones(3), 5)).astype(np.float32)
        fitting = [
            path
            for path in itertools.product(range(3), repeat=5)
            if collapse(np.array(path, np.int32)).tolist() == tokens
        ]
        best = max(fitting, key=lambda path: log_post[range(5), path].sum())
        found = best_path(log_post, np.array(tokens, np.int32))
        assert found is not None
        assert tuple(found.tolist()) == best


@given(st.lists(st.integers(1, 2), max_size=3), st.integers(4, 6), st.integers(0, 10**6))
def test_ways_that_are_closed(tokens: list[int], frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_post = np.log(rng.dirichlet(np.ones(3), frames)).astype(np.float32)
    log_post[rng.random(log_post.shape) < 0.3] = -np.inf
    if frames < frames_needed(np.array(tokens, np.int32)):
        return
    scores = {
        path: float(log_post[range(frames), path].sum())
        for path in itertools.product(range(3), repeat=frames)
        if collapse(np.array(path, np.int32)).tolist() == tokens
    }
    found = best_path(log_post, np.array(tokens, np.int32))
    best = max(scores, key=lambda path: scores[path])
    if scores[best] == -np.inf:
        assert found is None
    else:
        assert found is not None
        assert tuple(found.tolist()) == best


def test_no_frames() -> None:
    found = best_path(np.zeros((0, 3), np.float32), np.zeros(0, np.int32))
    assert found is not None
    assert found.shape == (0,)


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Features, tokens and a model that makes a frame of two."""
    data, tokens, model = (tmp_path / name for name in ("data", "tokens", "model"))
    rng = np.random.default_rng(0)
    for folder in (data, tokens, model):
        folder.mkdir()
    with ArkWriter(data / "feats.ark") as writer:
        for utt, n in LENGTHS.items():
            writer.write(utt, rng.standard_normal((n, 4)).astype(np.float32))
    write_table(data / "feats.scp", writer.scp)
    write_table(data / "utt2spk", dict.fromkeys(LENGTHS, "spk"))
    spec = FeatureSpec(kind="external")
    (data / "feature.json").write_text(json.dumps(config_dict(spec)))
    LABELS.save(tokens / "labels.json")
    write_tokens(tokens, TOKENS)
    layers = (TdnnLayerConfig(offsets=(-1, 0, 1), width=8),)
    torch.manual_seed(0)
    network = build_model(TdnnConfig(layers=layers, subsampling={"factor": 2}), 4, 3)  # type: ignore[arg-type]
    Checkpoint(network, LABELS, spec, "global", np.zeros(3, np.float32)).save(model)
    return data, tokens, model


def write_tokens(folder: Path, tokens: dict[str, list[int]]) -> None:
    with ArkWriter(folder / "tokens.ark") as writer:
        for utt, ids in tokens.items():
            writer.write(utt, np.array(ids, np.int32))
    write_table(folder / "tokens.scp", writer.scp)


@pytest.mark.parametrize("shard_size", [1, 100])
def test_an_alignment_beside_its_tokens(
    inputs: tuple[Path, Path, Path], tmp_path: Path, shard_size: int
) -> None:
    data, tokens, model = inputs
    out = tmp_path / "ali"
    align_ctc(data, tokens, [str(model)], out, AlignCtcConfig(shard_size=shard_size))
    ali, spoken = Archive.read(out / "ali.scp"), Archive.read(out / "tokens.scp")
    # spk-3 has three frames left, and 1 1 2 needs four.
    assert sorted(ali) == sorted(spoken) == ["spk-1", "spk-2", "spk-4"]
    reason = "3 tokens need 4 frames, there are 3"
    assert read_table(out / "failed.txt") == {"spk-3": reason}
    for utt, path in ali.items():
        assert len(path) == (LENGTHS[utt] + 1) // 2
        assert collapse(path).tolist() == TOKENS[utt] == spoken[utt].tolist()
    whole = np.concatenate(list(ali.values()))
    prior = np.bincount(whole, minlength=3) / len(whole)
    np.testing.assert_allclose(np.exp(log_prior(out)), prior, rtol=1e-5)
    info = read_manifest(out, "align-ctc").info
    assert (info["aligned"], info["failed"], info["frames"]) == (3, 1, len(whole))
    read = AlignedData(data, out, "global", rate=FrameRate(2))
    assert read.has_alignment
    assert read.has_tokens
    assert read.num_outputs.tolist() == [5, 6, 4]


def files(folder: Path) -> dict[str, bytes]:
    """All that is published but the tables of places and the manifest, which name the folder."""
    kept = [path for path in folder.iterdir() if path.suffix != ".scp"]
    return {path.name: path.read_bytes() for path in kept if path.name != "manifest.json"}


def test_two_ranks_align_as_one(
    inputs: tuple[Path, Path, Path], tmp_path: Path, as_two_ranks: Any
) -> None:
    data, tokens, model = inputs
    one, two = tmp_path / "one", tmp_path / "two"
    config = AlignCtcConfig(shard_size=1)
    align_ctc(data, tokens, [str(model)], one, config)
    as_two_ranks(lambda: align_ctc(data, tokens, [str(model)], two, config), two)
    assert {"ali.0.ark", "ali.3.ark", "tokens.1.ark", "failed.txt"} < files(two).keys()
    assert files(two) == files(one)
    assert read_table(two / "ali.scp").keys() == read_table(one / "ali.scp").keys()
    assert read_manifest(two).info == read_manifest(one).info


def test_a_killed_run_goes_on(
    inputs: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tokens, model = inputs
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    config = AlignCtcConfig(shard_size=2)
    align_ctc(data, tokens, [str(model)], whole, config)
    aligned: list[int] = []

    def dying(log_post: Any, ids: Any) -> Any:
        aligned.append(len(ids))
        if len(aligned) == 3:  # in the second shard
            raise KeyboardInterrupt
        return best_path(log_post, ids)

    monkeypatch.setattr(module, "best_path", dying)
    with pytest.raises(KeyboardInterrupt):
        align_ctc(data, tokens, [str(model)], cut, config)
    assert not cut.exists()
    align_ctc(data, tokens, [str(model)], cut, config)
    assert aligned == [3, 1, 0, 0]  # tokens of spk-1, spk-2, and twice of spk-4; spk-3 fails before
    assert files(cut) == files(whole)
    assert read_manifest(cut).info == read_manifest(whole).info


def test_an_empty_utterance_is_named(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, tokens, model = inputs
    archive = Archive.read(data / "feats.scp")
    feats = {utt: archive[utt][:0] if utt == "spk-2" else archive[utt] for utt in LENGTHS}
    with ArkWriter(data / "some.ark") as writer:
        for utt, matrix in feats.items():
            writer.write(utt, matrix)
    write_table(data / "feats.scp", writer.scp)
    with pytest.raises(InputError, match="spk-2: expected frames x coefficients"):
        align_ctc(data, tokens, [str(model)], tmp_path / "ali", AlignCtcConfig())
    assert not (tmp_path / "ali").exists()


def test_tokens_that_a_model_rules_out_are_no_alignment(
    inputs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, tokens, _ = inputs
    write_table(data / "utt2num_frames", {utt: str(n) for utt, n in LENGTHS.items()})
    first = np.random.default_rng(0).uniform(0.3, 0.7, 12)
    probs = np.stack([first, 1 - first, np.zeros(12)], axis=1)
    probs[4] = [0.2, 0.3, 0.5]  # 2 is possible here alone
    with np.errstate(divide="ignore"), ArkWriter(tmp_path / "post.ark") as writer:
        for utt, n in LENGTHS.items():
            writer.write(utt, np.log(probs[:n]).astype(np.float32))
    write_table(tmp_path / "post.scp", writer.scp)
    LABELS.save(tmp_path / "labels.json")
    (tmp_path / "model.yaml").write_text("source: post.scp\nlabels: labels.json\n")
    write_tokens(tokens, {"spk-1": [1, 1, 2], "spk-2": [2, 2], "spk-3": [2, 1], "spk-4": [2]})
    align_ctc(data, tokens, [str(tmp_path / "model.yaml")], tmp_path / "ali", AlignCtcConfig())
    failed = read_table(tmp_path / "ali" / "failed.txt")
    assert failed.keys() == {"spk-2", "spk-3"}
    assert set(failed.values()) == {"no path through its tokens has a probability above 0"}
    paths = {utt: path.tolist() for utt, path in Archive.read(tmp_path / "ali" / "ali.scp").items()}
    assert {utt: path[4] for utt, path in paths.items()} == {"spk-1": 2, "spk-4": 2}


def test_another_model_behind_the_same_description_aligns_again(
    inputs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, tokens, model = inputs
    write_table(data / "utt2num_frames", {utt: str(n) for utt, n in LENGTHS.items()})
    description = tmp_path / "model.yaml"
    description.write_text("source: model\nsubsampling: 2\nrepeat: false\n")
    out = tmp_path / "ali"
    align_ctc(data, tokens, [str(description)], out, AlignCtcConfig())
    before = read_manifest(out).fingerprint
    checkpoint = replace(Checkpoint.load(model))  # without the digest of the old weights
    with torch.no_grad():
        next(checkpoint.model.parameters()).add_(1.0)
    checkpoint.save(model)
    align_ctc(data, tokens, [str(description)], out, AlignCtcConfig())
    assert read_manifest(out).fingerprint != before


def test_models_are_weighed(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, tokens, _ = inputs
    LABELS.save(tmp_path / "labels.json")
    rng = np.random.default_rng(0)
    posts = [{utt: rng.dirichlet(np.ones(3), n) for utt, n in LENGTHS.items()} for _ in range(2)]
    models = []
    for k, each in enumerate(posts):
        models.append(f"ark:{tmp_path / f'{k}.ark'}={tmp_path / 'labels.json'}")
        with ArkWriter(tmp_path / f"{k}.ark") as writer:
            for utt, post in each.items():
                writer.write(utt, np.log(post).astype(np.float32))

    def aligned(name: str, models: list[str], *options: str) -> dict[str, list[int]]:
        arguments = ["align-ctc", str(data), str(tokens), *models, "--out", str(tmp_path / name)]
        result = CliRunner().invoke(app, [*arguments, "--device", "cpu", *options])
        assert result.exit_code == 0, result.output
        paths = Archive.read(tmp_path / name / "ali.scp")
        return {utt: path.tolist() for utt, path in paths.items()}

    for weights in ("1,1", "1,8"):  # into the same folder: others are another alignment
        found = aligned("ali", models, "--weights", weights)
        assert found.keys() == LENGTHS.keys()
        for utt, path in found.items():
            shares = list(map(float, weights.split(",")))
            mean = np.average([each[utt] for each in posts], axis=0, weights=shares)
            best = best_path(np.log(mean).astype(np.float32), np.array(TOKENS[utt], np.int32))
            assert best is not None
            assert path == best.tolist()
    weigh_teachers(models, data, tmp_path / "ali", tmp_path / "weights")
    by_rule = aligned("best", models, "--weights", f"{tmp_path / 'weights'}:best")
    assert by_rule == aligned("alone", models[1:])
    assert len(read_manifest(tmp_path / "best").inputs) == 3
    with pytest.raises(InputError, match="3 weights for 2 teachers"):
        align_ctc(data, tokens, models, tmp_path / "no", AlignCtcConfig(), weights=(1, 1, 1))


def test_a_program_is_run_where_it_is_trusted(
    inputs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, tokens, _ = inputs
    write_table(data / "utt2num_frames", {utt: str(n) for utt, n in LENGTHS.items()})
    torch.jit.save(torch.jit.script(torch.nn.Linear(4, 3)), str(tmp_path / "net.pt"))
    LABELS.save(tmp_path / "labels.json")
    described = tmp_path / "model.yaml"
    described.write_text("source: net.pt\nlabels: labels.json\nfeatures: {kind: external}\n")
    arguments = ["align-ctc", str(data), str(tokens), str(described), "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "ali")])
    assert "say --trust" in str(result.exception)
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "ali"), "--trust"])
    assert result.exit_code == 0, result.output
    assert Archive.read(tmp_path / "ali" / "ali.scp").keys() == LENGTHS.keys()


def test_faults_are_named_together(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, tokens, model = inputs
    write_tokens(tokens, TOKENS | {"spk-1": [1, 3], "spk-2": [0]})
    LabelSet("ctc-char", ("<blank>", "x", "y")).save(tokens / "labels.json")
    with pytest.raises(InputError) as caught:
        align_ctc(data, tokens, [str(model)], tmp_path / "ali", AlignCtcConfig())
    text = str(caught.value)
    for said in ("spk-1: label 1 to 3 outside", "spk-2: label 0 to 0", "label sets differ"):
        assert said in text
    LABELS.save(tokens / "labels.json")
    write_tokens(tokens, {"spk-3": [1, 1, 2], "else": [1]})
    with pytest.raises(InputError, match="spk-3: 3 tokens need 4 frames, there are 3"):
        align_ctc(data, tokens, [str(model)], tmp_path / "ali", AlignCtcConfig())
    write_tokens(tokens, {"else": [1]})
    with pytest.raises(InputError, match="none of the utterances"):
        align_ctc(data, tokens, [str(model)], tmp_path / "ali", AlignCtcConfig())
    assert not (tmp_path / "ali").exists()
