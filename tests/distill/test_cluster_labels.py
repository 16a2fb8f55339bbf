"""Planted confusions, through the verb: clusters, counts, the report, refusals."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import asr_kd.cli.specialists  # noqa: F401
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.config import config_dict
from asr_kd.distill.cluster_labels import Source, cluster_labels
from asr_kd.distill.cluster_report import by_phone
from asr_kd.distill.clusters import Clusters
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet

# The nasals are confused with one another, and so are the letters of the E-set.
NAMES = ("M_0", "B_0", "N_0", "M_1", "P_0", "N_1", "SIL_0", "D_0")
LABELS = LabelSet("hmm-states", NAMES)
NASAL, E_SET, SILENCE = [0, 2, 3, 5], [1, 4, 7], [6]


def write_archive(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    with ArkWriter(path.with_suffix(".ark")) as writer:
        for utt, row in rows.items():
            writer.write(utt, row)
    write_table(path, writer.scp)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """`posts.scp` and `labels.json`, `data`, and `ali`; 40 utterances of 25 frames."""
    rng = np.random.default_rng(0)
    posts, ali = {}, {}
    for k in range(40):
        pdf_ids = rng.integers(0, 8, 25)
        probs = np.full((25, 8), 0.002)
        for row, pdf in zip(probs, pdf_ids, strict=True):
            block = next(b for b in (NASAL, E_SET, SILENCE) if pdf in b)
            row[block] += rng.dirichlet(np.ones(len(block)))
        utt = f"spk{k % 2}-utt{k:02d}"
        posts[utt] = np.log(probs / probs.sum(1, keepdims=True)).astype(np.float32)
        ali[utt] = pdf_ids.astype(np.int32)
    for name in ("data", "ali"):
        (tmp_path / name).mkdir()
    write_archive(tmp_path / "posts.scp", posts)
    LABELS.save(tmp_path / "labels.json")
    write_archive(tmp_path / "data" / "feats.scp", {u: np.zeros((25, 2), np.float32) for u in ali})
    write_table(tmp_path / "data" / "utt2spk", {utt: utt[:4] for utt in ali})
    spec = FeatureSpec(kind="external")
    (tmp_path / "data" / "feature.json").write_text(json.dumps(config_dict(spec)))
    write_ali(tmp_path / "ali", ali)
    return tmp_path


def write_ali(folder: Path, ali: Mapping[str, np.ndarray], labels: LabelSet = LABELS) -> None:
    folder.mkdir(exist_ok=True)
    write_archive(folder / "ali.scp", ali)
    labels.save(folder / "labels.json")


def source(root: Path, ali: str | None = "ali", temperature: float = 1.0) -> Source:
    spec = f"ark:{root}/posts.scp={root}/labels.json"
    return Source(spec, root / "data", root / ali if ali else None, temperature)


def read(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors and labels of all frames."""
    from asr_kd.io.ark import Archive

    posts, ali = Archive.read(root / "posts.scp"), Archive.read(root / "ali" / "ali.scp")
    utts = sorted(posts)
    return np.exp(np.concatenate([posts[u] for u in utts])), np.concatenate([ali[u] for u in utts])


