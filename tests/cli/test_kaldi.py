import json
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest

from asr_kd.cli.main import main
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.store import TargetStore


def asr_kd(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["asr-kd", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_chain_model_becomes_a_store_of_targets(
    kaldi: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, with exit code 2, until both verbs are told what its scores are."""
    exp = kaldi.experiment(tmp_path / "exp")
    network = kaldi.mark + kaldi.transitions() + kaldi.tokens("<Nnet3>")
    (exp / "final.mdl").write_bytes(network)
    (exp / "den.fst").write_bytes(b"")
    imported, targets = tmp_path / "imported", tmp_path / "targets"
    word = ("--unnormalised", "softmax")
    assert asr_kd(monkeypatch, "import-kaldi", exp, "--out", imported) == 2
    assert asr_kd(monkeypatch, "import-kaldi", exp, "--out", imported, *word) == 0
    rng = np.random.default_rng(0)
    scores = {"s-1": rng.standard_normal((4, 5)).astype(np.float32)}
    kaldiio.save_ark(str(tmp_path / "x.ark"), scores, scp=str(tmp_path / "x.scp"))
    data = tmp_path / "data"
    data.mkdir()
    DataDir(data, utt2spk={"s-1": "s"}, feats={"s-1": f"{tmp_path}/x.ark:4"}).write(data)
    dump = ("dump-targets", f"ark:{tmp_path}/x.ark={imported}/labels.json", "--data", data)
    assert asr_kd(monkeypatch, *dump, "--out", targets) == 2
    assert asr_kd(monkeypatch, *dump, "--out", targets, *word) == 0
    header = TargetStore.open(targets).header
    assert header.teachers[0].unnormalised == "softmax"
    labels = json.loads((imported / "labels.json").read_text())
    assert header.label_set == labels["digest"]


def test_scores_go_out_only_from_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--data", tmp_path, "--out", tmp_path / "out")
    assert asr_kd(monkeypatch, "export-loglikes", "prior_scale=0.5", *options) == 2
    assert asr_kd(monkeypatch, "export-loglikes", tmp_path / "nowhere", *options) == 2
    assert not (tmp_path / "out").exists()
