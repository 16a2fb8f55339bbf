"""Simple acoustics: a reverberant room, coloured and babble-like noise, a signal-to-noise ratio.

All are functions of their arguments and of the generator's state, in float64 and numpy's FFT only,
so that the same seed gives the same samples.
"""

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]


def reverberate(
    signal: Signal, rate: int, rt60: float, direct_ratio: float, rng: np.random.Generator
) -> Signal:
    """Adds the sound of a room: noise that decays exponentially behind the direct sound.

    Args:
        signal: (N,).
        rate: samples per second.
        rt60: seconds in which the reverberation falls by 60 dB.
        direct_ratio: energy of the direct sound over that of the reverberation, in dB.
        rng: draws the room.

    Returns:
        (N,), what sounds on behind the end is cut off.
    """
    tail = rng.standard_normal(max(2, round(rt60 * rate)))
    tail *= 10.0 ** (-3.0 * np.arange(len(tail)) / (rt60 * rate))
    tail[: max(1, round(0.002 * rate))] = 0.0  # the first reflection comes 2 ms later
    tail *= np.sqrt(10.0 ** (-direct_ratio / 10.0) / np.sum(tail**2))
    tail[0] = 1.0
    size = _fft_size(len(signal) + len(tail))
    wet: Signal = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(tail, size), size)
    return wet[: len(signal)]


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> Signal:
    """Stationary noise whose power falls with frequency as 1/f^slope: 0 white, 1 pink, 2 brown."""
    size = _fft_size(length)
    shape = np.maximum(np.arange(size // 2 + 1), 1) ** (-slope / 2.0)
    return _filtered_noise(size, shape, rng)[:length]


def babble(length: int, rate: int, talkers: int, rng: np.random.Generator) -> Signal:
    """Noise like several people talking: steep as speech, loud and soft as syllables.

    The power falls by 9 dB an octave above 500 Hz; the loudness of each changes about four times
    a second.
    """
    size = _fft_size(length)
    frequency = np.fft.rfftfreq(size, 1.0 / rate)
    speech = np.maximum(frequency / 500.0, 1.0) ** -1.5 * (frequency > 80.0)
    syllables = (frequency < 4.0).astype(np.float64)
    noise = np.zeros(size)
    for _ in range(talkers):
        loudness = np.abs(_filtered_noise(size, syllables, rng))
        noise += _filtered_noise(size, speech, rng) * loudness
    return noise[:length]


def add_noise(speech: Signal, noise: Signal, snr: float) -> Signal:
    """Adds noise at a signal-to-noise ratio in dB, counted over the whole of both."""
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2) * 10.0 ** (-snr / 10.0))
    return speech + gain * noise


def _filtered_noise(size: int, shape: Signal, rng: np.random.Generator) -> Signal:
    """White noise with its spectrum multiplied by `shape`, (size // 2 + 1,)."""
    noise: Signal = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * shape, size)
    return noise


def _fft_size(length: int) -> int:
    """A power of two: lengths with large prime factors take ten times as long."""
    return 1 << max(1, (length - 1).bit_length())
