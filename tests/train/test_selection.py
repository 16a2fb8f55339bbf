from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.augment import Augment
from asr_kd.train.build import read_data
from asr_kd.train.config import AugmentConfig, FramesConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, augmented_batch
from asr_kd.train.objective import HardLabels
from asr_kd.train.selection import FrameSelection
from asr_kd.train.stage import train
from asr_kd.train.student import StudentOutput

LABELS = LabelSet("hmm-states", ("AH_0", "AH_1", "IY_0", "IY_1", "SIL_0"))
NOBODY = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("config", "counted"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"exclude": ["IY_*"]}, [1, 1, 0, 0, 1]),
        ({"only": ["IY_*", "AH_0"]}, [1, 0, 1, 1, 0]),
        ({"only": ["*_0"], "exclude": ["SIL_?"]}, [1, 0, 1, 0, 0]),
    ],
)
def test_labels_are_named_by_patterns(config: dict[str, Any], counted: list[int]) -> None:
    selection = FrameSelection.by_label(FramesConfig(**config), LABELS)
    labels = np.array([0, 4, 1, 2, 3, 3, 0], np.int32)
    assert selection(labels, NOBODY).tolist() == [bool(counted[k]) for k in labels]


def test_unknown_labels_and_empty_choices_are_named_together() -> None:
    config = FramesConfig(only=("UW_*", "AH_0"), exclude=("3",))
    with pytest.raises(InputError) as error:
        FrameSelection.by_label(config, LABELS)
    assert len(error.value.faults) == 2
    assert "'UW_*'" in error.value.faults[0]
    assert "frames.exclude: '3'" in error.value.faults[1]
    with pytest.raises(InputError, match="no label is left"):
        FrameSelection.by_label(FramesConfig(exclude=("*",)), LABELS)


def test_a_share_of_the_frames() -> None:
    selection = FrameSelection(np.array([1.0, 0.25, 0.0]))
    labels = np.tile(np.array([0, 1, 2], np.int32), 4000)
    counted = selection(labels, np.random.default_rng(1))
    assert counted[labels == 0].all()
    assert not counted[labels == 2].any()
    assert 0.22 < counted[labels == 1].mean() < 0.28


def test_frame_level_fields_hold_the_counted_frames_only(corpus: Any) -> None:
    data = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    config = AugmentConfig(speed=SpeedConfig(prob=1))
    augment = Augment(config, np.zeros(4, np.float32), np.ones(4, np.float32))
    every = FrameSelection(np.ones(6))
    some = FrameSelection(np.array([1.0, 0, 0, 1, 0, 1]))
    whole = augmented_batch(data, [3, 8, 1], augment, every, seed=0, epoch=2)
    part = augmented_batch(data, [3, 8, 1], augment, some, seed=0, epoch=2)
    assert torch.equal(whole.feats, part.feats)  # the context stays whole
    wanted = torch.isin(whole.pdf_ids, torch.tensor([0, 3, 5]))
    assert torch.equal(part.pdf_ids, whole.pdf_ids[wanted])
    assert torch.equal(part.counted[whole.counted], wanted)
    sources = np.concatenate(whole.source)[wanted.numpy()]
    np.testing.assert_array_equal(np.concatenate(part.source), sources)


def test_a_batch_without_a_counted_frame_has_no_loss(corpus: Any) -> None:
    data = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    augment = Augment(AugmentConfig(), np.zeros(4, np.float32), np.ones(4, np.float32))
    batch = augmented_batch(data, [0, 1], augment, FrameSelection(np.zeros(6)), seed=0, epoch=0)
    logits = torch.randn(*batch.counted.shape, 6, requires_grad=True)
    loss, count = HardLabels()(StudentOutput(logits, []), batch)
    loss.backward()
    assert (float(loss.detach()), int(count)) == (0.0, 0)
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_a_label_left_out_is_not_learnt(corpus: Any) -> None:
    out = corpus.root / "exp"
    config = corpus.config(epochs=12, frames=FramesConfig(exclude=("s0",)))
    train(corpus.inputs, config, out)
    model = Checkpoint.load(out).model
    dev = AlignedData(corpus.inputs.dev, corpus.inputs.dev_ali, "global")
    guessed = []
    with torch.no_grad():
        for k in range(len(dev)):
            feats = torch.tensor(dev.feats(k))[None]
            logits, _ = model(feats, torch.tensor([feats.shape[1]]))
            guessed.append((logits[0].argmax(1).numpy(), dev.pdf_ids(k)))
    found, true = (np.concatenate(x) for x in zip(*guessed, strict=True))
    assert (found[true == 0] != 0).all()
    assert (found[true != 0] == true[true != 0]).mean() > 0.6


def test_a_pattern_is_refused_before_training(corpus: Any) -> None:
    config = corpus.config(frames=FramesConfig(exclude=("t*",)))
    with pytest.raises(InputError, match=r"frames.exclude: 't\*' matches none of the 6 labels"):
        train(replace(corpus.inputs), config, corpus.root / "exp")
    assert not (corpus.root / "exp").exists()


def test_labels_that_only_dev_has_are_named(corpus: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "asr_kd.train"):
        read_data(corpus.inputs, corpus.config())
        assert "no frame of" not in caplog.text
        ali = Archive.read(corpus.inputs.ali / "ali.scp")
        kept = {utt: np.asarray(ali[utt]) for utt in ali if not np.isin(ali[utt], [2, 5]).any()}
        assert kept
        with ArkWriter(corpus.root / "less.ark") as writer:
            for utt, pdf_ids in kept.items():
                writer.write(utt, pdf_ids)
        write_table(corpus.inputs.ali / "ali.scp", writer.scp)
        read_data(corpus.inputs, corpus.config())
    assert "no frame of 2 labels" in caplog.text
    assert "s2, s5" in caplog.text
