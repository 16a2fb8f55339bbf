import numpy as np
import pytest

from asr_kd.data.rooms import add_noise, babble, coloured_noise, reverberate

RATE = 16000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slope_per_octave(noise: np.ndarray, low: float, high: float) -> float:
    """Decibels per octave between two frequencies, from band energies an octave wide."""
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    at = [10 * np.log10(power[(frequency > f / 1.2) & (frequency < f * 1.2)].mean())
          for f in (low, high)]  # fmt: skip
    return (at[1] - at[0]) / np.log2(high / low)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
def test_the_ratio_is_the_one_asked_for(snr: float) -> None:
    speech, noise = rng(1).standard_normal(9999) * 3, rng(2).standard_normal(9999) * 0.01
    added = add_noise(speech, noise, snr) - speech
    measured = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert measured == pytest.approx(snr, abs=1e-6)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(slope: float) -> None:
    noise = coloured_noise(200_001, slope, rng())
    assert len(noise) == 200_001
    assert slope_per_octave(noise, 500, 4000) == pytest.approx(-3.01 * slope, abs=0.3)


def test_babble_is_steep_and_uneven() -> None:
    noise = babble(200_000, RATE, 3, rng())
    assert slope_per_octave(noise, 1000, 4000) == pytest.approx(-9.03, abs=0.5)
    loudness = np.sqrt((noise.reshape(-1, 800) ** 2).mean(axis=1))
    steady = np.sqrt((coloured_noise(200_000, 0.0, rng()).reshape(-1, 800) ** 2).mean(axis=1))
    assert loudness.std() / loudness.mean() > 5 * steady.std() / steady.mean()


def test_a_room_has_its_reverberation_time_and_ratio() -> None:
    impulse = np.zeros(RATE)
    impulse[100] = 1.0
    heard = reverberate(impulse, RATE, 0.5, 6.0, rng())
    np.testing.assert_allclose(heard[:100], 0.0, atol=1e-12)
    assert heard[100] == pytest.approx(1.0)
    tail = heard[101:]
    assert -10 * np.log10(np.sum(tail**2)) == pytest.approx(6.0, abs=1e-6)
    early, late = (np.sum(tail[i : i + 1600] ** 2) for i in (1600, 4800))
    # 200 ms later the energy has fallen by 200 / 500 of 60 dB.
    assert 10 * np.log10(early / late) == pytest.approx(24.0, abs=1.5)


def test_reverberation_is_a_plain_convolution() -> None:
    signal = rng(3).standard_normal(700)
    impulse = np.zeros(700)
    impulse[0] = 1.0
    room = reverberate(impulse, RATE, 0.03, 3.0, rng(4))
    slow = [sum(signal[n - k] * room[k] for k in range(n + 1)) for n in range(700)]
    np.testing.assert_allclose(reverberate(signal, RATE, 0.03, 3.0, rng(4)), slow, atol=1e-9)
