"""Speech synthesis by espeak-ng, from the PyPI package espeakng-loader, through ctypes.

What espeak-ng says depends on what it said before. So this process only loads it, and each
utterance is said by a fork of its own; the same request then gives the same samples every time.
"""

import ctypes
import os
import zlib
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import AsrKdError

RATE = 22050
"""Samples per second of espeak-ng's voices."""

# Names and values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_PARAMETER_RATE, _PARAMETER_VOLUME, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 2, 3, 4
_VOLUME = 50  # at its default of 100 some voices clip
_CHARS_UTF8, _PHONEMES = 1, 0x100
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Voice(NamedTuple):
    """A voice of espeak-ng and how it speaks.

    Attributes:
        name: accent and variant, like `en-us+f3`.
        pitch: 0-100, the voice's own is 50.
        range: of the pitch, 0-100, the voice's own is 50.
        rate: words a minute, 80-450.
    """

    name: str
    pitch: int
    range: int
    rate: int


def say(text: str, voice: Voice) -> NDArray[np.int16]:
    """Speaks a text.

    Args:
        text: plain text; phonemes may stand in `[[...]]`.
        voice: who says it.

    Returns:
        Samples at `RATE`, (N,); the same for the same arguments, whatever was said before.

    Raises:
        AsrKdError: if espeakng-loader is not installed, or espeak-ng has no such voice.
    """
    library = _load()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(_speak(library, text, voice))
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's may be flushed or closed twice
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        samples = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not samples:
        raise AsrKdError(f"espeak-ng: could not say {text!r} as {voice.name!r}: no such voice?")
    return np.frombuffer(samples, np.int16)


@cache
def _load() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise AsrKdError(
            "the built-in corpus needs espeak-ng, which is not installed: pip install asr-kd[synth]"
        ) from None
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    folder = str(espeakng_loader.get_data_path()).encode()
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, folder, _INITIALIZE_DONT_EXIT)
    if rate != RATE:
        raise AsrKdError(f"espeak-ng: cannot start with the data in {folder.decode()} ({rate})")
    return library


def _speak(library: Any, text: str, voice: Voice) -> bytes:
    """Speaks in this process, which is never used again."""
    # An unknown voice is not an error to espeak-ng: it goes on with the one before.
    if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
        raise AsrKdError(f"espeak-ng: no voice {voice.name!r}")
    # The breath of a voice is noise, from a generator that is otherwise seeded by the clock, and in
    # Klatt voices from the C library's.
    seed = zlib.crc32(f"{text} {voice}".encode())
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    library.srand(ctypes.c_uint(seed))
    library.espeak_SetParameter(_PARAMETER_RATE, voice.rate, 0)
    library.espeak_SetParameter(_PARAMETER_VOLUME, _VOLUME, 0)
    library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
    library.espeak_SetParameter(_PARAMETER_RANGE, voice.range, 0)
    pieces: list[bytes] = []

    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            pieces.append(ctypes.string_at(samples, count * 2))
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _CHARS_UTF8 | _PHONEMES, None, None)
    library.espeak_Synchronize()
    return b"".join(pieces)
