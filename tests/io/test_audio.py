import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.errors import InputError
from asr_kd.io.audio import audio_info, read_audio, write_flac

RATE = 8000


def ramp(n: int) -> np.ndarray:
    return (np.arange(n) % 1009 - 500).astype(np.int16)


def write(path: Path, samples: np.ndarray, **options: str) -> Path:
    soundfile.write(path, samples, RATE, subtype="PCM_16", **options)
    return path


def sphere(path: Path, samples: np.ndarray) -> Path:
    """By hand after NIST's description, as AN4's files are: big-endian, 1024-byte header."""
    fields = {
        "sample_count": f"-i {len(samples)}",
        "sample_n_bytes": "-i 2",
        "channel_count": "-i 1",
        "sample_byte_format": "-s2 10",
        "sample_rate": f"-i {RATE}",
        "sample_coding": "-s3 pcm",
    }
    header = "NIST_1A\n   1024\n" + "".join(f"{k} {v}\n" for k, v in fields.items()) + "end_head\n"
    path.write_bytes(header.encode().ljust(1024) + samples.astype(">i2").tobytes())
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "sph"])
def test_every_format_reads_the_same_samples(tmp_path: Path, suffix: str) -> None:
    samples = ramp(5000)
    file = tmp_path / f"a.{suffix}"
    if suffix == "sph":
        sphere(file, samples)
    elif suffix == "flac":
        write_flac(file, samples, RATE)
    else:
        write(file, samples)
    read, rate = read_audio(file)
    assert rate == RATE
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read * 32768, samples)
    assert audio_info(file) == (5000, RATE)


def test_a_segment_is_a_slice(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", ramp(8000))
    whole, _ = read_audio(file)
    segment, _ = read_audio(file, 0.25, 0.75)
    np.testing.assert_array_equal(segment, whole[2000:6000])
    overshot, _ = read_audio(file, 0.5, 1.4)
    np.testing.assert_array_equal(overshot, whole[4000:])


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.5), (1.0, 1.2), (-0.1, 1), (0, 2)])
def test_a_segment_outside_is_refused(tmp_path: Path, start: float, end: float) -> None:
    file = write(tmp_path / "a.wav", ramp(8000))
    with pytest.raises(InputError, match=r"a\.wav: segment .* 1\.000 s"):
        read_audio(file, start, end)


def test_a_segment_takes_memory_for_itself_only(tmp_path: Path) -> None:
    file = write(tmp_path / "long.wav", np.zeros(5_000_000, np.int16))
    tracemalloc.start()
    read_audio(file, 300.0, 301.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("suffix", ["wav", "sph", "flac", "mp3"])
def test_truncated_audio_is_named(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(-9000, 9000, 20000).astype(np.int16)
    file = tmp_path / f"a.{suffix}"
    if suffix == "sph":
        sphere(file, noise)
    else:
        soundfile.write(file, noise, RATE)
    file.write_bytes(file.read_bytes()[: 2 * len(file.read_bytes()) // 3])
    with pytest.raises(InputError, match=rf"a\.{suffix}: truncated"):
        read_audio(file)


def test_a_wav_with_an_odd_chunk_before_its_data_is_whole(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", ramp(100)).read_bytes()
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    cut = data.index(b"data")
    body = data[8:cut] + extra + data[cut:]
    (tmp_path / "b.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav")[0] * 32768, ramp(100))
    (tmp_path / "c.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:-2])
    with pytest.raises(InputError, match="truncated"):
        read_audio(tmp_path / "c.wav")


def test_a_wav_that_was_written_into_a_pipe_tells_no_length(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.wav", ramp(100)).read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 100


def test_empty_audio_is_named(tmp_path: Path) -> None:
    write(tmp_path / "no_samples.wav", ramp(0))
    (tmp_path / "no_bytes.wav").touch()
    (tmp_path / "junk.wav").write_bytes(b"RIFF\0\0\0\0WAVEjunk")
    for name in ("no_samples.wav", "no_bytes.wav", "junk.wav", "absent.wav"):
        for read in (read_audio, audio_info):
            with pytest.raises(InputError, match=name):
                read(tmp_path / name)


def test_two_channels_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.stack([ramp(100)] * 2, axis=1))
    with pytest.raises(InputError, match=r"a\.wav: 2 channels"):
        read_audio(tmp_path / "a.wav")


def test_a_pipe_is_run_only_where_allowed(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", ramp(100))
    command = f"touch {tmp_path}/ran; cat {file} |"
    with pytest.raises(InputError, match="--allow-pipes"):
        read_audio(command)
    assert not (tmp_path / "ran").exists()
    samples, _ = read_audio(command, allow_pipes=True)
    np.testing.assert_array_equal(samples * 32768, ramp(100))
    with pytest.raises(InputError, match="exit status 3"):
        read_audio("exit 3 |", allow_pipes=True)
