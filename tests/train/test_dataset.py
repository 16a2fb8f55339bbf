from typing import Any

import numpy as np
import torch

from asr_kd.train.augment import Augment
from asr_kd.train.config import AugmentConfig, MaskConfig, MixConfig, NoiseConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, augmented_batch, plain_batch
from asr_kd.train.selection import FrameSelection

EVERY = FrameSelection(np.ones(6))
BUSY = AugmentConfig(
    speed=SpeedConfig(prob=0.7),
    noise=NoiseConfig(prob=0.7),
    mix=MixConfig(prob=0.7),
    mask=MaskConfig(prob=0.7),
)


def read(corpus: Any) -> AlignedData:
    return AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")


def busy() -> Augment:
    return Augment(BUSY, np.full(4, 100, np.float32), np.full(4, 5, np.float32))


def test_a_plain_batch_is_the_utterances_side_by_side(corpus: Any) -> None:
    data = read(corpus)
    batch = plain_batch(data, [3, 0, 7])
    assert batch.utt_ids == [data.utt_ids[i] for i in (3, 0, 7)]
    for row, index in enumerate([3, 0, 7]):
        n = int(data.num_frames[index])
        assert int(batch.lengths[row]) == n
        np.testing.assert_array_equal(batch.feats[row, :n], data.reader[data.utt_ids[index]])
        assert (batch.feats[row, n:] == 0).all()
    expected = np.concatenate([data.pdf_ids(i) for i in (3, 0, 7)])
    np.testing.assert_array_equal(batch.pdf_ids, expected)
    assert batch.counted.sum() == len(batch.pdf_ids)


def test_an_utterance_is_perturbed_alike_in_any_company(corpus: Any) -> None:
    data = read(corpus)
    together = augmented_batch(data, [5, 2, 9], busy(), EVERY, seed=3, epoch=1)
    start = 0
    for row, index in enumerate([5, 2, 9]):
        alone = augmented_batch(data, [index], busy(), EVERY, seed=3, epoch=1)
        n = int(alone.lengths[0])
        torch.testing.assert_close(alone.feats[0], together.feats[row, :n], rtol=0, atol=0)
        assert torch.equal(alone.pdf_ids, together.pdf_ids[start : start + n])
        start += n
    other_epoch = augmented_batch(data, [5, 2, 9], busy(), EVERY, seed=3, epoch=2)
    assert other_epoch.feats.shape != together.feats.shape or not torch.equal(
        other_epoch.feats, together.feats
    )


def test_labels_follow_the_speed(corpus: Any) -> None:
    # Planted features that tell their own frame and utterance.
    data = read(corpus)
    for index in range(len(data)):
        length = int(data.num_frames[index])
        data._cached[index] = np.tile(np.arange(length, dtype=np.float32)[:, None], (1, 4))
    config = AugmentConfig(speed=SpeedConfig(prob=1, low=0.6, high=1.6))
    augment = Augment(config, np.zeros(4, np.float32), np.ones(4, np.float32))
    batch = augmented_batch(data, range(len(data)), augment, EVERY, seed=0, epoch=0)
    start = 0
    for row in range(len(data)):
        n = int(batch.lengths[row])
        frames = batch.feats[row, :n, 0].numpy()
        assert np.abs(frames - batch.source[row]).max() <= 0.5 + 1e-3
        labels = data.pdf_ids(row)[batch.source[row]]
        np.testing.assert_array_equal(batch.pdf_ids[start : start + n], labels)
        start += n


def test_augmentation_leaves_the_data_as_they_are(corpus: Any) -> None:
    data = read(corpus)
    before = [data.feats(i).copy() for i in range(len(data))]
    augmented_batch(data, range(len(data)), busy(), EVERY, seed=0, epoch=0)
    for index, feats in enumerate(before):
        np.testing.assert_array_equal(data.feats(index), feats)
