from pathlib import Path

import numpy as np
import pytest

from asr_kd.align.label_frames import label_frames
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior

LABELS = ["zero", "one", "two"]


def feature_dir(folder: Path, text: dict[str, str], lengths: dict[str, int]) -> Path:
    with ArkWriter(folder / "feats.ark") as ark:
        for utt_id, num_frames in lengths.items():
            ark.write(utt_id, np.ones((num_frames, 2), np.float32))
    DataDir(folder, utt2spk=dict.fromkeys(text, "s"), text=text, feats=ark.scp).write(folder)
    return folder


def test_each_frame_has_the_label_of_its_word(tmp_path: Path) -> None:
    text = {"a": "two zero two", "b": "zero"}
    data = feature_dir(tmp_path / "feats", text, {"a": 3, "b": 1})
    label_frames(data, LABELS, tmp_path / "ali")
    ali = Archive.read(tmp_path / "ali/ali.scp")
    assert {utt: ali[utt].tolist() for utt in ali} == {"a": [2, 0, 2], "b": [0]}
    assert ali["a"].dtype == np.int32
    assert LabelSet.load(tmp_path / "ali/labels.json") == LabelSet("classes", tuple(LABELS))
    # Two of four frames each; the label without frames is floored at 1% of a third.
    expected = np.array([0.5, 0.01 / 3, 0.5]) / (1 + 0.01 / 3)
    np.testing.assert_allclose(np.exp(log_prior(tmp_path / "ali")), expected, rtol=1e-6)


def test_other_labels_make_another_alignment(tmp_path: Path) -> None:
    data = feature_dir(tmp_path / "feats", {"a": "one"}, {"a": 1})
    label_frames(data, LABELS, tmp_path / "ali")
    before = (tmp_path / "ali/manifest.json").stat().st_mtime_ns
    label_frames(data, LABELS, tmp_path / "ali")
    assert (tmp_path / "ali/manifest.json").stat().st_mtime_ns == before
    label_frames(data, LABELS[1:], tmp_path / "ali")
    assert Archive.read(tmp_path / "ali/ali.scp")["a"].tolist() == [0]


def test_all_faults_are_named_together_and_nothing_is_made(tmp_path: Path) -> None:
    text = {"a": "two zero", "b": "three four three", "c": "one", "d": ""}
    data = feature_dir(tmp_path / "feats", text, {"a": 3, "b": 3, "c": 1, "d": 1})
    with pytest.raises(InputError) as error:
        label_frames(data, LABELS, tmp_path / "ali")
    assert [fault.split(": ", 1)[1] for fault in error.value.faults] == [
        "a: 2 words for 3 frames; expected one for each frame",
        "b: four, three: no label; the labels are zero one two",
        "d: 0 words for 1 frames; expected one for each frame",
    ]
    with pytest.raises(InputError, match="not unique: one"):
        label_frames(data, ["one", "one"], tmp_path / "ali")
    with pytest.raises(InputError, match="at least one label"):
        label_frames(data, [], tmp_path / "ali")
    assert [path.name for path in tmp_path.iterdir()] == ["feats"]


def test_the_alignment_feeds_training(tmp_path: Path) -> None:
    """What reads alignments by models reads this one."""
    from asr_kd.features.make_feats import FeatsConfig, make_feats
    from asr_kd.train.dataset import AlignedData

    data = feature_dir(tmp_path / "data", {"a": "two zero two", "b": "zero"}, {"a": 3, "b": 1})
    make_feats(data, tmp_path / "feats", FeatsConfig(kind="external"))
    label_frames(tmp_path / "feats", LABELS, tmp_path / "ali")
    aligned = AlignedData(tmp_path / "feats", tmp_path / "ali", "global")
    assert [aligned.pdf_ids(index).tolist() for index in range(2)] == [[2, 0, 2], [0]]
