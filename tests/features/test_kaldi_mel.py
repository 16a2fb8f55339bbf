"""Agreement with kaldi-native-fbank, and what chunks must not change."""

import tracemalloc
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from asr_kd.features import kaldi_mel
from asr_kd.features.kaldi_mel import kaldi_feats, mel_filters, num_frames
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.audio import resample

Floats = NDArray[np.float32]
RATE = 8000


def reference(samples: Floats, spec: FeatureSpec) -> Floats:
    options = knf.FbankOptions() if spec.kind == "fbank" else knf.MfccOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.dither = spec.sample_rate, 0.0
    frame.frame_length_ms, frame.frame_shift_ms = spec.frame_length_ms, spec.frame_shift_ms
    frame.preemph_coeff, frame.remove_dc_offset = spec.preemphasis, spec.remove_dc_offset
    frame.window_type, frame.snip_edges = spec.window, spec.snip_edges
    mel.num_bins, mel.low_freq, mel.high_freq = spec.num_mel, spec.low_freq, spec.high_freq
    options.use_energy, options.raw_energy = spec.use_energy, spec.raw_energy
    options.energy_floor = spec.energy_floor
    if spec.kind == "mfcc":
        options.num_ceps, options.cepstral_lifter = spec.num_ceps, spec.cepstral_lifter
    online = (knf.OnlineFbank if spec.kind == "fbank" else knf.OnlineMfcc)(options)
    online.accept_waveform(spec.sample_rate, (samples * 32768).tolist())
    online.input_finished()
    return np.array([online.get_frame(t) for t in range(online.num_frames_ready)])


def noisy(num_samples: int, seed: int, offset: float = 0.0) -> Floats:
    rng = np.random.default_rng(seed)
    slope = np.convolve(rng.standard_normal(num_samples + 8), np.ones(9) / 9, "valid")
    loudness = 10 ** (-1.5 * rng.random() * (np.sin(np.arange(num_samples) / 900) + 1))
    wave = 0.3 * loudness * slope[:num_samples] + offset
    return to_16_bits(wave.clip(-1, 1))


def to_16_bits(wave: NDArray[np.floating]) -> Floats:
    return (np.round(32767 * wave) / 32768).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_mel": 80, "sample_rate": 2 * RATE},
        {"snip_edges": False, "high_freq": -400.0, "window": "hamming"},
        {"use_energy": True, "energy_floor": 1.0},
        {"kind": "mfcc", "num_mel": 23},
        {"kind": "mfcc", "num_mel": 23, "use_energy": True, "snip_edges": False},
    ],
)
def test_agrees_with_kaldi_on_speech(real_speech: Floats, options: dict[str, Any]) -> None:
    spec = FeatureSpec(**{"sample_rate": RATE, "num_mel": 40, **options})
    samples = real_speech
    if spec.sample_rate != RATE:
        samples = to_16_bits(resample(real_speech, RATE, spec.sample_rate))
    difference = np.abs(kaldi_feats(samples, spec) - reference(samples, spec))
    assert difference.max() < 1e-2
    assert difference.mean() < 1e-4


def test_closer_to_the_exact_values_than_kaldi_itself(real_speech: Floats) -> None:
    spec = FeatureSpec(sample_rate=RATE, num_mel=40, window="hanning")
    frames = sliding_window_view(real_speech * 32768.0, spec.length)[:: spec.shift].astype(float)
    frames = frames - frames.mean(axis=1, keepdims=True)
    emphasised = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    hanning = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.length) / (spec.length - 1))
    power = np.abs(np.fft.rfft(emphasised * hanning, 256)) ** 2
    exact = np.log(np.maximum(power @ mel_filters(spec, 256), np.finfo(np.float32).eps))
    ours = np.abs(kaldi_feats(real_speech, spec) - exact)
    assert ours.max() < 5e-3
    assert ours.mean() < np.abs(reference(real_speech, spec) - exact).mean()


SPECS = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["fbank", "mfcc"]),
        "sample_rate": st.sampled_from([8000, 11025, 16000, 22050]),
        "num_mel": st.integers(13, 40),
        "frame_length_ms": st.sampled_from([20.0, 25.0, 32.0]),
        "frame_shift_ms": st.sampled_from([5.0, 10.0, 12.5]),
        "low_freq": st.sampled_from([0.0, 20.0, 125.5]),
        "high_freq": st.sampled_from([0.0, -300.0, 3700.0]),
        "preemphasis": st.sampled_from([0.0, 0.9, 0.97]),
        "remove_dc_offset": st.booleans(),
        "window": st.sampled_from(["povey", "hamming", "hanning", "rectangular"]),
        "snip_edges": st.booleans(),
        "use_energy": st.booleans(),
        "raw_energy": st.booleans(),
        "energy_floor": st.sampled_from([0.0, 1.0, 1e7]),
    }
)


