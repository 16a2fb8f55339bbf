"""The stage `flat-start`: monophone GMMs from nothing but transcripts, and the first alignment.

Equal stretches of an utterance for all states of its transcript, then Viterbi training: align,
count transitions, re-estimate, split Gaussians, and again.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import PositiveInt

from asr_kd.align.folder import Scores, align_shard, publish_alignment
from asr_kd.align.viterbi import Aligner, SearchConfig
from asr_kd.align.viterbi_training import TrainingConfig, ViterbiTraining
from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import AsrKdError, InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import read_spec
from asr_kd.labels.gmm import DESCRIPTION, GmmModel
from asr_kd.labels.lang import Lang
from asr_kd.labels.topology import Topology
from asr_kd.shards import rank_and_world, run_shards, split


class FlatStartConfig(Config):
    """Configuration of the verb `flat-start`.

    Attributes:
        training: of the GMMs.
        shard_size: utterances of the alignment between two marks of progress.
    """

    training: TrainingConfig = TrainingConfig()
    shard_size: PositiveInt = 100


def flat_start(data: Path, lang: Path, out: Path, config: FlatStartConfig, nj: int = 1) -> None:
    """Trains monophone GMMs and publishes them together with the alignment of their data.

    Args:
        data: feature directory with transcripts.
        lang: output of `prepare-lang`.
        out: folder of gmm.safetensors, gmm.json and an alignment.
        config: training and search.
        nj: local processes of the last alignment.

    Raises:
        InputError: for faults of the inputs, words outside the lexicon among them, all together
            before any work; or if nothing can be aligned. Single utterances that cannot be are
            skipped, counted and named.
    """
    artefact = Artefact(out, "flat-start", config_dict(config), {"data": data, "lang": lang})
    if artefact.is_done():
        return
    language = Lang.read(lang)
    if language.tying is not None:
        raise InputError(
            f"{lang}: a language of tied states, which cannot be trained from nothing: begin with "
            f"the output of `asr-kd prepare-lang`, or with an alignment: `asr-kd train-gmm`"
        )
    train_and_align(artefact, data, lang, config, nj)


def train_and_align(
    artefact: Artefact,
    data: Path,
    lang: Path,
    config: FlatStartConfig,
    nj: int,
    first: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Trains GMMs, aligns their data, and publishes both.

    Args:
        artefact: what is made, not done yet.
        data: feature directory with transcripts.
        lang: language folder.
        config: training and search.
        nj: local processes of the last alignment.
        first: utterance id → pdf-ids (T,) to begin with; without it, equal stretches.

    Raises:
        InputError: as `flat_start`.
    """
    folder = DataDir.read(data, require=("feats", "text"))
    language = Lang.read(lang)
    transcripts = language.encode(folder.text, str(data / "text"))
    reader, spec = FeatureReader(folder, cmvn="speaker"), config_dict(read_spec(data))
    _open.cache_clear()
    work = artefact.begin()
    if rank_and_world()[0] == 0 and not (work / DESCRIPTION).is_file():
        training = ViterbiTraining(
            language, transcripts, reader, folder.num_frames, config.training, first
        )
        training.run()
        training.topology.save(work / "topo.json")
        model = GmmModel(training.gmms, language.label_set, "speaker", config.training.deltas, spec)
        model.save(work)
    _wait_for(work / DESCRIPTION)
    shards = split(folder.utt_ids, config.shard_size)
    func = partial(
        align_shard, partial(_open, data, lang, work, config.training.search), work, artefact.path
    )
    facts = run_shards(work, func, shards, nj, "align", [len(shard) for shard in shards])
    if facts is not None:
        publish_alignment(artefact, language, facts)


@lru_cache(maxsize=1)
def _open(data: Path, lang: Path, work: Path, config: SearchConfig) -> tuple[Aligner, Scores]:
    """This process's aligner by the trained GMMs."""
    folder, language = DataDir.read(data, require=("feats", "text")), Lang.read(lang)
    transcripts = language.encode(folder.text, str(data / "text"))
    language = replace(language, topology=Topology.load(work / "topo.json"))
    model, reader = GmmModel.load(work), FeatureReader(folder, cmvn="speaker")
    aligner = Aligner(language, config, transcripts)
    return aligner, lambda utt_id: model.log_likes(reader[utt_id], aligner.labels(utt_id))


def _wait_for(file: Path) -> None:
    """Lets other processes wait until the first has trained, or has published everything."""
    deadline = time.monotonic() + 24 * 3600
    while file.parent.exists() and not file.is_file():
        if time.monotonic() > deadline:
            raise AsrKdError(f"{file}: process 0 has not made it within a day")
        time.sleep(0.5)