@pytest.mark.parametrize("nj", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_planted_confusions_fall_together(planted: Path, nj: int) -> None:
    cluster_labels(source(planted), 3, planted / "out", nj=nj)
    clusters = Clusters.load(planted / "out")
    assert clusters.label_set == LABELS
    assert clusters.members == tuple(map(tuple, [NASAL, E_SET, SILENCE]))
    probs, pdf_ids = read(planted)
    covariance = np.load(planted / "out" / "covariance.npy")
    assert np.allclose(covariance, np.cov(probs.T.astype(np.float64), bias=True), atol=1e-7)
    text = (planted / "out" / "CLUSTERS.md").read_text()
    assert "**1** M: 0 1 · N: 0 1" in text
    assert "**2** B: 0 · P: 0 · D: 0" in text
    guessed = probs.argmax(1)
    nasal = np.isin(pdf_ids, NASAL)
    inside = int((nasal & (guessed != pdf_ids) & np.isin(guessed, NASAL)).sum())
    outside = int((nasal & ~np.isin(guessed, NASAL)).sum())
    assert f"| 1 | 4 | {nasal.sum()} | {100 * nasal.mean():.1f} | {inside} | {outside} |" in text
    info: dict[str, Any] = read_manifest(planted / "out", "cluster-labels").info
    assert info["frames"] == 1000
    assert info["sizes"] == [4, 3, 1]
    assert info["errors"] == int((guessed != pdf_ids).sum())
    assert info["errors_inside"] > 0.95 > 0.5 > info["errors_inside_by_chance"]
    assert {f.name for f in (planted / "out").iterdir()} == {
        "clusters.json", "covariance.npy", "CLUSTERS.md", "manifest.json",
    }  # fmt: skip


def test_posteriors_are_softened_first(planted: Path) -> None:
    cluster_labels(source(planted, temperature=2.0), 3, planted / "out")
    probs = np.sqrt(read(planted)[0].astype(np.float64))
    probs /= probs.sum(1, keepdims=True)
    covariance = np.load(planted / "out" / "covariance.npy")
    assert np.allclose(covariance, np.cov(probs.T, bias=True), atol=1e-7)
    with pytest.raises(InputError, match="temperature 0: expected a positive number"):
        cluster_labels(source(planted, temperature=0.0), 3, planted / "out")


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_without_an_alignment_frames_are_those_expected(planted: Path, temperature: float) -> None:
    cluster_labels(source(planted, ali=None, temperature=temperature), 3, planted / "out")
    assert Clusters.load(planted / "out").members == tuple(map(tuple, [NASAL, E_SET, SILENCE]))
    probs, _ = read(planted)
    text = (planted / "out" / "CLUSTERS.md").read_text()
    assert f"| 2 | 3 | {round(float(probs[:, E_SET].sum()))} |" in text
    assert "errors" not in text


def test_a_cluster_without_frames_is_refused_by_name(planted: Path) -> None:
    silent = {u: np.full(25, 0, np.int32) for u in read_utts(planted)}
    write_ali(planted / "silent", silent)
    with pytest.raises(InputError) as refused:
        cluster_labels(source(planted, "silent"), 3, planted / "out")
    text = str(refused.value)
    assert "cluster 2 has no frame" in text
    assert "B_0, P_0, D_0" in text
    assert "cluster 3 has no frame" in text
    assert not (planted / "out").exists()


def test_labels_that_are_never_said_are_refused_without_an_alignment_too(planted: Path) -> None:
    from asr_kd.io.ark import Archive

    posts = Archive.read(planted / "posts.scp")
    changed = {}
    for utt in posts:  # silence is probable for nothing, if less improbable here and there
        log_post = np.array(posts[utt])
        log_post[:, SILENCE] = -12 + np.arange(len(log_post))[:, None] % 3
        changed[utt] = log_post - np.log(np.exp(log_post).sum(1, keepdims=True))
    write_archive(planted / "posts.scp", changed)
    with pytest.raises(InputError, match=r"cluster 3 has no frame in ark:.*: SIL_0; ask for fewer"):
        cluster_labels(source(planted, ali=None, temperature=3.0), 3, planted / "out")


def read_utts(root: Path) -> list[str]:
    from asr_kd.io.ark import Archive

    return sorted(Archive.read(root / "posts.scp"))


def test_faults_are_told_together(planted: Path) -> None:
    write_table(planted / "data" / "utt2spk", {"zz": "zz"})
    write_archive(planted / "data" / "feats.scp", {"zz": np.zeros((3, 2), np.float32)})
    write_ali(planted / "other", {"zz": np.zeros(3, np.int32)}, LabelSet("hmm-states", ("a", "b")))
    with pytest.raises(InputError) as refused:
        cluster_labels(source(planted, "other"), 9, planted / "out")
    text = str(refused.value)
    assert "no posteriors of zz" in text
    assert "label sets differ" in text
    assert "9 clusters: expected 2 to 8" in text


def test_names_are_grouped_by_phone_and_state() -> None:
    assert (
        by_phone(["M_0", "M_2", "N_1", "three", "A_b", "_1"]) == "M: 0 2 · N: 1 · three · A_b · _1"
    )


def test_a_program_is_heard_where_it_is_trusted(planted: Path) -> None:
    """Features that are log-posteriors, and a program that passes them on."""
    model = planted / "program"
    model.mkdir()
    torch.jit.save(torch.jit.script(nn.Identity()), str(model / "net.pt"))
    LABELS.save(model / "labels.json")
    spec = config_dict(FeatureSpec(kind="external", name="posts", dim=8))
    (model / "model.yaml").write_text(
        json.dumps({"source": "net.pt", "labels": "labels.json", "features": spec})
    )
    (planted / "data" / "feature.json").write_text(json.dumps(spec))
    write_table(planted / "data" / "utt2num_frames", dict.fromkeys(read_utts(planted), "25"))
    (planted / "posts.scp").replace(planted / "data" / "feats.scp")
    options = ["cluster-labels", str(model), "--data", str(planted / "data"), "--clusters", "3",
               "--temperature", "1", "--out", str(planted / "out")]  # fmt: skip
    refused = CliRunner().invoke(app, options)
    assert isinstance(refused.exception, InputError)
    assert "if you trust who made it, say --trust" in str(refused.exception)
    assert not (planted / "out").exists()
    done = CliRunner().invoke(app, [*options, "--trust"])
    assert done.exit_code == 0, done.exception
    assert Clusters.load(planted / "out").members == tuple(map(tuple, [NASAL, E_SET, SILENCE]))
