"""The stage `subset`, with planted labels: what is left out is named, what is reported works."""

import re
from pathlib import Path

import numpy as np
import pytest

from asr_kd.align.subset import Part, make_subset
from asr_kd.artefact import read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.data.subset import Fold
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, read_spec, write_spec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.train.dataset import AlignedData

LABELS = LabelSet("hmm-states", ("common", "rare", "rarest", "never"))
SPEC = FeatureSpec(kind="external", name="test", dim=2)


@pytest.fixture
def feats(tmp_path: Path) -> Path:
    """50 utterances of 10 frames by 5 speakers; a text, statistics, archives named relatively."""
    folder = tmp_path / "feats"
    rng = np.random.default_rng(0)
    utts = [f"s{k % 5}-{k:02d}" for k in range(50)]
    with ArkWriter(folder / "feats.0.ark") as ark:
        for utt in utts:
            ark.write(utt, rng.standard_normal((10, 2)).astype(np.float32))
    with ArkWriter(folder / "cmvn.ark") as stats:
        for speaker in sorted({utt[:2] for utt in utts}):
            stats.write(speaker, np.array([[1, 2, 10], [20, 30, 0]], np.float32))
    DataDir(
        folder,
        utt2spk={utt: utt[:2] for utt in utts},
        text=dict.fromkeys(utts, "hello"),
        feats={utt: Path(place).name for utt, place in ark.scp.items()},
        cmvn={speaker: Path(place).name for speaker, place in stats.scp.items()},
        num_frames=dict.fromkeys(utts, 10),
    ).write(folder)
    write_spec(SPEC, folder)
    return folder


@pytest.fixture
def ali(feats: Path) -> Path:
    """Two utterances hold `rare`, one `rarest`; `never` has no frame anywhere."""
    folder = feats.parent / "ali"
    labels = {utt: np.zeros(10, np.int32) for utt in DataDir.read(feats).utt_ids}
    for utt, label in (("s0-05", 1), ("s1-21", 1), ("s2-32", 2)):
        labels[utt][3] = label
    with ArkWriter(folder / "ali.0.ark") as ark:
        for utt, pdf_ids in labels.items():
            ark.write(utt, pdf_ids)
    write_table(folder / "ali.scp", ark.scp)
    LABELS.save(folder / "labels.json")
    return folder


def test_a_share_is_a_feature_directory_of_its_own(feats: Path, tmp_path: Path) -> None:
    out = tmp_path / "part"
    make_subset(feats, Part(share=0.2, seed=4), out)
    part, whole = DataDir.read(out), DataDir.read(feats)
    assert len(part.utt2spk) == 10
    assert set(part.cmvn) == set(part.utt2spk.values())
    assert part.text == dict.fromkeys(part.utt_ids, "hello")
    assert read_spec(out) == SPEC
    ours, theirs = FeatureReader(part, "speaker"), FeatureReader(whole, "speaker")
    for utt in part.utt_ids:  # of whatever working directory
        np.testing.assert_array_equal(ours[utt], theirs[utt])
    speakers = len(set(part.utt2spk.values()))
    info = read_manifest(out, "subset").info
    assert info == {"utterances": 10, "speakers": speakers, "share": 0.2}
    assert not list(out.glob("*.ark"))


def test_the_whole_alignment_serves_the_part(feats: Path, ali: Path, tmp_path: Path) -> None:
    make_subset(feats, Part(share=0.2, seed=4), tmp_path / "part")
    data = AlignedData(tmp_path / "part", ali, "speaker")
    assert len(data) == 10
    assert data.num_frames.tolist() == [10] * 10


def test_folds_are_a_partition(feats: Path, tmp_path: Path) -> None:
    everything = set(DataDir.read(feats).utt_ids)
    seen: set[str] = set()
    for k in range(1, 4):
        make_subset(feats, Part(in_fold=Fold(k, 3)), tmp_path / f"in{k}")
        make_subset(feats, Part(out_of_fold=Fold(k, 3)), tmp_path / f"out{k}")
        inside, outside = (DataDir.read(tmp_path / f"{side}{k}") for side in ("in", "out"))
        assert set(inside.utt_ids) | set(outside.utt_ids) == everything
        assert not set(inside.utt_ids) & seen
        assert not set(inside.utt2spk.values()) & set(outside.utt2spk.values())
        seen |= set(inside.utt_ids)
    assert seen == everything


