"""What the reader hands out in each mode, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.cmvn import apply_cmvn, cmvn_stats
from asr_kd.features.make_feats import FeatsConfig, make_feats
from asr_kd.features.reader import CmvnMode, FeatureReader
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table

RNG = np.random.default_rng(0)
FEATS = {
    f"{speaker}-{n}": (10 * k + RNG.standard_normal((20 + n, 3))).astype(np.float32)
    for k, speaker in enumerate(("ann", "bob"))
    for n in range(3)
}


@pytest.fixture
def feature_dir(external_dir: Callable[..., Path], tmp_path: Path) -> Path:
    make_feats(external_dir(FEATS), tmp_path / "feats", FeatsConfig(kind="external"))
    return tmp_path / "feats"


def reader(path: Path, cmvn: CmvnMode) -> FeatureReader:
    return FeatureReader(DataDir.read(path), cmvn)


def test_is_a_mapping_over_the_utterances(feature_dir: Path) -> None:
    feats = reader(feature_dir, "global")
    assert list(feats) == sorted(FEATS)
    assert len(feats) == 6
    assert "ann-0" in feats
    assert "cid-0" not in feats
    with pytest.raises(KeyError):
        feats["cid-0"]


def test_modes(feature_dir: Path) -> None:
    plain, by_speaker, by_utterance = (
        reader(feature_dir, mode) for mode in ("global", "speaker", "utterance")
    )
    for utt_id, expected in FEATS.items():
        assert plain[utt_id].dtype == np.float32
        np.testing.assert_array_equal(plain[utt_id], expected)
        whole = np.concatenate([x for u, x in FEATS.items() if u[:3] == utt_id[:3]])
        normed = (expected - whole.mean(axis=0)) / whole.std(axis=0)
        np.testing.assert_allclose(by_speaker[utt_id], normed, atol=1e-3)
        np.testing.assert_allclose(
            by_utterance[utt_id], apply_cmvn(expected, cmvn_stats(expected)), atol=1e-6
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_names_utterance_and_file(
    external_dir: Callable[..., Path], value: float
) -> None:
    bad = FEATS["ann-1"].copy()
    bad[7, 2] = value
    path = external_dir({**FEATS, "ann-1": bad})
    with pytest.raises(InputError, match=r"raw\.ark:\d+: ann-1: .* in frame 7, coefficient 2"):
        reader(path, "global")["ann-1"]
    assert np.isfinite(reader(path, "global")["ann-0"]).all()


def test_no_frames(external_dir: Callable[..., Path]) -> None:
    path = external_dir({**FEATS, "ann-1": np.zeros((0, 3), np.float32)})
    with pytest.raises(InputError, match="ann-1: expected frames"):
        reader(path, "global")["ann-1"]


def test_directory_without_features_or_statistics(
    external_dir: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"cmvn\.scp: needed.*make-feats"):
        reader(external_dir(FEATS), "speaker")
    write_table(tmp_path / "utt2spk", {"a": "a"})
    with pytest.raises(InputError, match=r"feats\.scp: needed"):
        reader(tmp_path, "global")


def test_statistics_of_other_features(feature_dir: Path) -> None:
    with ArkWriter(feature_dir / "cmvn.ark") as ark:
        for speaker in ("ann", "bob"):
            ark.write(speaker, cmvn_stats(FEATS["ann-0"][:, :2]).astype(np.float32))
    write_table(feature_dir / "cmvn.scp", ark.scp)
    with pytest.raises(InputError, match=r"cmvn\.ark:\d+: ann: .*\(2, 3\).*expected \(2, 4\)"):
        reader(feature_dir, "speaker")["ann-0"]
