"""Log-mel and MFCC as Kaldi computes them (feat/feature-window.cc, feat/mel-computations.cc).

Frames are worked on 256 at a time: what a chunk needs stays in the processor's cache, and the
memory beyond samples and features does not grow with the utterance.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from asr_kd.features.spec import FeatureSpec

Floats = NDArray[np.float32]

CHUNK = 256
_GROUP = 16  # filters multiplied together: few enough to be narrow, enough for a fast product
_INT16 = np.float32(32768)  # Kaldi's samples are 16-bit steps
_EPSILON = np.finfo(np.float32).eps


class _Band(NamedTuple):
    """Neighbouring filters, and the few bins under them."""

    filters: slice
    bins: slice
    weights: Floats  # (bins, filters)


class _Tables(NamedTuple):
    """What does not depend on the samples."""

    n_fft: int
    window: Floats  # (length,)
    bands: tuple[_Band, ...]
    cepstra: Floats | None  # (num_mel, num_ceps), lifter included; None for log-mel


def num_frames(num_samples: int, spec: FeatureSpec) -> int:
    """T for so many samples; 0 if they are shorter than one frame."""
    if spec.snip_edges:
        return max(0, 1 + (num_samples - spec.length) // spec.shift)
    return (num_samples + spec.shift // 2) // spec.shift


def kaldi_feats(samples: Floats, spec: FeatureSpec, seed: int = 0) -> Floats:
    """Log-mel (kind fbank) or MFCC (kind mfcc) of an utterance.

    Args:
        samples: (N,) in [-1, 1], at `spec.sample_rate`.
        spec: the options; they mean what they mean in Kaldi.
        seed: of the dither.

    Returns:
        (T, F), natural logarithms of energies in squared 16-bit steps, or their cepstra. With
        `use_energy` the log-energy comes first.
    """
    tables = _tables(spec)
    total = num_frames(len(samples), spec)
    energies = int(spec.use_energy and spec.kind == "fbank")
    dim = energies + (spec.num_mel if tables.cepstra is None else spec.num_ceps)
    feats = np.empty((total, dim), np.float32)
    padded = np.zeros((min(CHUNK, total), tables.n_fft), np.float32)
    rng = np.random.default_rng(seed) if spec.dither else None
    for begin in range(0, total, CHUNK):
        end = min(begin + CHUNK, total)
        stretch = _stretch(samples, begin, end, spec)
        if rng is not None:
            stretch += np.float32(spec.dither) * rng.standard_normal(len(stretch), np.float32)
        windowed = padded[: end - begin]
        log_energy = _window(stretch, windowed, tables.window, spec)
        log_mel = _log_mel(windowed, tables.bands, spec.num_mel)
        out = feats[begin:end]
        out[:, energies:] = log_mel if tables.cepstra is None else log_mel @ tables.cepstra
        if log_energy is not None:
            out[:, 0] = log_energy
    return feats


def _stretch(samples: Floats, begin: int, end: int, spec: FeatureSpec) -> Floats:
    """The samples under frames begin to end; beyond the edges the signal is mirrored."""
    start = begin * spec.shift
    if not spec.snip_edges:
        start += spec.shift // 2 - spec.length // 2
    stop = start + (end - begin - 1) * spec.shift + spec.length
    if start >= 0 and stop <= len(samples):
        return samples[start:stop] * _INT16
    at = np.arange(start, stop) % (2 * len(samples))
    return samples[np.where(at < len(samples), at, 2 * len(samples) - 1 - at)] * _INT16


def _window(stretch: Floats, out: Floats, window: Floats, spec: FeatureSpec) -> Floats | None:
    """Fills the first columns of `out` with windowed frames; returns log-energies if wanted.

    Pre-emphasis runs once over the stretch rather than over each of its overlapping frames; of a
    frame's mean m it leaves m·(1 - c), and that is taken off afterwards.
    """
    frames = sliding_window_view(stretch, spec.length)[:: spec.shift]
    mean = np.zeros(len(frames), np.float32)
    if spec.remove_dc_offset:
        mean = np.einsum("ti->t", frames) / np.float32(spec.length)
    kept = np.float32(1 - spec.preemphasis)
    emphasised = np.diff(stretch, prepend=np.float32(0))  # plus (1-c)·x_{i-1}: less rounding
    emphasised[1:] += kept * stretch[:-1]
    windowed = out[:, : spec.length]
    emphasised_frames = sliding_window_view(emphasised, spec.length)[:: spec.shift]
    np.subtract(emphasised_frames, (kept * mean)[:, None], out=windowed)
    windowed[:, 0] = kept * (frames[:, 0] - mean)  # a frame's first sample has none before it
    windowed *= window
    if not spec.use_energy:
        return None
    measured = frames - mean[:, None] if spec.raw_energy else windowed
    energy = np.einsum("ti,ti->t", measured, measured)
    return np.log(np.maximum(energy, max(_EPSILON, np.float32(spec.energy_floor))))


def _log_mel(windowed: Floats, bands: tuple[_Band, ...], num_mel: int) -> Floats:
    spectrum = scipy.fft.rfft(windowed, axis=1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    mel = np.empty((len(power), num_mel), np.float32)
    for band in bands:
        np.matmul(power[:, band.bins], band.weights, out=mel[:, band.filters])
    np.maximum(mel, _EPSILON, out=mel)
    return np.log(mel, out=mel)


@lru_cache(maxsize=8)
def _tables(spec: FeatureSpec) -> _Tables:
    n_fft = 1 << (spec.length - 1).bit_length()
    cepstra = _cepstra(spec) if spec.kind == "mfcc" else None
    return _Tables(n_fft, _window_shape(spec), _bands(mel_filters(spec, n_fft)), cepstra)


def _bands(filters: Floats) -> tuple[_Band, ...]:
    bands = []
    for first in range(0, filters.shape[1], _GROUP):
        group = filters[:, first : first + _GROUP]
        used = np.flatnonzero(group.any(axis=1))  # none, where filters are narrower than bins
        bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
        weights = np.ascontiguousarray(group[bins])
        bands.append(_Band(slice(first, first + group.shape[1]), bins, weights))
    return tuple(bands)


def mel_filters(spec: FeatureSpec, n_fft: int) -> Floats:
    """Kaldi's triangles, evenly spaced and straight on the mel scale: (n_fft/2 + 1, num_mel)."""
    low, high = _mel(np.array([spec.low_freq, spec.top_freq]))
    left = low + (high - low) / (spec.num_mel + 1) * np.arange(spec.num_mel)
    width = (high - low) / (spec.num_mel + 1)
    at = _mel(np.arange(n_fft // 2 + 1) * (spec.sample_rate / n_fft))[:, None]
    triangles = np.minimum((at - left) / width, (left + 2 * width - at) / width)
    return np.maximum(triangles, 0).astype(np.float32)


def _mel(hertz: NDArray[np.floating]) -> NDArray[np.floating]:
    return 1127.0 * np.log1p(hertz / 700.0)


def _window_shape(spec: FeatureSpec) -> Floats:
    raised = np.cos(2 * np.pi * np.arange(spec.length) / (spec.length - 1))
    shapes = {
        "povey": (0.5 - 0.5 * raised) ** 0.85,
        "hamming": 0.54 - 0.46 * raised,
        "hanning": 0.5 - 0.5 * raised,
        "rectangular": np.ones(spec.length),
    }
    return shapes[spec.window].astype(np.float32)


def _cepstra(spec: FeatureSpec) -> Floats:
    """Orthonormal DCT-II and the lifter 1 + Q/2·sin(πk/Q), as one matrix."""
    k = np.arange(spec.num_ceps)
    n = np.arange(spec.num_mel)[:, None]
    dct = np.sqrt(2 / spec.num_mel) * np.cos(np.pi / spec.num_mel * (n + 0.5) * k)
    dct[:, 0] = np.sqrt(1 / spec.num_mel)
    q = spec.cepstral_lifter
    lifter = 1 + 0.5 * q * np.sin(np.pi * k / q) if q else np.ones(spec.num_ceps)
    return (dct * lifter).astype(np.float32)
