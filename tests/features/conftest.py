"""Speech where there is any, and small data directories."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table

Floats = NDArray[np.float32]
RATE = 8000


@pytest.fixture(scope="session")
def real_speech(shared_data: Path) -> Floats:
    """42 seconds of all FSDD speakers and digits, 8 kHz."""
    files = sorted((shared_data / "fsdd/recordings").glob("*.wav"))[::30]
    return np.concatenate([soundfile.read(f, dtype="float32")[0] for f in files])


@pytest.fixture
def data_dir(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data directory of recordings, and returns its folder."""

    def write(waves: dict[str, Floats], name: str = "data", rate: int = RATE) -> Path:
        folder = tmp_path / name
        sound = folder / "wav"
        sound.mkdir(parents=True)
        for utt_id, wave in waves.items():
            soundfile.write(sound / f"{utt_id}.wav", wave, rate, subtype="PCM_16")
        write_table(folder / "wav.scp", {utt: str(sound / f"{utt}.wav") for utt in waves})
        write_table(folder / "utt2spk", {utt: utt.split("-")[0] for utt in waves})
        write_table(folder / "text", dict.fromkeys(waves, "one two"))
        return folder

    return write


@pytest.fixture
def external_dir(tmp_path: Path) -> Callable[..., Path]:
    """Writes a data directory of ready-made features, as Kaldi would."""

    def write(feats: dict[str, Floats], name: str = "external") -> Path:
        folder = tmp_path / name
        with ArkWriter(folder / "raw.ark") as ark:
            for utt_id, matrix in feats.items():
                ark.write(utt_id, matrix.astype(np.float32))
        write_table(folder / "feats.scp", ark.scp)
        write_table(folder / "utt2spk", {utt: utt.split("-")[0] for utt in feats})
        return folder

    return write
