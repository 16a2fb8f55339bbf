"""The alignment folder: its shards, and what is gathered from them."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.align.viterbi import Aligner
from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.labels.lang import Lang
from asr_kd.labels.priors import write_priors

Scores = Callable[[str], NDArray[np.float32]]
_logger = logging.getLogger("asr_kd.align")
_SHOWN = 20


def align_shard(
    open_system: Callable[[], tuple[Aligner, Scores]],
    work: Path,
    published: Path,
    k: int,
    utt_ids: Sequence[str],
) -> dict[str, Any]:
    """Aligns some utterances into one archive; one shard's work.

    Args:
        open_system: picklable; makes the aligner and the function that scores an utterance.
        work: where archives are written.
        published: where they will stand.
        k: number of the shard.
        utt_ids: its utterances.

    Returns:
        `entries`: utterance id → place in the archive; `failed`: utterance id → reason;
        `retried`: count; `steps`: [pdf-id, next pdf-id or -1, count] triples.
    """
    aligner, scores = open_system()
    failed: dict[str, str] = {}
    steps: Counter[tuple[int, int]] = Counter()
    retried = 0
    name = f"ali.{k}.ark"
    with ArkWriter(work / name, published=published / name) as writer:
        for utt_id in utt_ids:
            aligned = aligner.align(utt_id, scores(utt_id))
            retried += aligned.retried
            if aligned.pdf_ids is None:
                failed[utt_id] = aligned.reason
                continue
            writer.write(utt_id, aligned.pdf_ids)
            steps.update(count_steps(aligned.pdf_ids))
    return {
        "entries": writer.scp,
        "failed": failed,
        "retried": retried,
        "steps": [[a, b, n] for (a, b), n in sorted(steps.items())],
    }


def count_steps(pdf_ids: NDArray[np.int32]) -> dict[tuple[int, int], int]:
    """(pdf-id, pdf-id of the next frame, or -1 at the end) → count."""
    pairs = np.stack([pdf_ids, np.append(pdf_ids[1:], -1)], axis=1)
    values, counts = np.unique(pairs, axis=0, return_counts=True)
    return {(a, b): n for (a, b), n in zip(values.tolist(), counts.tolist(), strict=True)}


def publish_alignment(
    artefact: Artefact,
    lang: Lang,
    facts: Sequence[Mapping[str, Any]],
    info: Mapping[str, Any] | None = None,
) -> None:
    """Gathers the shards' facts and publishes the folder.

    ali.scp, labels.json, priors.json (frames of each label), topo.json (transition probabilities
    counted from this alignment) and failed.txt (utterance id, reason).

    Raises:
        InputError: if not one utterance could be aligned.
    """
    entries = {utt_id: place for fact in facts for utt_id, place in fact["entries"].items()}
    failed = {utt_id: reason for fact in facts for utt_id, reason in fact["failed"].items()}
    steps: Counter[tuple[int, int]] = Counter()
    for fact in facts:
        steps.update({(a, b): n for a, b, n in fact["steps"]})
    report_failures(failed, len(entries) + len(failed))
    if not entries:
        raise InputError([f"{utt_id}: {reason}" for utt_id, reason in failed.items()])
    counts = np.zeros(len(lang.label_set), np.int64)
    for (pdf_id, _), n in steps.items():
        counts[pdf_id] += n
    work = artefact.work
    write_table(work / "ali.scp", entries)
    lang.label_set.save(work / "labels.json")
    write_priors(work, counts.tolist(), lang.label_set)
    if not (work / "topo.json").is_file():  # a flat start's are part of its model
        lang.trained(steps).save(work / "topo.json")
    write_text(work / "failed.txt", "".join(f"{u} {failed[u]}\n" for u in sorted(failed)))
    retried = sum(fact["retried"] for fact in facts)
    _logger.info("aligned %d utterances, %d frames; %d failed, %d needed the wider beam",
                 len(entries), counts.sum(), len(failed), retried)  # fmt: skip
    artefact.publish({
        "label_set": lang.label_set.digest, "aligned": len(entries), "failed": len(failed),
        "retried": retried, "frames": int(counts.sum()), **(info or {}),
    })  # fmt: skip


def report_failures(failed: Mapping[str, str], total: int) -> None:
    """Names the utterances that are skipped, and why."""
    for utt_id in sorted(failed)[:_SHOWN]:
        _logger.warning("%s: not aligned: %s", utt_id, failed[utt_id])
    if len(failed) > _SHOWN:
        _logger.warning("... and %d more, listed in failed.txt", len(failed) - _SHOWN)
    if failed:
        _logger.warning("%d of %d utterances are left out", len(failed), total)
