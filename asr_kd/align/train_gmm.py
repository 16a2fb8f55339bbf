"""The stage `train-gmm`: GMMs of a language's labels, tied or not, from an alignment."""

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from asr_kd.align.flat_start import FlatStartConfig, train_and_align
from asr_kd.align.viterbi_training import TrainingConfig
from asr_kd.artefact import Artefact
from asr_kd.config import config_dict
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.labels.lang import Lang
from asr_kd.labels.priors import read_ali_labels


class RealignmentConfig(TrainingConfig):
    """How GMMs are trained that begin with an alignment: it is good already, and renewed rarely."""

    gaussians: PositiveInt = 5000
    iterations: PositiveInt = 35
    growing: NonNegativeInt = 25
    realign_always: NonNegativeInt = 0
    realign_every: PositiveInt = 10


class TrainGmmConfig(FlatStartConfig):
    """Configuration of the verb `train-gmm`."""

    training: RealignmentConfig = RealignmentConfig()


def train_gmm(
    data: Path, lang: Path, ali: Path, out: Path, config: TrainGmmConfig, nj: int = 1
) -> None:
    """Trains GMMs and publishes them together with the new alignment of their data.

    Args:
        data: feature directory with transcripts.
        lang: language folder, of `build-tree` or `prepare-lang`.
        ali: alignment with its labels; utterances that it lacks are not trained on.
        out: folder of gmm.safetensors, gmm.json and an alignment.
        config: training and search.
        nj: local processes of the last alignment.

    Raises:
        InputError: for faults of the inputs, before any work, an alignment with other labels among
            them; for alignments of another length than the features; or if nothing can be aligned.
    """
    inputs = {"data": data, "lang": lang, "ali": ali}
    artefact = Artefact(out, "train-gmm", config_dict(config), inputs)
    if artefact.is_done():
        return
    try:
        Lang.read(lang).label_set.require_same(read_ali_labels(ali), str(lang), str(ali))
    except InputError as error:
        hint = "for the labels of another tree, or of none, see `asr-kd convert-ali`"
        raise InputError([*error.faults, hint]) from None
    train_and_align(artefact, data, lang, config, nj, Archive.read(ali / "ali.scp"))
