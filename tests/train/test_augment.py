import numpy as np
import pytest

from asr_kd.labels.ctc import collapse, frames_needed
from asr_kd.train.augment import (
    Augment,
    FrequencyWarp,
    change_speed,
    keep_spikes,
    mask,
    shift_images,
    tile,
)
from asr_kd.train.config import (
    AugmentConfig,
    ChannelConfig,
    MaskConfig,
    MixConfig,
    NoiseConfig,
    ShiftConfig,
    SpeedConfig,
    WarpConfig,
)

MEAN = np.array([50.0, -3.0, 0.5], dtype=np.float32)
STD = np.array([10.0, 1.0, 0.1], dtype=np.float32)


def augment(**parts: object) -> Augment:
    return Augment(AugmentConfig(**parts), MEAN, STD)  # type: ignore[arg-type]


def feats(num_frames: int = 400) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (MEAN + STD * rng.standard_normal((num_frames, 3))).astype(np.float32)


def test_nothing_is_drawn_by_default() -> None:
    x = feats()
    rng = np.random.default_rng(0)
    same, source = augment().perturb(x, rng)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(source, np.arange(400))
    assert augment().mix_weight(rng) == 1.0
    assert augment().mask(x, rng) is x


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25, 2.0])
def test_speed_keeps_a_ramp_a_ramp_with_its_labels(factor: float) -> None:
    ramp = np.arange(101, dtype=np.float32)[:, None]
    config = SpeedConfig(prob=1, low=factor, high=factor)
    changed, source = change_speed(ramp, config, np.random.default_rng(0))
    assert len(changed) == round(101 / factor)
    np.testing.assert_allclose(changed[:, 0], np.linspace(0, 100, len(changed)), atol=1e-4)
    # Each label comes from the nearest frame: at most half a frame away.
    assert np.abs(changed[:, 0] - source).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_speed_of_very_short_utterances(num_frames: int) -> None:
    config = SpeedConfig(prob=1, low=3, high=3)
    changed, source = change_speed(feats(num_frames), config, np.random.default_rng(0))
    assert len(changed) == len(source) == 1


def test_channel_is_one_affine_map_an_utterance() -> None:
    x = feats()
    changed, _ = augment(channel=ChannelConfig(prob=1, gain=0.2, offset=0.5)).perturb(
        x, np.random.default_rng(1)
    )
    for dim in range(3):
        slope, offset = np.polyfit(x[:, dim], changed[:, dim], 1)
        np.testing.assert_allclose(changed[:, dim], slope * x[:, dim] + offset, rtol=1e-3)
        assert abs(slope - 1) > 1e-3


def test_noise_is_in_standard_deviations() -> None:
    x = feats(4000)
    changed, _ = augment(noise=NoiseConfig(prob=1, level=2.0)).perturb(x, np.random.default_rng(3))
    levels = (changed - x).std(0) / STD
    assert levels[0] == pytest.approx(levels[1], rel=0.1)
    assert 0 < levels[0] <= 2.0


def test_masked_frames_and_dimensions_are_the_mean() -> None:
    x = feats()
    before = x.copy()
    config = MaskConfig(prob=1, num_time=3, time_width=20, num_dims=1, dims_width=1)
    seen_time = seen_dims = False
    for seed in range(20):
        hidden = mask(x, MEAN, config, np.random.default_rng(seed)) == MEAN
        whole_frames, whole_dims = hidden.all(1), hidden.all(0)
        assert whole_frames.sum() <= 60
        assert whole_dims.sum() <= 1
        rest = hidden[~whole_frames][:, ~whole_dims]
        assert not rest.any()
        seen_time |= bool(whole_frames.any())
        seen_dims |= bool(whole_dims.any())
    assert seen_time
    assert seen_dims
    np.testing.assert_array_equal(x, before)


def test_mix_weight_lies_in_its_range() -> None:
    drawn = [
        augment(mix=MixConfig(prob=0.5, low=0.6)).mix_weight(np.random.default_rng(k))
        for k in range(200)
    ]
    mixed = [share for share in drawn if share < 1.0]
    assert 70 < len(mixed) < 130
    assert min(mixed) >= 0.6


def test_tile() -> None:
    longer, source = tile(feats(3), 7)
    assert source.tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_array_equal(longer[3], feats(3)[0])
    assert tile(feats(3), 2)[1].tolist() == [0, 1]


def test_speed_range_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        SpeedConfig(low=1.2, high=1.0)


