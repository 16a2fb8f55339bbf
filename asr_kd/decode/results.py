"""What a decode directory holds beside its scales: words, word errors, frame accuracy, speed."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.artefact import hash_input
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import Scales
from asr_kd.decode.system import FrameScores, Setup, open_system
from asr_kd.errors import InputError
from asr_kd.features.spec import read_spec
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.score.result import score, write_score
from asr_kd.score.text import write_text as write_kaldi_text

_logger = logging.getLogger("asr_kd.decode")


def frame_figures(utt_id: str, scores: FrameScores, pdf_ids: NDArray[np.int32]) -> dict[str, float]:
    """Frames, correct frames and summed cross-entropy (nats) against an alignment.

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
    return {
        "frames": len(pdf_ids),
        "correct": int((log_post.argmax(axis=1) == pdf_ids).sum()),
        "cross_entropy": float(-picked.sum(dtype=np.float64)),
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
    write_kaldi_text(work / "hyp", hyp)
    write_table(work / "utt2spk", test.utt2spk)
    write_text(work / "partial.txt", "".join(f"{utt_id}\n" for utt_id in unfinished))
    if unfinished:
        _logger.warning(
            "%d of %d utterances ended in a partial path (a wider beam may complete them); "
            "listed in partial.txt", len(unfinished), len(hyp),
        )  # fmt: skip
    num_frames = sum(fact["num_frames"] for fact in facts)
    audio_seconds = num_frames * read_spec(setup.data).frame_shift_ms / 1000
    spent = {k: sum(fact["seconds"].get(k, 0.0) for fact in facts) for k in ("forward", "search")}
    info: dict[str, Any] = {
        "utterances": len(hyp),
        "partial": len(unfinished),
        "params": open_system(setup).scorer.num_params,
        "audio_seconds": audio_seconds,
        # CPU seconds per second of speech: what one core needs.
        "rtf": {kind: seconds / audio_seconds for kind, seconds in spent.items()},
    }
    if test.text:
        ref = {utt_id: words.split() for utt_id, words in test.text.items()}
        write_kaldi_text(work / "ref", ref)
        result = score(ref, hyp, test.utt2spk)
        write_score(
            result, work, out, {"partial": len(unfinished)},
            f"{1 / scales.acoustic_scale:.4g}", str(scales.insertion_penalty),
        )  # fmt: skip
        info["wer"] = result.to_dict()["wer"]
        _logger.info("word error rate %.2f%% [%.2f, %.2f], %d of %d words; %d partial paths",
                     100 * result.corpus.wer, *(100 * end for end in result.interval),
                     result.corpus.errors, result.corpus.words, len(unfinished))  # fmt: skip
    frames = {utt_id: one for fact in facts for utt_id, one in fact["frames"].items()}
    if frames and ali is not None:
        content = {"ali": hash_input(ali), "utterances": dict(sorted(frames.items()))}
        write_text(work / "frames.json", json.dumps(content, indent=1) + "\n")
        info["unaligned"] = len(hyp) - len(frames)
        correct, count = (sum(one[k] for one in frames.values()) for k in ("correct", "frames"))
        info["frame_accuracy"] = correct / count
        _logger.info("frame accuracy %.2f%% of %d frames; %d utterances without an alignment",
                     100 * correct / count, count, info["unaligned"])  # fmt: skip
    return info
