"""The stage `evaluate`: frame accuracy, cross-entropy and calibration against an alignment."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.decode.labelled import Labels, read_labels, score_labelled
from asr_kd.ensemble.average import Mean, average, mean_weights
from asr_kd.ensemble.costs import network_costs
from asr_kd.ensemble.teachers import Teacher, is_archive, open_teachers
from asr_kd.ensemble.weights import WeightsFrom, weighed
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.models.description import model_hash
from asr_kd.score.calibration import Calibration
from asr_kd.shards import rank_and_world

FRAMES = "frames.json"
_logger = logging.getLogger("asr_kd.decode")


@dataclass
class Count:
    """Frames, those that the most probable label gets wrong, and summed cross-entropy (nats)."""

    frames: int = 0
    errors: int = 0
    cross_entropy: float = 0.0

    def add(self, wrong: NDArray[np.bool_], cross_entropy: NDArray[np.float32]) -> None:
        """Takes in frames (N,)."""
        self.frames += len(wrong)
        self.errors += int(wrong.sum())
        self.cross_entropy += float(cross_entropy.sum(dtype=np.float64))


def evaluate(
    models: Sequence[str],
    data_dir: Path,
    ali_dir: Path,
    out: Path,
    mean: Mean = "arithmetic",
    weights: WeightsFrom | Sequence[float] | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> None:
    """Publishes `frames.json`: counts over all frames, by label and by speaker.

    Args:
        models: one, or several to average, as `open_teachers` takes them.
        data_dir: feature directory; utterances without an alignment are skipped and counted.
        ali_dir: the labels to compare with.
        out: folder to publish.
        mean, weights: of several models; weights may come from `weigh-teachers`.
        device: where networks run.
        trust: whether programs that can run any code may be loaded.

    Raises:
        InputError: all faults of the inputs, before any work.
    """
    teachers = open_teachers(models, data_dir, device, trust)
    models, teachers, own_weights = weighed(models, teachers, weights, mean)
    shares = mean_weights(own_weights, len(teachers))
    inputs: dict[str, Path | str] = {"data": data_dir, "ali": ali_dir}
    inputs |= {
        f"model{k}": teacher.digest if is_archive(model) else model_hash(model)
        for k, (model, teacher) in enumerate(zip(models, teachers, strict=True))
    }
    config = {"mean": mean, "weights": shares, "models": list(models)}
    artefact = Artefact(out, "evaluate", config, inputs)
    if artefact.is_done() or rank_and_world()[0] != 0:
        return
    label_set = teachers[0].label_set
    data = DataDir.read(data_dir, require=("utt2spk", "feats"))
    labels = read_labels(data, ali_dir, teachers)
    work = artefact.begin()
    total, by_label, by_speaker, calibration = _count(teachers, data, labels, shares, mean)
    accuracy = 1 - total.errors / total.frames
    costs = network_costs(teachers)
    content = {
        "set": Path(data_dir).name,
        "models": list(models),
        "num_params": costs.params,
        "multiply_adds_per_frame": costs.multiply_adds,
        "bytes": costs.num_bytes,
        "num_frames": total.frames,
        "errors": total.errors,
        "accuracy": accuracy,
        "cross_entropy": total.cross_entropy / total.frames,
        "calibration_error": calibration.error,
        "calibration": calibration.to_dict(),
        "by_label": {label_set.names[k]: list(asdict(c).values())[:2] for k, c in by_label.items()},
        "by_speaker": {spk: list(asdict(c).values()) for spk, c in sorted(by_speaker.items())},
        "skipped": len(data.utt_ids) - len(labels),
    }
    write_text(work / FRAMES, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    artefact.publish({"frame_accuracy": accuracy, "errors": total.errors})
    _logger.info(
        "frame accuracy %.2f%%: %d errors in %d frames, cross-entropy %.4f, calibration error "
        "%.4f; %d utterances skipped",
        100 * accuracy, total.errors, total.frames, content["cross_entropy"], calibration.error,
        content["skipped"],
    )  # fmt: skip


def _count(
    teachers: Sequence[Teacher],
    data: DataDir,
    labels: Labels,
    shares: Sequence[float],
    mean: Mean,
) -> tuple[Count, dict[int, Count], dict[str, Count], Calibration]:
    total, by_label, by_speaker = Count(), dict[int, Count](), dict[str, Count]()
    calibration = Calibration.none()
    for utt, log_posts, pdf_ids in score_labelled(teachers, labels, "evaluate"):
        log_post = average(log_posts, shares, mean)
        if bool(log_post.isnan().any()):
            raise InputError(f"{utt}: the models' posteriors, averaged, are NaN")
        wrong = (log_post.argmax(1) != pdf_ids).cpu().numpy()
        lost = -log_post.gather(1, pdf_ids[:, None])[:, 0].cpu().numpy()
        total.add(wrong, lost)
        calibration += Calibration.of(log_post.amax(1).exp().cpu().numpy(), ~wrong)
        by_speaker.setdefault(data.utt2spk[utt], Count()).add(wrong, lost)
        for k in np.unique(labels[utt]).tolist():
            mine = labels[utt] == k
            by_label.setdefault(k, Count()).add(wrong[mine], lost[mine])
    return total, dict(sorted(by_label.items())), by_speaker, calibration
