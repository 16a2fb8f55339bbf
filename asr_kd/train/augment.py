"""Perturbed features: speed, channel, noise, masks, and the mixing of two utterances.

All draws come from the generator that is passed in, so that an utterance is perturbed alike on
whatever process it is and after whatever interruption.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from asr_kd.labels.ctc import BLANK
from asr_kd.train.config import AugmentConfig, MaskConfig, ShiftConfig, SpeedConfig, WarpConfig

Feats = NDArray[np.float32]
Rng = np.random.Generator


class Augment:
    """Perturbs features (T,F) before the model's front end.

    Args:
        config: what to do how often.
        mean, std: of the training features (F,): the scale of offsets and noise, and what stands
            under a mask.
    """

    def __init__(self, config: AugmentConfig, mean: Feats, std: Feats) -> None:
        self.config = config
        self.mean = mean
        self.std = std
        self._warp = FrequencyWarp(config.warp, len(mean)) if config.warp.prob else None

    def perturb(self, feats: Feats, rng: Rng) -> tuple[Feats, NDArray[np.int64]]:
        """Speed, frequency warp, channel, noise and shift.

        Returns:
            Features (T',F), and for each of their frames the nearest original one (T',).
        """
        source = np.arange(len(feats))
        if rng.random() < self.config.speed.prob:
            feats, source = change_speed(feats, self.config.speed, rng)
        if self._warp is not None and rng.random() < self.config.warp.prob:
            feats = self.mean + (feats - self.mean) @ self._warp.draw(rng).T.astype(np.float32)
        channel = self.config.channel
        if rng.random() < channel.prob:
            gain = np.exp(channel.gain * rng.standard_normal(feats.shape[1]))
            offset = channel.offset * rng.standard_normal(feats.shape[1]) * self.std
            feats = (self.mean + (feats - self.mean) * gain + offset).astype(np.float32)
        if rng.random() < self.config.noise.prob:
            level = rng.uniform(0, self.config.noise.level)
            noise = rng.standard_normal(feats.shape, dtype=np.float32)
            feats = feats + np.float32(level) * self.std * noise
        if rng.random() < self.config.shift.prob:
            feats = shift_images(feats, self.config.shift, rng)
        return feats, source

    def mix_weight(self, rng: Rng) -> float:
        """Whether and how an utterance is mixed: λ, or 1 to leave it alone."""
        if rng.random() >= self.config.mix.prob:
            return 1.0
        return float(rng.uniform(self.config.mix.low, 1.0))

    def mask(self, feats: Feats, rng: Rng) -> Feats:
        """Hides stretches of time and bands of dimensions."""
        if rng.random() >= self.config.mask.prob:
            return feats
        return mask(feats, self.mean, self.config.mask, rng)


def change_speed(feats: Feats, config: SpeedConfig, rng: Rng) -> tuple[Feats, NDArray[np.int64]]:
    """Interpolates (T,F) at T / factor evenly spaced times; factor 2 is twice as fast."""
    length = max(1, round(len(feats) / rng.uniform(config.low, config.high)))
    at = np.linspace(0, len(feats) - 1, length)
    before = np.floor(at).astype(np.int64)
    after = np.minimum(before + 1, len(feats) - 1)
    share = (at - before).astype(np.float32)[:, None]
    changed = feats[before] * (1 - share) + feats[after] * share
    return changed, np.floor(at + 0.5).astype(np.int64)


def keep_spikes(source: NDArray[np.int64], path: NDArray[np.integer]) -> NDArray[np.int64]:
    """Frames by whose labels CTC's tokens stay what they are where a change of speed skips frames.

    A token may have one frame alone, and so may the blank between two that are equal. Where that is
    skipped, it takes the place of the nearest frame that can be spared, those between moving by
    one. Only with fewer frames than tokens need something is lost.

    Args:
        source: of each frame now the nearest one before the change (T',), in the order of time.
        path: label of each frame before the change (T,).

    Returns:
        (T',), in the order of time.
    """
    changes = np.flatnonzero(path[1:] != path[:-1]) + 1
    starts, ends = np.r_[0, changes], np.r_[changes, len(path)]
    run_of = np.repeat(np.arange(len(starts)), ends - starts)
    labels = path[starts]
    needed = labels != BLANK
    needed[1:-1] |= labels[:-2] == labels[2:]
    kept = source.copy()
    for run in np.setdiff1d(np.flatnonzero(needed), run_of[source]).tolist():
        frame = (starts[run] + ends[run]) // 2
        place = int(np.searchsorted(kept, frame))
        runs = run_of[kept]
        spare = np.flatnonzero(~needed[runs] | (np.bincount(runs)[runs] > 1))
        if not len(spare):
            break
        nearest = int(spare[np.abs(spare + 0.5 - place).argmin()])
        if nearest < place:
            kept[nearest : place - 1] = kept[nearest + 1 : place]
            kept[place - 1] = frame
        else:
            kept[place + 1 : nearest + 1] = kept[place:nearest]
            kept[place] = frame
    return kept


def shift_images(feats: Feats, config: ShiftConfig, rng: Rng) -> Feats:
    """Moves each frame (T, height·width) by its own draw; zeros come in at the edges."""
    most = config.pixels
    images = feats.reshape(-1, config.height, config.width)
    padded = np.pad(images, ((0, 0), (most, most), (most, most)))
    windows = sliding_window_view(padded, (config.height, config.width), axis=(1, 2))
    down, right = rng.integers(0, 2 * most + 1, (2, len(images)))
    return windows[np.arange(len(images)), down, right].reshape(feats.shape)


class FrequencyWarp:
    """Linear maps (F,F) of a frame that stretch its frequency axis, as another speaker would.

    Cepstra go to the log-mel spectrum and back by the DCT and its pseudo-inverse, so that a map of
    13 cepstra only knows what 13 cepstra tell.
    """

    def __init__(self, config: WarpConfig, dims: int) -> None:
        self.config = config
        cepstral = config.domain == "cepstrum"
        channels = np.arange(config.num_mel if cepstral else dims)
        low, high = _mel(np.array([config.low_freq, config.high_freq])).tolist()
        self._mels = np.linspace(low, high, len(channels) + 2)[1:-1]
        self._to_feats = np.eye(len(channels))
        if cepstral:
            angles = np.pi * np.arange(dims)[:, None] * (channels + 0.5) / len(channels)
            self._to_feats = np.cos(angles)
        self._to_mel = np.linalg.pinv(self._to_feats)

    def draw(self, rng: Rng) -> NDArray[np.float64]:
        """The map of a factor drawn from the configured range."""
        return self.matrix(rng.uniform(self.config.low, self.config.high))

    def matrix(self, factor: float) -> NDArray[np.float64]:
        """The map after which channel f holds what was at factor·f Hz."""
        last = len(self._mels) - 1
        wanted = _mel(_hertz(self._mels) * factor)
        at = np.interp(wanted, self._mels, np.arange(last + 1))
        before = np.minimum(at.astype(int), last - 1)
        rows = np.arange(last + 1)
        warp = np.zeros((last + 1, last + 1))
        warp[rows, before] = 1 - (at - before)
        warp[rows, before + 1] = at - before
        return self._to_feats @ warp @ self._to_mel


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hertz / 700.0)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return 700.0 * np.expm1(mel / 1127.0)


def mask(feats: Feats, mean: Feats, config: MaskConfig, rng: Rng) -> Feats:
    """Sets random stretches of time and bands of dimensions to the mean; input stays as it is."""
    feats = feats.copy()
    num_frames, dims = feats.shape
    for _ in range(rng.integers(0, config.num_time + 1)):
        width = int(rng.integers(1, config.time_width + 1))
        start = int(rng.integers(0, max(1, num_frames - width)))
        feats[start : start + width] = mean
    for _ in range(rng.integers(0, config.num_dims + 1)):
        width = int(rng.integers(1, config.dims_width + 1))
        start = int(rng.integers(0, max(1, dims - width + 1)))
        feats[:, start : start + width] = mean[start : start + width]
    return feats


def tile(feats: Feats, num_frames: int) -> tuple[Feats, NDArray[np.int64]]:
    """Repeats or cuts (T,F) to `num_frames`; also the original frame of each (num_frames,)."""
    source = np.arange(num_frames) % len(feats)
    return feats[source], source
