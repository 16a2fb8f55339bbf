"""The stage `export-loglikes`: scores for Kaldi's decoders, as archives of matrices."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, PositiveInt

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.scorer import Scorer, scorer_digest
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.shards import run_shards, split

SCP = "loglikes.scp"
_logger = logging.getLogger("asr_kd.decode")


class LoglikesConfig(Config):
    """Configuration of the verb `export-loglikes`.

    Attributes:
        prior_scale: weight of the log prior that is taken off a network's log-posteriors; None:
            1, of CTC's tokens 0.
        mean: how several networks' posteriors are averaged, arithmetic or geometric.
        shard_size: utterances of an archive.
    """

    prior_scale: NonNegativeFloat | None = None
    mean: Mean = "arithmetic"
    shard_size: PositiveInt = 1000


@dataclass(frozen=True)
class _Setup:
    models: tuple[str, ...]
    data: Path
    config: LoglikesConfig


def export_loglikes(
    models: Sequence[str], data: Path, out: Path, config: LoglikesConfig, nj: int = 1
) -> None:
    """Publishes `loglikes.K.ark` and `loglikes.scp`: a float32 matrix (T, V) for each utterance.

    Column i is label i: with labels of `import-kaldi`, pdf-id i. Scores are not scaled, as Kaldi's
    decoders expect them, and have no term of the frame taken off.

    Args:
        models: a GMM folder, or one or more networks; `MODEL` or `MODEL=FEATURE_DIRECTORY`.
        data: feature directory.
        out: folder to publish.
        config: scales.
        nj: local processes.

    Raises:
        InputError: for faults of the inputs, before any work.
    """
    inputs: dict[str, Path | str] = {"data": data}
    inputs |= {f"model{i}": scorer_digest(model, data) for i, model in enumerate(models)}
    artefact = Artefact(out, "export-loglikes", config_dict(config), inputs)
    if artefact.is_done():
        return
    setup = _Setup(tuple(models), data, config)
    utt_ids = DataDir.read(data, require=("feats",)).utt_ids
    _open.cache_clear()
    label_set = _open(setup).label_set
    work = artefact.begin()
    shards = split(utt_ids, config.shard_size)
    func = partial(_export_shard, setup, work, artefact.path)
    facts = run_shards(work, func, shards, nj, "export-loglikes", [len(s) for s in shards])
    if facts is None:
        return
    write_table(work / SCP, {utt: at for fact in facts for utt, at in fact["entries"].items()})
    label_set.save(work / "labels.json")
    frames = sum(fact["frames"] for fact in facts)
    artefact.publish({"utterances": len(utt_ids), "frames": frames, "labels": len(label_set)})
    _logger.info("log-likelihoods of %d utterances, %d frames, %d labels",
                 len(utt_ids), frames, len(label_set))  # fmt: skip


@lru_cache(maxsize=1)
def _open(setup: _Setup) -> Scorer:
    config = setup.config
    return Scorer.open(setup.models, setup.data, prior_scale=config.prior_scale, mean=config.mean)


def _export_shard(
    setup: _Setup, work: Path, published: Path, number: int, utt_ids: Sequence[str]
) -> Mapping[str, Any]:
    scorer, frames = _open(setup), 0
    name = f"loglikes.{number + 1}.ark"
    with ArkWriter(work / name, published=published / name) as writer:
        for utt_id in utt_ids:
            loglikes = scorer.loglikes(utt_id)
            if not bool((abs(loglikes) < float("inf")).all()):
                raise InputError(f"{utt_id}: a score is NaN or infinite; Kaldi could not use it")
            writer.write(utt_id, loglikes)
            frames += len(loglikes)
    return {"entries": writer.scp, "frames": frames}
