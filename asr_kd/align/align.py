"""The stage `align`: the label of every frame, by any trained acoustic model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from pydantic import NonNegativeFloat, PositiveInt

from asr_kd.align.folder import Scores, align_shard, publish_alignment
from asr_kd.align.viterbi import Aligner, SearchConfig
from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.scorer import Scorer
from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.models.description import model_hash
from asr_kd.search.stages import with_transitions
from asr_kd.shards import run_shards, split


class AlignConfig(Config):
    """Configuration of the verb `align`.

    Attributes:
        search: beams and scales.
        prior_scale: weight of the log prior that is taken off a network's log-posteriors.
        mean: how several networks' posteriors are averaged, arithmetic or geometric.
        shard_size: utterances aligned between two marks of progress.
    """

    search: SearchConfig = SearchConfig()
    prior_scale: NonNegativeFloat = 1.0
    mean: Mean = "arithmetic"
    shard_size: PositiveInt = 100


@dataclass(frozen=True)
class _Setup:
    data: Path
    lang: Path
    models: tuple[str, ...]
    transitions: Path | None
    config: AlignConfig


def align(
    data: Path,
    lang: Path,
    models: Sequence[str],
    out: Path,
    config: AlignConfig,
    *,
    transitions: Path | None = None,
    nj: int = 1,
) -> None:
    """Aligns a feature directory and publishes an alignment folder.

    Args:
        data: feature directory with transcripts.
        lang: output of `prepare-lang`.
        models: a GMM folder, or one or more networks; `MODEL` or `MODEL=FEATURE_DIRECTORY`.
        out: alignment folder.
        config: search and scales.
        transitions: alignment folder whose transition probabilities are used; without it a GMM's
            own, and for networks those of the language folder.
        nj: local processes.

    Raises:
        InputError: for faults of the inputs, all together, before any work; or if nothing can be
            aligned. Single utterances that cannot be are skipped, counted and named.
    """
    if transitions is None and len(models) == 1 and (Path(models[0]) / "topo.json").is_file():
        transitions = Path(models[0])
    inputs: dict[str, Path | str] = {"data": data, "lang": lang}
    inputs |= {f"model{i}": model_hash(model) for i, model in enumerate(models)}
    if transitions is not None:
        inputs["transitions"] = transitions
    artefact = Artefact(out, "align", config_dict(config), inputs)
    if artefact.is_done():
        return
    setup = _Setup(data, lang, tuple(models), transitions, config)
    utt_ids = DataDir.read(data, require=("feats", "text")).utt_ids
    _open.cache_clear()  # the files may be others than in this process's last call
    aligner, _ = _open(setup)  # finds every fault of the inputs before work begins
    work = artefact.begin()
    shards = split(utt_ids, config.shard_size)
    func = partial(align_shard, partial(_open, setup), work, artefact.path)
    facts = run_shards(work, func, shards, nj, "align", [len(s) for s in shards])
    if facts is not None:
        publish_alignment(artefact, aligner.lang, facts)


@lru_cache(maxsize=1)
def _open(setup: _Setup) -> tuple[Aligner, Scores]:
    """The aligner and the scorer of this process, made at its first call."""
    faults: list[str] = []
    data = DataDir.read(setup.data, require=("feats", "text"))
    lang = Lang.read(setup.lang)
    lang = with_transitions(lang, setup.transitions, str(setup.lang))
    try:
        transcripts = lang.encode(data.text, str(setup.data / "text"))
    except InputError as error:
        faults += error.faults
    config = setup.config
    scorer = Scorer.open(
        list(setup.models), setup.data, prior_scale=config.prior_scale, mean=config.mean
    )
    try:
        lang.label_set.require_same(scorer.label_set, str(setup.lang), " ".join(setup.models))
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return Aligner(lang, config.search, transcripts), scorer.loglikes
