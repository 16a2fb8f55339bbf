"""Speed, memory and accuracy of our log-mel beside its peers; prints a table.

    python tools/bench_features.py [--corpus DIR_OF_AUDIO] [--repeats 5]

80 filters, 25/10 ms, 16 kHz, no dither, one thread. Times are CPU seconds, the least of several
interleaved rounds. Memory is what a process needs beyond samples and features, for five minutes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from asr_kd.features.extract import extract
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.audio import read_audio, resample

Floats = NDArray[np.float32]
RATE = 16000
SECONDS = 12  # of an utterance
SPEC = FeatureSpec(sample_rate=RATE, num_mel=80)
LIBROSA = FeatureSpec(kind="librosa", sample_rate=RATE, num_mel=80, n_fft=512)


def ours(samples: Floats) -> Floats:
    return extract(samples, SPEC)


def ours_librosa(samples: Floats) -> Floats:
    return extract(samples, LIBROSA)


def torchaudio_kaldi(samples: Floats) -> Floats:
    import torch
    from torchaudio.compliance import kaldi

    torch.set_num_threads(1)
    scaled = torch.from_numpy(samples)[None] * 32768
    return kaldi.fbank(scaled, num_mel_bins=80, dither=0.0, sample_frequency=RATE).numpy()


def kaldi_native_fbank(samples: Floats) -> Floats:
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = RATE, 0.0
    options.mel_opts.num_bins = 80
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, (samples * 32768).tolist())
    fbank.input_finished()
    return np.array([fbank.get_frame(t) for t in range(fbank.num_frames_ready)])


def librosa_mel(samples: Floats) -> Floats:
    import librosa

    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=512, hop_length=160, win_length=400, n_mels=80, fmin=20
    )
    return np.log(np.maximum(mel, 1e-10)).T


ROWS: dict[str, Callable[[Floats], Floats]] = {
    "torchaudio.compliance.kaldi": torchaudio_kaldi,
    "asr_kd fbank": ours,
    "kaldi-native-fbank": kaldi_native_fbank,
    "librosa melspectrogram": librosa_mel,
    "asr_kd librosa": ours_librosa,
}
KALDI = ("torchaudio.compliance.kaldi", "asr_kd fbank", "kaldi-native-fbank")


def utterances(corpus: Path | None, count: int) -> list[Floats]:
    """Utterances of 12 seconds: recordings joined up, or noise with the shape of speech."""
    wanted = count * SECONDS * RATE
    if corpus is None:
        rng = np.random.default_rng(0)
        loudness = np.clip(np.sin(np.arange(wanted) / RATE * 9), 0.001, None)
        noise = np.convolve(rng.standard_normal(wanted), np.ones(8) / 8, "same")
        joined = (0.1 * loudness * noise).astype(np.float32)
    else:
        parts: list[Floats] = []
        for file in sorted(f for f in corpus.rglob("*") if f.suffix in (".wav", ".flac", ".sph")):
            samples, rate = read_audio(file)
            parts.append(resample(samples, rate, RATE))
            if sum(map(len, parts)) > wanted:
                break
        joined = np.concatenate(parts)
    joined = (np.round(joined * 32767) / 32768).astype(np.float32)  # as a file of 16 bits holds it
    size = SECONDS * RATE
    return [joined[i : i + size] for i in range(0, len(joined) - size + 1, size)][:count]


def cpu_seconds(waves: list[Floats], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(repeats + 1):  # the first round warms up
        for name, compute in ROWS.items():
            start = time.process_time()
            for wave in waves:
                compute(wave)
            times[name].append(time.process_time() - start)
    return {name: min(rounds[1:]) for name, rounds in times.items()}


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def extra_memory(name: str, wave: Floats, seconds: int) -> int:
    """Peak of resident bytes beyond samples and features; run in a process of its own."""
    ROWS[name](wave[: 2 * RATE])  # imports and tables
    long = np.tile(wave, seconds // SECONDS)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    feats = ROWS[name](long)
    return _memory("VmHWM") - before - feats.nbytes


def segments_memory(wave: Floats, minutes: int) -> int:
    """Peak of resident bytes while a long file is read in segments of 12 seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "long.wav"
        with soundfile.SoundFile(file, "w", RATE, 1) as out:
            for _ in range(minutes * 60 // SECONDS):
                out.write(wave)
        extract(read_audio(file, 0, SECONDS)[0], SPEC)
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        for start in range(0, minutes * 60, SECONDS):
            extract(read_audio(file, start, start + SECONDS)[0], SPEC)
        return _memory("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="folder of audio; synthetic without")
    parser.add_argument("--utterances", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    waves = utterances(options.corpus, options.utterances)
    seconds = cpu_seconds(waves, options.repeats)
    exact = np.concatenate([kaldi_native_fbank(w) for w in waves])
    context = get_context("spawn")
    title = f"{len(waves)} utterances of {SECONDS} s ({options.corpus or 'synthetic'}), one thread"
    table = Table("", "x torchaudio", "x real time", "extra MB", "max diff", "mean diff",
                  title=title)  # fmt: skip
    for name, compute in ROWS.items():
        with ProcessPoolExecutor(1, context) as alone:
            extra = alone.submit(extra_memory, name, waves[0], 300).result()
        differences = ["-", "-"]
        if name in KALDI:
            error = np.abs(np.concatenate([compute(w) for w in waves]) - exact)
            differences = [f"{error.max():.1e}", f"{error.mean():.1e}"]
        speed = seconds["torchaudio.compliance.kaldi"] / seconds[name]
        real_time = len(waves) * SECONDS / seconds[name]
        table.add_row(name, f"{speed:.2f}", f"{real_time:,.0f}", f"{extra / 1e6:.1f}", *differences)
    Console(width=100).print(table)
    for minutes in (1, 60):
        with ProcessPoolExecutor(1, context) as alone:
            extra = alone.submit(segments_memory, waves[0], minutes).result()
        print(f"a file of {minutes} minutes in segments of {SECONDS} s: {extra / 1e6:.1f} MB")


if __name__ == "__main__":
    # Libraries read the number of threads when they are loaded.
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    if single.items() <= os.environ.items():
        main()
    else:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **single})
