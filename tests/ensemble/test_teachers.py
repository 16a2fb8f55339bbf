import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asr_kd.data.directory import DataDir
from asr_kd.ensemble.teachers import (
    ArchiveTeacher,
    NetworkTeacher,
    open_teacher,
    open_teachers,
    same_num_frames,
)
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint

Make = Callable[..., Path]
Posts = Callable[..., np.ndarray]


@pytest.mark.parametrize("kind", ["dnn", "tdnn", "blstm"])
def test_network_gives_its_posteriors(
    kind: str, make_features: Make, make_network: Make, utt_frames: dict[str, int]
) -> None:
    data, model = make_features("data", 4), make_network("model", kind, 4)
    teacher = NetworkTeacher(model, data)
    reader = FeatureReader(DataDir.read(data), "global")
    network = Checkpoint.load(model).model
    batch = teacher.log_posts(list(utt_frames))
    for utt, got in zip(utt_frames, batch, strict=True):
        logits, _ = network(torch.tensor(reader[utt])[None], torch.tensor([utt_frames[utt]]))
        torch.testing.assert_close(got, logits[0].log_softmax(1), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(teacher.log_posts([utt])[0], got, atol=1e-5, rtol=1e-5)
    assert teacher.num_frames == utt_frames
    assert teacher.digest == Checkpoint.load(model).digest


def test_network_on_a_batch_of_the_students(make_features: Make, make_network: Make) -> None:
    teacher = NetworkTeacher(make_network("model", "tdnn", 4), make_features("data", 4))
    feats = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    log_post, lengths = teacher.on_batch(feats, torch.tensor([9, 5]))
    assert log_post.shape == (2, 9, len(teacher.label_set))
    assert lengths.tolist() == [9, 5]
    assert not log_post.requires_grad
    torch.testing.assert_close(log_post.exp().sum(-1), torch.ones(2, 9))
    alone, _ = teacher.on_batch(feats[1:, :5], torch.tensor([5]))
    torch.testing.assert_close(alone[0], log_post[1, :5])


def test_features_of_another_kind(make_features: Make, make_network: Make) -> None:
    other = make_features("other", 5)
    with pytest.raises(InputError) as refused:
        NetworkTeacher(make_network("model", "dnn", 4), other)
    assert f"dim 4, {other} has 5" in str(refused.value)
    assert "model=FEATURE_DIR" in str(refused.value)


def test_a_model_with_features_of_its_own(make_features: Make, make_network: Make) -> None:
    data, own = make_features("data", 4), make_features("own", 5)
    model = make_network("model", "dnn", 5)
    assert isinstance(open_teacher(f"{model}={own}", data), NetworkTeacher)
    with pytest.raises(InputError, match="dim 5"):
        open_teacher(str(model), data)


def test_nan_features_name_the_utterance(
    make_features: Make, make_network: Make, utt_frames: dict[str, int]
) -> None:
    data = make_features("data", 4)
    archive = data / "feats.ark"
    content = archive.read_bytes()
    archive.write_bytes(content[:-4] + np.float32(math.nan).tobytes())
    teacher = NetworkTeacher(make_network("model", "dnn", 4), data)
    last = list(utt_frames)[-1]
    with pytest.raises(InputError, match=f"{last}: nan in frame"):
        teacher.log_posts([last])


def test_archive_gives_its_posteriors(
    make_archive: Callable[..., str], make_posts: Posts, tmp_path: Path, labels: LabelSet
) -> None:
    posts = {"a": make_posts(4, 0), "b": make_posts(7, 1)}
    teacher = open_teacher(make_archive("posts", posts), tmp_path)
    assert isinstance(teacher, ArchiveTeacher)
    assert teacher.label_set == labels
    assert set(teacher.utt_ids) == {"a", "b"}
    for utt, got in zip("ba", teacher.log_posts(["b", "a"]), strict=True):
        torch.testing.assert_close(got, torch.from_numpy(posts[utt]))
    before = teacher.digest
    make_archive("posts", {**posts, "b": make_posts(7, 2)})
    assert open_teacher(f"{teacher.name}={tmp_path}/posts.json", tmp_path).digest != before


def test_rounded_posteriors_are_made_whole(
    make_archive: Callable[..., str], make_posts: Posts, tmp_path: Path
) -> None:
    rounded = (make_posts(50, 0) + np.float32(0.004)).astype(np.float32)
    (got,) = open_teacher(make_archive("posts", {"a": rounded}), tmp_path).log_posts(["a"])
    torch.testing.assert_close(got.exp().sum(1), torch.ones(50))


@pytest.mark.parametrize("fault", ["nan", "probabilities", "likelihoods", "labels", "missing"])
def test_archive_faults_name_the_utterance(
    fault: str, make_archive: Callable[..., str], make_posts: Posts, tmp_path: Path
) -> None:
    posts = make_posts(6, 0)
    changed = {"nan": posts.copy(), "probabilities": np.exp(posts), "likelihoods": posts + 3,
               "labels": posts[:, :-1].copy()}  # fmt: skip
    changed["nan"][4, 2] = math.nan
    said = {"nan": "utt7: frame 4: exp of the row adds up to nan",
            "probabilities": "utt7: frame 0: exp of the row adds up to 1.*probabilities",
            "likelihoods": "utt7: frame 0: .*divided by priors",
            "labels": r"utt7: shape \(6, 10\), expected \(frames, 11 labels\)",
            "missing": "no log-posteriors of utt7"}  # fmt: skip
    matrices = {"utt6": posts}
    if fault != "missing":
        matrices["utt7"] = changed[fault]
    teacher = open_teacher(make_archive("posts", matrices), tmp_path)
    teacher.log_posts(["utt6"])
    with pytest.raises(InputError, match=said[fault]):
        teacher.log_posts(["utt6", "utt7"])


def test_archive_that_is_gone(
    make_archive: Callable[..., str], make_posts: Posts, tmp_path: Path
) -> None:
    spec = make_archive("posts", {"a": make_posts(4, 0)})
    (tmp_path / "posts.ark").unlink()
    with pytest.raises(InputError, match=r"no such archive .*posts\.ark"):
        open_teacher(spec, tmp_path)
    with pytest.raises(InputError, match=r"expected ark:FILE=labels\.json"):
        open_teacher("ark:posts.scp", tmp_path)


def test_label_sets_must_agree(
    make_archive: Callable[..., str], make_posts: Posts, make_features: Make, make_network: Make
) -> None:
    data = make_features("data", 4)
    other = LabelSet("hmm-states", ("x", "y"))
    archive = make_archive("other", {"a": make_posts(3, 0, 2)}, other)
    with pytest.raises(InputError) as refused:
        open_teachers([str(make_network("one", "dnn", 4)), archive, "nowhere"], data)
    said = str(refused.value)
    assert "11 hmm-states" in said
    assert "2 hmm-states" in said
    assert "nowhere" in said  # all faults together


def test_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no teacher"):
        open_teachers([], tmp_path)


def test_numbers_of_frames() -> None:
    assert same_num_frames("u", ["a", "b"], [torch.zeros(4, 2), torch.zeros(4, 2)]) == 4
    with pytest.raises(InputError, match="u: numbers of frames differ: a has 4, b has 5"):
        same_num_frames("u", ["a", "b"], [torch.zeros(4, 2), torch.zeros(5, 2)])


def test_posteriors_that_overflow_name_the_utterance(
    make_features: Make, make_network: Make, utt_frames: dict[str, int]
) -> None:
    data = make_features("data", 4)
    archive = data / "feats.ark"
    content = archive.read_bytes()
    archive.write_bytes(content[:-4] + np.float32(3e38).tobytes())
    teacher = NetworkTeacher(make_network("model", "dnn", 4), data)
    last = list(utt_frames)[-1]
    with pytest.raises(InputError, match=f"model: {last}: posteriors from .*data are NaN"):
        teacher.log_posts([last])
