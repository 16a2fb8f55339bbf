"""What a decode directory holds beside its scales: words, word errors, frame accuracy, speed."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import MANIFEST, hash_input, read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import Scales
from asr_kd.decode.nbest import NBEST, as_candidates, describe_lists, write_nbest
from asr_kd.decode.system import FrameScores, Setup, open_system
from asr_kd.decode.words import write_words
from asr_kd.errors import InputError
from asr_kd.features.spec import read_spec
from asr_kd.io.atomic import write_text
from asr_kd.score.calibration import Calibration

_logger = logging.getLogger("asr_kd.decode")


def frame_figures(utt_id: str, scores: FrameScores, pdf_ids: NDArray[np.int32]) -> dict[str, Any]:
    """Frames, correct frames, summed cross-entropy (nats) and calibration against an alignment.

    Raises:
        InputError: if alignment and features differ in length, or a pdf-id is not in the label set.
    """
    log_post = scores.scores
    if len(pdf_ids) != len(log_post):
        raise InputError(
            f"{utt_id}: {len(pdf_ids)} frames aligned, {len(log_post)} scored; the alignment was "
            f"made on other features"
        )
    if len(pdf_ids) and not 0 <= pdf_ids.min() <= pdf_ids.max() < log_post.shape[1]:
        raise InputError(f"{utt_id}: pdf-id {pdf_ids.max()} of {log_post.shape[1]} labels")
    picked = log_post[np.arange(len(pdf_ids)), pdf_ids]
    correct = log_post.argmax(axis=1) == pdf_ids
    return {
        "frames": len(pdf_ids),
        "correct": int(correct.sum()),
        "cross_entropy": float(-picked.sum(dtype=np.float64)),
        "calibration": Calibration.of(np.exp(log_post.max(axis=1)), correct).to_dict(),
    }


def write_results(
    work: Path,
    out: Path,
    setup: Setup,
    scales: Scales,
    test: DataDir,
    ali: Path | None,
    facts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes everything but the scales.

    Args:
        work: the artefact's work folder.
        out: where it will stand.
        setup: what decoded.
        scales: with which scales.
        test: the data decoded.
        ali: alignment behind the frame figures.
        facts: what `decode_shard` returned for each shard.

    Returns:
        What the manifest says about it: counts, parameters, real-time factors, rates.
    """
    hyp = {utt_id: words for fact in facts for utt_id, words in fact["hyp"].items()}
    unfinished = sorted(utt_id for fact in facts for utt_id in fact["partial"])
    if unfinished:
        _logger.warning(
            "%d of %d utterances ended in a partial path (a wider beam may complete them); "
            "listed in partial.txt", len(unfinished), len(hyp),
        )  # fmt: skip
    ref = {utt_id: words.split() for utt_id, words in test.text.items()}
    normaliser = open_system(setup).normaliser
    words = write_words(
        work, out, hyp, unfinished, test.utt2spk, ref, 1 / scales.acoustic_scale,
        scales.insertion_penalty, normaliser,
    )  # fmt: skip
    num_frames = sum(fact["num_frames"] for fact in facts)
    frames_per_second = 1000 / read_spec(setup.data).frame_shift_ms
    scorer = open_system(setup).scorer
    # Frames of scores, of which a model with subsampling has fewer than frames of features.
    audio_seconds = num_frames * (scorer.frame_shift_ms or 1000 / frames_per_second) / 1000
    costs = scorer.costs()
    products = costs.multiply_adds
    spent = {k: sum(fact["seconds"].get(k, 0.0) for fact in facts) for k in ("forward", "search")}
    info: dict[str, Any] = {
        "utterances": len(hyp),
        "partial": len(unfinished),
        "params": costs.params,
        "multiply_adds_per_second": None if products is None else products * frames_per_second,
        "bytes": costs.num_bytes,
        "latency_ms": scorer.latency_ms(),
        "audio_seconds": audio_seconds,
        # CPU seconds per second of speech: what one core needs.
        "rtf": {kind: seconds / audio_seconds for kind, seconds in spent.items()},
    }
    info |= words
    if setup.keep is not None:
        lists = {
            utt_id: as_candidates(of) for fact in facts for utt_id, of in fact["nbest"].items()
        }
        write_nbest(work / NBEST, lists)
        seconds = sum(fact["seconds"].get("nbest", 0.0) for fact in facts)
        info["nbest"] = describe_lists(lists, ref, normaliser) | {"rtf": seconds / audio_seconds}
        info["nbest"]["lm"] = _language_model(setup.graph)
    frames = {utt_id: one for fact in facts for utt_id, one in fact["frames"].items()}
    if frames and ali is not None:
        info["unaligned"] = len(hyp) - len(frames)
        info |= _write_frames(work / "frames.json", ali, frames)
        _logger.info("frame accuracy %.2f%%; %d utterances without an alignment",
                     100 * info["frame_accuracy"], info["unaligned"])  # fmt: skip
    return info


def _language_model(graph: Path) -> str | None:
    """Hash of the language model of a graph; None where `make-graph` has not made it."""
    if not (graph / MANIFEST).is_file():
        return None
    return read_manifest(graph).inputs.get("lm")


def _write_frames(path: Path, ali: Path, frames: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """Writes the figures of each utterance and the calibration of all; returns the rates."""
    # A shard that an earlier version left has no calibration.
    each = [one.pop("calibration", None) for one in frames.values()]
    content = {"ali": hash_input(ali), "utterances": dict(sorted(frames.items()))}
    correct, lost, count = (
        sum(one[k] for one in frames.values()) for k in ("correct", "cross_entropy", "frames")
    )
    rates = {"frame_accuracy": correct / count, "cross_entropy": lost / count}
    if None not in each:
        calibration = sum(map(Calibration.from_dict, each), Calibration.none())
        content["calibration"] = calibration.to_dict()
        rates["calibration_error"] = calibration.error
    write_text(path, json.dumps(content, indent=1) + "\n")
    return rates
