"""yesno: one Hebrew speaker says eight words a recording, the file's name is the transcript."""

import re
from pathlib import Path

from pydantic import Field

from asr_kd.config import Config, config_dict
from asr_kd.data.corpora.recordings import Recording, find, publish
from asr_kd.errors import InputError

_WORDS = {"1": "YES", "0": "NO"}
# The words are Hebrew: ken and lo.
# A phone for each whole word, as in Kaldi's recipe: two words are too few to tell their phones from
# the long pauses between them.
_PRONUNCIATIONS = {"YES": ("Y",), "NO": ("N",)}


class YesnoConfig(Config):
    """Options of `asr-kd prepare yesno`."""

    dev_every: int = Field(5, ge=2, description="every n-th training recording goes to dev")


def prepare(corpus: Path | None, out: Path, config: YesnoConfig, nj: int = 1) -> None:
    """Makes data directories of yesno: as in Kaldi's recipe, names that begin with 1 are the test.

    Args:
        corpus: its folder, or the folder `waves_yesno` in it.
        out: where {train,dev,test}/, dict/ and lm_train.txt will stand.
        config: the options.
        nj: not needed, this takes a second.

    Raises:
        InputError: for recordings with other names.
    """
    files = find(corpus, "yesno", "waves_yesno")
    recordings: list[Recording] = []
    num_train = 0
    for file in files:
        if not re.fullmatch(r"[01](_[01])*", file.stem):
            raise InputError(f"{file}: expected a name like 1_0_1_1_0_0_1_0.wav")
        name = "test"
        if file.stem.startswith("0"):
            num_train += 1
            name = "train" if num_train % config.dev_every else "dev"
        words = " ".join(_WORDS[digit] for digit in file.stem.split("_"))
        recordings.append(Recording(name, "speaker", file, words))
    publish(out, {"corpus": "yesno", **config_dict(config)}, recordings, _PRONUNCIATIONS)