@pytest.mark.parametrize(("domain", "dims"), [("mel", 40), ("cepstrum", 13)])
def test_a_warp_moves_a_formant(domain: str, dims: int) -> None:
    warp = FrequencyWarp(WarpConfig(domain=domain), dims)  # type: ignore[arg-type]
    np.testing.assert_allclose(warp.matrix(1.0), np.eye(dims), atol=1e-9)
    hertz = 700 * np.expm1(warp._mels / 1127)
    formant = np.exp(-(((hertz - 1500) / 400) ** 2))
    moved = warp._to_mel @ warp.matrix(1.2) @ warp._to_feats @ formant
    peak, new_peak = hertz[formant.argmax()], hertz[moved.argmax()]
    assert new_peak == pytest.approx(peak / 1.2, rel=0.08)
    # A flat spectrum stays flat.
    flat = warp._to_feats @ np.ones(len(hertz))
    np.testing.assert_allclose(warp.matrix(0.9) @ flat, flat, atol=1e-9)


def test_warping_is_around_the_mean() -> None:
    config = WarpConfig(prob=1.0, low=1.1, high=1.1)
    mean = np.random.default_rng(0).standard_normal(13).astype(np.float32)
    augmented = Augment(AugmentConfig(warp=config), mean, np.ones(13, np.float32))
    x = np.tile(mean, (5, 1))
    x[2, 1] += 1
    warped, _ = augmented.perturb(x, np.random.default_rng(0))
    np.testing.assert_allclose(warped[[0, 1, 3, 4]], x[[0, 1, 3, 4]], atol=1e-5)
    assert np.abs(warped[2] - x[2]).max() > 0.01


def test_images_move_each_by_itself() -> None:
    images = np.zeros((300, 4, 5), np.float32)
    images[:, 2, 1] = 7  # one dot
    config = ShiftConfig(prob=1, pixels=1, height=4, width=5)
    moved = shift_images(images.reshape(300, 20), config, np.random.default_rng(0))
    places = {tuple(np.argwhere(frame)[0]) for frame in moved.reshape(300, 4, 5)}
    assert places == {(y, x) for y in (1, 2, 3) for x in (0, 1, 2)}
    assert (moved.sum(1) == 7).all()
    images[:, 0, 0] = 3  # what leaves at an edge is gone
    moved = shift_images(images.reshape(300, 20), config, np.random.default_rng(0))
    assert set(np.unique(moved.sum(1))) == {7.0, 10.0}


def test_perturbed_images_move() -> None:
    images = np.zeros((100, 20), np.float32)
    images[:, 11] = 7  # row 2, column 1 of 4 × 5
    config = AugmentConfig(shift=ShiftConfig(prob=1, pixels=1, height=4, width=5))
    augmented = Augment(config, np.zeros(20, np.float32), np.ones(20, np.float32))
    moved, source = augmented.perturb(images, np.random.default_rng(0))
    dots = {int(frame.argmax()) for frame in moved}
    assert dots == {5 * y + x for y in (1, 2, 3) for x in (0, 1, 2)}
    assert source.tolist() == list(range(100))


def test_no_spike_of_one_frame_is_lost_at_any_speed() -> None:
    """As long as there are frames enough; like may stand beside like."""
    rng = np.random.default_rng(5)
    lost = 0
    for gap in (2, 4, 8) * 50:
        tokens = rng.integers(1, 4, 12)
        path = np.concatenate([np.r_[np.zeros(rng.integers(1, gap), int), k] for k in tokens])
        config = SpeedConfig(prob=1.0, low=0.8, high=1.3)
        _, source = change_speed(np.zeros((len(path), 1), np.float32), config, rng)
        kept = keep_spikes(source, path)
        assert (np.diff(kept) >= 0).all()
        lost += collapse(path[source]).tolist() != tokens.tolist()
        if frames_needed(tokens) <= len(source):
            assert collapse(path[kept]).tolist() == tokens.tolist()
        if gap == 8:
            assert np.abs(kept - source).max() <= 1
    assert lost > 20


@pytest.mark.parametrize(
    ("path", "source", "kept"),
    [
        ([0, 1, 0, 2], [0, 2, 3], [1, 2, 3]),
        ([1, 0, 1, 0], [0, 1, 3], [0, 1, 2]),  # not beside its like
        ([0, 1, 0, 1], [0, 2, 3], [1, 2, 3]),
        ([0, 1, 1, 0], [0, 1, 3], [0, 1, 3]),  # its other frame is there
        ([3, 1, 2], [0, 2], [0, 2]),  # no room
        ([0, 0, 1], [0, 1], [0, 2]),
        ([0, 1, 2, 3, 0], [0, 1, 3, 4], [1, 2, 3, 4]),  # another one moves
        ([0, 0, 1, 0, 1], [0, 1, 2, 4], [0, 2, 3, 4]),  # a blank that parts two
        ([1], [0], [0]),
    ],
)
def test_a_skipped_spike_takes_the_place_of_what_can_be_spared(
    path: list[int], source: list[int], kept: list[int]
) -> None:
    assert keep_spikes(np.array(source), np.array(path)).tolist() == kept