def test_more_folds_than_speakers(feats: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 folds of 5 speakers"):
        make_subset(feats, Part(in_fold=Fold(1, 6)), tmp_path / "part")
    make_subset(feats, Part(in_fold=Fold(1, 6), by="utterance"), tmp_path / "part")
    assert len(DataDir.read(tmp_path / "part").utt2spk) == 9


def test_labels_without_a_frame_are_named_with_a_share_that_does(
    feats: Path, ali: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError) as caught:
        make_subset(feats, Part(share=0.02, seed=1), tmp_path / "part", ali)
    assert not (tmp_path / "part").exists()
    first, second = caught.value.faults
    assert "share 0.02 (seed 1) leaves 2 labels without any frame: rare, rarest" in first
    assert "4.00%" in second  # two utterances of fifty
    assert "1 labels without any frame in the whole: never" in caplog.text
    said = re.search(r"--share ([\d.]+)", second)
    assert said is not None
    enough = float(said[1])
    make_subset(feats, Part(share=enough, seed=1), tmp_path / "part", ali)
    with pytest.raises(InputError):
        make_subset(feats, Part(share=enough - 0.02, seed=1), tmp_path / "less", ali)


def test_a_cover_takes_the_place_of_a_share_that_does_not_do(
    feats: Path, ali: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_subset(feats, Part(share=0.02, seed=1, cover=True), tmp_path / "small", ali)
    small = DataDir.read(tmp_path / "small").utt_ids
    assert "s2-32" in small
    assert len(small) == 2
    said = (tmp_path / "small/part.txt").read_text()
    assert said.startswith("share 0.02 (seed 1): 2 of 50 utterances, 2 of 5 speakers, 4.00%")
    assert "replaced by a cover" in said
    assert len({"s0-05", "s1-21"} & set(small)) == 1
    assert "4.00%" in caplog.text
    make_subset(feats, Part(share=0.1, seed=1, cover=True), tmp_path / "filled", ali)
    filled = DataDir.read(tmp_path / "filled").utt_ids
    assert len(filled) == 5
    assert set(small) < set(filled)
    # A draw that has all labels stays the draw.
    make_subset(feats, Part(share=0.99, seed=1, cover=True), tmp_path / "large", ali)
    make_subset(feats, Part(share=0.99, seed=1), tmp_path / "drawn", ali)
    assert "cover" not in (tmp_path / "large/part.txt").read_text()
    assert DataDir.read(tmp_path / "large").utt_ids == DataDir.read(tmp_path / "drawn").utt_ids


def test_a_fold_that_leaves_a_label_out(feats: Path, ali: Path, tmp_path: Path) -> None:
    refused = []
    for k in range(1, 6):
        try:
            make_subset(feats, Part(out_of_fold=Fold(k, 5)), tmp_path / f"part{k}", ali)
        except InputError as error:
            refused += error.faults
    # Speaker s2 alone has `rarest`; `rare` is of two speakers.
    assert len(refused) == 1
    assert "leaves 1 labels without any frame: rarest" in refused[0]


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"share": 0.1, "in_fold": Fold(1, 2)},
        {"share": 0.0},
        {"share": 1.5},
        {"in_fold": Fold(1, 2), "cover": True},
    ],
)
def test_parts_that_are_none(part: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Part(**part)  # type: ignore[arg-type]


def test_other_processes_leave_the_part_to_the_first(
    feats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0", "1"):
        monkeypatch.setenv("RANK", rank)
        make_subset(feats, Part(share=0.1), tmp_path / f"part{rank}")
        assert (tmp_path / f"part{rank}").exists() == (rank == "0")


def test_an_alignment_of_other_utterances(feats: Path, ali: Path, tmp_path: Path) -> None:
    write_table(ali / "ali.scp", {"nobody": "nowhere:1"})
    with pytest.raises(InputError, match="aligns none of the 50"):
        make_subset(feats, Part(share=0.1), tmp_path / "part", ali)
