"""The corpora by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr_kd.config import Config
from asr_kd.data.corpora import an4, fsdd, librispeech, mnist, synth, yesno

Prepare = Callable[[Path | None, Path, Any, int], None]

CORPORA: dict[str, tuple[type[Config], Prepare]] = {
    "synth": (synth.SynthConfig, synth.prepare),
    "an4": (an4.An4Config, an4.prepare),
    "fsdd": (fsdd.FsddConfig, fsdd.prepare),
    "librispeech": (librispeech.LibriSpeechConfig, librispeech.prepare),
    "yesno": (yesno.YesnoConfig, yesno.prepare),
    "mnist": (mnist.MnistConfig, mnist.prepare),
}
"""Name → its options and what prepares it (corpus, out, options, nj)."""
