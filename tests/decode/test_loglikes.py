from dataclasses import replace
from pathlib import Path
from typing import Any

import kaldi_native_io
import numpy as np
import pytest

from asr_kd.decode.loglikes import LoglikesConfig, export_loglikes
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint


def test_kaldi_reads_posteriors_divided_by_priors(toy: Any) -> None:
    logits = {f"s-{k}": toy.logits_of(toy.spelled("a b")[: 4 + k], 3.0) for k in range(3)}
    data = toy.data("data", logits, None)
    checkpoint = Checkpoint.load(toy.save_model("net"))
    prior = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    replace(checkpoint, log_prior=np.log(prior)).save(toy.root / "net")
    out = toy.root / "loglikes"
    config = LoglikesConfig(prior_scale=0.5, shard_size=2)
    export_loglikes([str(toy.root / "net")], data, out, config)
    found = {}
    with kaldi_native_io.SequentialFloatMatrixReader(f"scp:{out}/loglikes.scp") as reader:
        for utt, matrix in reader:
            found[utt] = np.array(matrix)
    assert sorted(found) == sorted(logits)
    for utt, matrix in logits.items():
        posts = np.exp(matrix) / np.exp(matrix).sum(1, keepdims=True)
        np.testing.assert_allclose(found[utt], np.log(posts / prior**0.5), atol=1e-4)
    assert LabelSet.load(out / "labels.json").names == toy.labels.names
    assert sorted(p.name for p in out.glob("*.ark")) == ["loglikes.1.ark", "loglikes.2.ark"]


def test_the_priors_of_tokens_are_left_in(toy: Any) -> None:
    logits = toy.logits_of([0, 1, 0], 3.0)
    data = toy.data("data", {"s-1": logits}, None)
    tokens = LabelSet("ctc-char", ("<blk>", "A", "B", "C"))
    checkpoint = Checkpoint.load(toy.save_model("net", label_set=tokens))
    prior = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
    replace(checkpoint, log_prior=np.log(prior)).save(toy.root / "net")
    for name, scale, config in (
        ("default", 0.0, LoglikesConfig()),
        ("whole", 1.0, LoglikesConfig(prior_scale=1.0)),
    ):
        export_loglikes([str(toy.root / "net")], data, toy.root / name, config)
        table = kaldi_native_io.SequentialFloatMatrixReader(f"scp:{toy.root}/{name}/loglikes.scp")
        with table as reader:
            ((_, matrix),) = [(utt, np.array(matrix)) for utt, matrix in reader]
        posts = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(matrix, np.log(posts / prior**scale), atol=1e-4)


def test_the_same_call_does_nothing(toy: Any) -> None:
    data = toy.data("data", {"s-1": toy.logits_of([0, 1])}, None)
    for _ in range(2):
        export_loglikes([str(toy.model)], data, toy.root / "out", LoglikesConfig())
        before = (toy.root / "out/loglikes.1.ark").stat().st_mtime_ns
    assert (toy.root / "out/loglikes.1.ark").stat().st_mtime_ns == before


def test_scores_that_kaldi_could_not_use(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from asr_kd.ensemble.scorer import NetworkScorer

    data = toy.data("data", {"s-1": toy.logits_of([0, 1])}, None)
    broken = np.full((2, 4), -np.inf, np.float32)
    monkeypatch.setattr(NetworkScorer, "loglikes", lambda self, utt_id: broken)
    with pytest.raises(InputError, match="s-1: a score is NaN or infinite"):
        export_loglikes([str(toy.model)], data, toy.root / "out", LoglikesConfig())
    assert not (toy.root / "out").exists()


def test_a_missing_model_is_named(toy: Any, tmp_path: Path) -> None:
    data = toy.data("data", {"s-1": toy.logits_of([0, 1])}, None)
    with pytest.raises(InputError, match="nowhere"):
        export_loglikes([str(tmp_path / "nowhere")], data, tmp_path / "out", LoglikesConfig())
