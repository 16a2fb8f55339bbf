"""Speech synthesis by espeak-ng, from the PyPI package espeakng-loader.

What espeak-ng says depends on what it said before, so that each utterance is said by a fresh fork
of a process that only loaded it (`espeak_process`): the same request gives the same samples every
time. That process is small, since a fork takes the longer the more memory there is: 17 ms of a
process with torch, 4 ms of one without.
"""

import json
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import AsrKdError

RATE = 22050
"""Samples per second of espeak-ng's voices."""


class Voice(NamedTuple):
    """A voice of espeak-ng and how it speaks.

    Attributes:
        name: accent and variant, like `en-us+f3`. An unknown accent is an error; an unknown variant
            is not, espeak-ng takes the accent's plain voice.
        pitch: 0-100, the voice's own is 50.
        range: of the pitch, 0-100, the voice's own is 50.
        rate: words a minute, 80-450.
    """

    name: str
    pitch: int
    range: int
    rate: int


def installed_version() -> str:
    """Version of espeakng-loader, on which the samples depend.

    Raises:
        AsrKdError: if it is not installed.
    """
    try:
        return version("espeakng-loader")
    except PackageNotFoundError:
        raise AsrKdError(
            "the built-in corpus needs espeak-ng, which is not installed; in the folder of asr_kd: "
            "pip install -e '.[synth]'"
        ) from None


def say(text: str, voice: Voice) -> NDArray[np.int16]:
    """Speaks a text.

    Args:
        text: plain text; phonemes may stand in `[[...]]`.
        voice: who says it.

    Returns:
        Samples at `RATE`, (N,); the same for the same arguments, whatever was said before.

    Raises:
        AsrKdError: if espeak-ng cannot start or has no such voice.
    """
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([text, *voice]).encode() + b"\n")
    process.stdin.flush()
    size = process.stdout.read(4)
    if len(size) < 4:
        raise AsrKdError("espeak-ng: its process died")
    samples = process.stdout.read(int.from_bytes(size, "little"))
    if not samples:
        raise AsrKdError(f"espeak-ng: could not say {text!r} as {voice.name!r}: no such voice?")
    return np.frombuffer(samples, "<i2")


@cache
def _process() -> subprocess.Popen[bytes]:
    """The process that speaks; it ends when its standard input is closed, so with this one."""
    import espeakng_loader

    command = [sys.executable, "-m", "asr_kd.data.espeak_process"]
    library, folder = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    process = subprocess.Popen(
        [*command, str(library), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    rate = int.from_bytes(process.stdout.read(4), "little")
    if rate != RATE:
        raise AsrKdError(f"espeak-ng: cannot start with the data in {folder}")
    return process
