"""The process behind `espeak.say`: loads espeak-ng and forks for each utterance.

Usage: `python -m asr_kd.data.espeak_process LIBRARY FOLDER`. First the sampling rate goes to
standard output as a 4-byte integer. Then for each line of standard input, a JSON list of text,
voice, pitch, range and rate, come a 4-byte number of bytes and the 16-bit samples, none where
espeak-ng failed.
"""

import ctypes
import json
import os
import signal
import sys
import zlib
from typing import Any

# Names and values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARS_UTF8, _PHONEMES = 1, 0x100
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_HALF_VOLUME = 50  # at the default of 100 some voices clip


def main(library_path: str, folder: str) -> None:
    """Answers requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    library = ctypes.CDLL(library_path)
    rate = library.espeak_Initialize(
        _AUDIO_OUTPUT_SYNCHRONOUS, 0, folder.encode(), _INITIALIZE_DONT_EXIT
    )
    _write(max(0, rate).to_bytes(4, "little"))
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                samples = speak(library, *json.loads(line))
                _write(len(samples).to_bytes(4, "little") + samples)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1]:
            _write(bytes(4))


def speak(library: Any, text: str, voice: str, pitch: int, pitch_range: int, rate: int) -> bytes:
    """Speaks in this process, which must not be used again; no samples for an unknown voice."""
    # An unknown voice is not an error to espeak-ng: it goes on with the one before.
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        return b""
    # The breath of a voice is noise, from a generator that is otherwise seeded by the clock, and in
    # Klatt voices from the C library's.
    seed = zlib.crc32(f"{voice} {text}".encode())
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    library.srand(ctypes.c_uint(seed))
    for parameter, value in (
        (_RATE, rate), (_VOLUME, _HALF_VOLUME), (_PITCH, pitch), (_RANGE, pitch_range)
    ):  # fmt: skip
        library.espeak_SetParameter(parameter, value, 0)
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


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
