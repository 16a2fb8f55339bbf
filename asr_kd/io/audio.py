"""Audio in and out, by libsndfile (WAV, FLAC, NIST SPHERE, ...), one channel."""

import io
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.atomic import replacing

MAX_OVERSHOOT = 0.5
"""Seconds by which a segment may end behind its recording; Kaldi's extract-segments allows it."""

# Programs that write WAV into a pipe put about 2 or 4 GB in the header, since they do not know.
_UNKNOWN_BYTES = 0x7FFFF000
_UNKNOWN_FRAMES = 1 << 40


class AudioInfo(NamedTuple):
    """What the header of a recording says: length in samples, and samples per second."""

    num_samples: int
    rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.num_samples / self.rate


def is_pipe(source: str | Path) -> bool:
    """Whether an entry of wav.scp is a command (`sph2pipe … |`) rather than a file."""
    return str(source).rstrip().endswith("|")


def audio_info(path: str | Path) -> AudioInfo:
    """Length and rate of a file, from its header.

    Raises:
        InputError: naming the file, if it is missing, empty, truncated, of several channels or of
            no known format.
    """
    with _open(path, False) as file:
        return AudioInfo(file.frames, file.samplerate)


def read_audio(
    source: str | Path, start: float = 0.0, end: float | None = None, allow_pipes: bool = False
) -> tuple[NDArray[np.float32], int]:
    """Reads a recording, or a segment of it with memory for the segment only.

    Args:
        source: a file, or with `allow_pipes` a shell command ending in `|` that prints one.
        start: seconds from the beginning.
        end: seconds; None means the end. Up to `MAX_OVERSHOOT` behind the end is cut off.
        allow_pipes: whether commands are run.

    Returns:
        Samples in [-1, 1], (N,) float32, and samples per second.

    Raises:
        InputError: naming the file, if it is missing, empty, truncated, of several channels or of
            no known format, or if the segment is empty or not inside the recording.
    """
    with _open(source, allow_pipes) as file:
        rate: int = file.samplerate
        last = file.frames if end is None else round(end * rate)
        first = round(start * rate)
        if not 0 <= first < min(last, file.frames) or last > file.frames + MAX_OVERSHOOT * rate:
            raise InputError(
                f"{source}: segment {start:.3f}-{last / rate:.3f} s is empty or not inside the "
                f"recording of {file.frames / rate:.3f} s"
            )
        wanted = min(last, file.frames) - first
        try:
            file.seek(first)
            samples = file.read(wanted, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise InputError(f"{source}: truncated or corrupt audio: {error}") from None
    if len(samples) < wanted:
        raise InputError(
            f"{source}: truncated audio: ends after {len(samples)} of {wanted} samples from "
            f"{start:.3f} s on"
        )
    return samples, rate


def resample(
    samples: NDArray[np.float32], rate: int, wanted: int, speed: float = 1.0
) -> NDArray[np.float32]:
    """Samples (N,) at `rate` Hz -> N·wanted/(rate·speed) at `wanted` Hz, rounded up, band-limited.

    Args:
        samples: the sound.
        rate, wanted: samples per second.
        speed: how fast it is played, of three decimals at most; pitch and formants go with it.
    """
    import torch
    from torchaudio.functional import resample as convert

    ratio = Fraction(wanted, rate) / Fraction(round(1000 * speed), 1000)
    converted: NDArray[np.float32] = convert(
        torch.from_numpy(samples), ratio.denominator, ratio.numerator
    ).numpy()
    return converted


def write_flac(path: Path, samples: NDArray[np.int16], rate: int) -> None:
    """Writes 16-bit samples, (N,), as FLAC, atomically."""
    with replacing(path) as temporary:
        soundfile.write(temporary, samples, rate, subtype="PCM_16", format="FLAC")


def _open(source: str | Path, allow_pipes: bool) -> Any:
    if is_pipe(source):
        if not allow_pipes:
            raise InputError(f"{source}: a pipe is not run without --allow-pipes")
        return _checked(source, _run(str(source)))
    try:
        with Path(source).open("rb") as file:
            _refuse_truncated(source, file)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
    return _checked(source, source)


def _run(command: str) -> io.BytesIO:
    done = subprocess.run(
        command.rstrip().removesuffix("|"), shell=True, capture_output=True, check=False
    )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise InputError(f"{command}: exit status {done.returncode}: {message}")
    return io.BytesIO(done.stdout)


def _checked(source: str | Path, opened: str | Path | io.BytesIO) -> Any:
    try:
        file = soundfile.SoundFile(opened)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{source}: empty, corrupt or unknown audio: {error}") from None
    fault = None
    if file.channels != 1:
        fault = f"{file.channels} channels; expected one: extract the channel you want"
    elif file.frames == 0:
        fault = "empty audio: no samples"
    elif file.frames >= _UNKNOWN_FRAMES:
        fault = "its header does not tell its length; write it to a file again"
    if fault:
        file.close()
        raise InputError(f"{source}: {fault}")
    return file


def _refuse_truncated(source: str | Path, file: BinaryIO) -> None:
    """libsndfile silently takes what is there of a WAV or SPHERE file that was cut off."""
    needed = None
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(1024)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        needed = _end_of_wav_data(file)
    elif head[:8] == b"NIST_1A\n":
        needed = _end_of_sphere_data(head)
    if needed is not None and size < needed:
        raise InputError(f"{source}: truncated audio: {size} bytes, its header promises {needed}")


def _end_of_wav_data(file: BinaryIO) -> int | None:
    position = 12
    while True:
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            return position + 8 + length if length < _UNKNOWN_BYTES else None
        position += 8 + length + length % 2


def _end_of_sphere_data(head: bytes) -> int | None:
    lines = [line.split(maxsplit=2) for line in head.decode("latin-1").split("\n")]
    fields = {parts[0]: parts[2].strip() for parts in lines if len(parts) == 3}
    header = lines[1][0] if len(lines) > 1 and lines[1] else ""
    sizes = [header, *(fields.get(k, "") for k in ("sample_count", "sample_n_bytes"))]
    if not all(text.isdigit() for text in sizes) or "," in fields.get("sample_coding", ""):
        return None  # compressed (`pcm,embedded-shorten`): libsndfile will refuse it
    samples = int(sizes[1]) * int(sizes[2]) * int(fields.get("channel_count", "1"))
    return int(header) + samples
