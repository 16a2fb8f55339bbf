"""Log-mel in librosa's manner: centred frames, Hann window, Slaney's filters; natural logarithm.

The filters are librosa's; the transform is our own, in chunks of frames, since librosa's holds the
whole spectrum and takes half a minute of compilation on its first use.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from asr_kd.features.spec import FeatureSpec

Floats = NDArray[np.float32]

_CHUNK = 256
_FLOOR = np.float32(1e-10)  # librosa's own least power


def num_frames(num_samples: int, spec: FeatureSpec) -> int:
    """T for so many samples: one frame at every multiple of the shift, both ends included."""
    return 1 + num_samples // spec.shift if num_samples else 0


def librosa_feats(samples: Floats, spec: FeatureSpec) -> Floats:
    """`log(librosa.feature.melspectrogram)`; beyond the edges there is silence.

    Args:
        samples: (N,) in [-1, 1], at `spec.sample_rate`.
        spec: the options; window and hop are `frame_length_ms` and `frame_shift_ms`.

    Returns:
        (T, num_mel), natural logarithms, floored at log(1e-10).
    """
    window, filters = _tables(spec)
    total = num_frames(len(samples), spec)
    feats = np.empty((total, spec.num_mel), np.float32)
    for begin in range(0, total, _CHUNK):
        end = min(begin + _CHUNK, total)
        start = begin * spec.shift - spec.n_fft // 2
        stop = start + (end - begin - 1) * spec.shift + spec.n_fft
        stretch = np.pad(
            samples[max(start, 0) : max(stop, 0)], (max(-start, 0), max(stop - len(samples), 0))
        )
        frames = sliding_window_view(stretch, spec.n_fft)[:: spec.shift]
        magnitude = np.abs(scipy.fft.rfft(frames * window, axis=1))
        feats[begin:end] = np.log(np.maximum(magnitude**spec.power @ filters, _FLOOR))
    return feats


@lru_cache(maxsize=8)
def _tables(spec: FeatureSpec) -> tuple[Floats, Floats]:
    """The window, (n_fft,), zero around its length, and the filters, (n_fft/2 + 1, num_mel)."""
    from librosa.filters import mel

    before = (spec.n_fft - spec.length) // 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.length) / spec.length)
    window = np.pad(hann, (before, spec.n_fft - spec.length - before)).astype(np.float32)
    filters = mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.num_mel, fmin=spec.low_freq,
        fmax=spec.top_freq,
    )  # fmt: skip
    return window, np.ascontiguousarray(filters.T)
