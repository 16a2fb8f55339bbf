from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch

from asr_kd.data.directory import DataDir
from asr_kd.decode import labelled
from asr_kd.decode.labelled import read_labels
from asr_kd.ensemble import teachers as teachers_module
from asr_kd.ensemble.teachers import Teacher, max_batch_frames
from asr_kd.errors import InputError

ALI = {"s-1": [0, 1, 2], "s-2": [3, 3], "s-3": [0] * 9}


class Fake:
    """Equal posteriors."""

    def __init__(self, toy: Any, name: str, **num_frames: int) -> None:
        self.name, self.label_set, self.utt_ids = name, toy.labels, list(ALI)
        self.num_frames = {utt.replace("_", "-"): n for utt, n in num_frames.items()}
        self.asked: list[list[str]] = []

    def log_posts(self, utt_ids: Sequence[str]) -> list[torch.Tensor]:
        self.asked.append(list(utt_ids))
        return [torch.full((len(ALI[utt]), 4), 0.25).log() for utt in utt_ids]


def faked(toy: Any, name: str, **num_frames: int) -> Teacher:
    return cast(Teacher, Fake(toy, name, **num_frames))


@pytest.fixture
def data(toy: Any) -> DataDir:
    return DataDir.read(toy.data("data", {u: toy.logits_of(x) for u, x in ALI.items()}, None))


def test_frames_that_a_teacher_is_known_to_have(toy: Any, data: DataDir) -> None:
    ali = toy.ali("ali", ALI)
    teachers = [faked(toy, "a", s_1=3, s_2=2), faked(toy, "b", s_1=4, s_3=8)]
    with pytest.raises(InputError) as refused:
        read_labels(data, ali, teachers)
    assert refused.value.faults == [
        f"{ali}: s-1: 3 labels, b has 4 frames",
        f"{ali}: s-3: 9 labels, b has 8 frames",
    ]
    assert read_labels(data, ali, teachers[:1]).keys() == ALI.keys()


def test_models_with_fewer_frames_than_their_features(toy: Any, data: DataDir) -> None:
    ali = toy.ali("ali", {"s-1": [0], "s-2": [3], "s-3": [0] * 3})
    slow = faked(toy, "slow", s_1=1, s_2=1, s_3=3)
    assert {u: len(row) for u, row in read_labels(data, ali, [slow]).items()} == {
        "s-1": 1, "s-2": 1, "s-3": 3,
    }  # fmt: skip


def test_a_model_that_does_not_tell_its_frames_may_have_fewer(toy: Any, data: DataDir) -> None:
    ali = toy.ali("ali", {"s-1": [0, 1], "s-2": [3], "s-3": [0] * 5})
    assert read_labels(data, ali, [faked(toy, "silent")]).keys() == ALI.keys()
    with pytest.raises(InputError, match=r"s-2: 1 labels, known has 2 frames$"):
        read_labels(data, ali, [faked(toy, "silent"), faked(toy, "known", s_2=2)])


def test_the_label_that_is_none_is_named(toy: Any, data: DataDir) -> None:
    ali = toy.ali("ali", {"s-1": [0, -2, 1], "s-2": [1, 4], "s-3": [0] * 9})
    with pytest.raises(InputError) as refused:
        read_labels(data, ali, [faked(toy, "a")])
    assert refused.value.faults == [f"{ali}: s-1: label -2 of 4", f"{ali}: s-2: label 4 of 4"]


def test_batches_of_many_teachers_and_labels_are_small(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [max_batch_frames(*x) for x in ((1, 100), (10, 1000), (10, 10_000))] == [
        10_000, (1 << 25) // 10_000, 500,
    ]  # fmt: skip
    labels = {utt: np.array(row, np.int32) for utt, row in ALI.items()}
    monkeypatch.setattr(teachers_module, "_BATCH_FRAMES", (1, 10_000))
    monkeypatch.setattr(teachers_module, "_BATCH_FLOATS", 2 * 4 * 6)
    teachers = [Fake(toy, "a"), Fake(toy, "b")]
    found = list(labelled.score_labelled(cast(list[Teacher], teachers), labels, "test"))
    assert [scored.utt_id for scored in found] == ["s-2", "s-1", "s-3"]
    assert teachers[0].asked == teachers[1].asked == [["s-2", "s-1"], ["s-3"]]
