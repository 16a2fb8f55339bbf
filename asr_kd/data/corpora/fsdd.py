"""Free Spoken Digit Dataset: one digit a recording, `{digit}_{speaker}_{index}.wav`."""

import re
from pathlib import Path

from pydantic import Field

from asr_kd.config import Config, config_dict
from asr_kd.data.corpora.recordings import Recording, find, publish
from asr_kd.data.corpora.resources import DIGITS
from asr_kd.errors import InputError

_OFFICIAL_TEST = range(5)


class FsddConfig(Config):
    """Options of `asr-kd prepare fsdd`."""

    leave_out: str | None = Field(
        None, description="test on this speaker alone; default: the official test, index 0-4"
    )
    dev_indices: tuple[int, int] = Field(
        (5, 9), description="first and last index of dev, of the speakers that are trained on"
    )


def prepare(corpus: Path | None, out: Path, config: FsddConfig, nj: int = 1) -> None:
    """Makes data directories of FSDD.

    Args:
        corpus: its folder, or the folder `recordings` in it.
        out: where {train,dev,test}/, dict/ and lm_train.txt will stand.
        config: the options.
        nj: not needed, this takes a second.

    Raises:
        InputError: for recordings with other names, or a speaker who is not there.
    """
    files = find(corpus, "fsdd", "recordings")
    words = list(DIGITS)
    recordings, faults = [], []
    for file in files:
        match = re.fullmatch(r"(\d)_([^_-]+)_(\d+)", file.stem)
        if match is None:
            faults.append(f"{file}: expected a name like 3_jackson_17.wav")
            continue
        speaker, index = match[2], int(match[3])
        name = _set_of(speaker, index, config)
        recordings.append(Recording(name, speaker, file, words[int(match[1])]))
    speakers = sorted({recording.speaker for recording in recordings})
    if config.leave_out is not None and config.leave_out not in speakers:
        faults.append(f"leave_out={config.leave_out}: the speakers are {', '.join(speakers)}")
    if faults:
        raise InputError(faults)
    publish(out, {"corpus": "fsdd", **config_dict(config)}, recordings, DIGITS)


def _set_of(speaker: str, index: int, config: FsddConfig) -> str:
    left_out = speaker == config.leave_out
    if left_out or (config.leave_out is None and index in _OFFICIAL_TEST):
        return "test"
    first, last = config.dev_indices
    return "dev" if first <= index <= last else "train"