@settings(max_examples=60, deadline=None)
@given(SPECS, st.integers(1, 12000), st.integers(0, 99), st.sampled_from([0.0, 0.05]))
def test_agrees_with_kaldi_for_any_options(
    options: dict[str, Any], num_samples: int, seed: int, offset: float
) -> None:
    spec = FeatureSpec(**options)
    # An offset that stays in drowns what is quiet in float32's rounding, Kaldi's and ours.
    samples = noisy(num_samples, seed, offset if spec.remove_dc_offset else 0.0)
    ours, theirs = kaldi_feats(samples, spec), reference(samples, spec)
    assert len(ours) == len(theirs) == num_frames(num_samples, spec)
    if len(ours):
        np.testing.assert_allclose(ours, theirs, atol=1e-2)
        assert np.abs(ours - theirs).mean() < 1e-3


def test_lifter_and_number_of_cepstra() -> None:
    samples = noisy(4000, 1)
    for options in ({"num_ceps": 5}, {"cepstral_lifter": 0.0}, {"cepstral_lifter": 10.0}):
        spec = FeatureSpec(kind="mfcc", sample_rate=RATE, num_mel=23, **options)
        np.testing.assert_allclose(kaldi_feats(samples, spec), reference(samples, spec), atol=1e-3)


@pytest.mark.parametrize("snip_edges", [True, False])
def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch, snip_edges: bool) -> None:
    spec = FeatureSpec(sample_rate=RATE, num_mel=23, snip_edges=snip_edges, use_energy=True)
    samples = noisy(30000, 3)
    chunked = kaldi_feats(samples, spec)
    monkeypatch.setattr(kaldi_mel, "CHUNK", 10**6)
    np.testing.assert_allclose(kaldi_feats(samples, spec), chunked, atol=1e-5)


def test_memory_does_not_grow_with_the_utterance() -> None:
    spec = FeatureSpec(sample_rate=RATE, num_mel=40)

    def extra(seconds: int) -> int:
        samples = np.zeros(seconds * RATE, np.float32)
        tracemalloc.start()
        feats = kaldi_feats(samples, spec)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - feats.nbytes

    extra(5)
    assert extra(240) < extra(5) + 100_000
    assert extra(240) < 5_000_000


def test_silence_is_finite() -> None:
    spec = FeatureSpec(sample_rate=RATE, num_mel=23)
    feats = kaldi_feats(np.zeros(4000, np.float32), spec)
    np.testing.assert_allclose(feats, np.log(np.finfo(np.float32).eps))


def test_dither_depends_on_the_seed_only() -> None:
    spec = FeatureSpec(sample_rate=RATE, num_mel=23, dither=1.0)
    samples = np.zeros(40000, np.float32)
    first = kaldi_feats(samples, spec, seed=1)
    np.testing.assert_array_equal(first, kaldi_feats(samples, spec, seed=1))
    assert np.abs(first - kaldi_feats(samples, spec, seed=2)).max() > 0.1
    # Noise of 1 step: Σ (w·e)² of the pre-emphasised noise, spread over the transform.
    plain = FeatureSpec(sample_rate=RATE, num_mel=23)
    noise = np.random.default_rng(5).standard_normal(40000).astype(np.float32) / 32768
    expected = np.exp(kaldi_feats(noise, plain)).mean(axis=0)
    np.testing.assert_allclose(np.exp(first).mean(axis=0), expected, rtol=0.25)


def test_each_filter_peaks_at_its_centre() -> None:
    spec = FeatureSpec(sample_rate=16000, num_mel=10, low_freq=0)
    filters = mel_filters(spec, 4096)
    mel = 1127 * np.log1p(8000 / 700) / 11 * np.arange(1, 11)
    centres = 700 * np.expm1(mel / 1127)
    np.testing.assert_allclose(filters.argmax(axis=0) * 16000 / 4096, centres, atol=4)
    assert (filters[-1] == 0).all()
    # Between the first and the last centre the triangles of neighbours add up to one.
    inner = (np.arange(2049) * 16000 / 4096 > centres[0]) & (
        np.arange(2049) * 16000 / 4096 < centres[-1]
    )
    np.testing.assert_allclose(filters[inner].sum(axis=1), 1, atol=1e-5)
