"""Log-mel in librosa's manner: centred frames, Hann window, Slaney's filters; natural logarithm."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from asr_kd.features.spec import FeatureSpec

_CHUNK = 256
_FLOOR = 1e-10  # librosa's own least power


def num_frames(num_samples: int, spec: FeatureSpec) -> int:
    """T for so many samples: one frame at every multiple of the shift, both ends included."""
    return 1 + num_samples // spec.shift if num_samples else 0


def librosa_feats(samples: NDArray[np.float32], spec: FeatureSpec) -> NDArray[np.float32]:
    """`log(librosa.feature.melspectrogram)` in chunks of frames.

    Args:
        samples: (N,) in [-1, 1], at `spec.sample_rate`.
        spec: the options; window and hop are `frame_length_ms` and `frame_shift_ms`.

    Returns:
        (T, num_mel), natural logarithms, floored at log(1e-10).
    """
    import librosa

    total = num_frames(len(samples), spec)
    feats = np.empty((total, spec.num_mel), np.float32)
    for begin in range(0, total, _CHUNK):
        end = min(begin + _CHUNK, total)
        start = begin * spec.shift - spec.n_fft // 2
        stop = (end - 1) * spec.shift + spec.n_fft - spec.n_fft // 2
        inside = samples[max(start, 0) : stop]
        stretch = np.pad(inside, (max(-start, 0), max(stop - len(samples), 0)))
        spectrum = librosa.stft(
            stretch, n_fft=spec.n_fft, hop_length=spec.shift, win_length=spec.length, center=False
        )
        mel = _filters(spec) @ np.abs(spectrum) ** spec.power
        feats[begin:end] = np.log(np.maximum(mel, _FLOOR)).T
    return feats


@lru_cache(maxsize=8)
def _filters(spec: FeatureSpec) -> NDArray[np.float32]:
    import librosa

    return librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.num_mel, fmin=spec.low_freq,
        fmax=spec.top_freq,
    )  # fmt: skip
