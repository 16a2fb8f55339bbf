"""Agreement with torchaudio's implementation of the same thing, and with librosa itself."""

from typing import Any

import numpy as np
import pytest
import torch
import torchaudio

from asr_kd.features import librosa_mel
from asr_kd.features.librosa_mel import librosa_feats, num_frames
from asr_kd.features.spec import FeatureSpec

SAMPLES = (np.random.default_rng(0).standard_normal(8000 * 7 + 13) * 0.1).astype(np.float32)


def spec(**options: Any) -> FeatureSpec:
    values = {"kind": "librosa", "sample_rate": 8000, "num_mel": 30, "n_fft": 512, **options}
    return FeatureSpec(**values)


@pytest.mark.parametrize("options", [{}, {"power": 1}, {"n_fft": 256, "high_freq": -200.0}])
def test_agrees_with_torchaudio(options: dict[str, Any]) -> None:
    s = spec(**options)
    mel = torchaudio.transforms.MelSpectrogram(
        8000, s.n_fft, s.length, s.shift, s.low_freq, s.top_freq, n_mels=30, power=s.power,
        pad_mode="constant", norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    expected = mel(torch.from_numpy(SAMPLES)).clamp_min(1e-10).log().T.numpy()
    np.testing.assert_allclose(librosa_feats(SAMPLES, s), expected, atol=1e-4)


@pytest.mark.slow
def test_agrees_with_librosa() -> None:
    import librosa

    s = spec(n_fft=401, low_freq=0.0)
    expected = librosa.feature.melspectrogram(
        y=SAMPLES, sr=8000, n_fft=401, hop_length=80, win_length=200, n_mels=30
    )
    np.testing.assert_allclose(librosa_feats(SAMPLES, s), np.log(expected).T, atol=1e-4)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    chunked = librosa_feats(SAMPLES, spec())
    monkeypatch.setattr(librosa_mel, "_CHUNK", 10**6)
    np.testing.assert_allclose(librosa_feats(SAMPLES, spec()), chunked, atol=1e-5)


@pytest.mark.parametrize("num_samples", [0, 1, 79, 80, 81, 600])
def test_number_of_frames(num_samples: int) -> None:
    feats = librosa_feats(SAMPLES[:num_samples], spec())
    assert feats.shape == (num_frames(num_samples, spec()), 30)
    assert num_frames(80, spec()) == 2
    assert np.isfinite(feats).all()


def test_silence_is_floored() -> None:
    feats = librosa_feats(np.zeros(800, np.float32), spec())
    np.testing.assert_allclose(feats, np.log(1e-10), rtol=1e-6)
