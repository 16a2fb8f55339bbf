"""Training on what a search decides: the MMI of a decoding graph, beside the other losses."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.distill.mmi import Paths, aligned_paths, mmi_loss
from asr_kd.errors import InputError
from asr_kd.search.denominator import Denominator
from asr_kd.train.config import MmiConfig, TrainConfig
from asr_kd.train.dataset import AlignedData, Batch, plain_batch
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.labels import folder_log_prior
from asr_kd.train.objective import Objective
from asr_kd.train.student import StudentOutput

_SAMPLE = 64  # utterances whose alignments are looked for in the graph before the work
_logger = logging.getLogger("asr_kd.train")


class WithMmi(Objective):
    """Another objective, plus `weight·MMI`; on the dev set MMI alone picks the checkpoint.

    Args:
        base: the loss that keeps the network's frames what they are.
        config: weight, scales and tolerance.
        graph: the decoding graph.
        log_prior: natural-log label prior (V,), that of the checkpoint.
    """

    def __init__(
        self,
        base: Objective,
        config: MmiConfig,
        graph: Denominator,
        log_prior: NDArray[np.float32],
    ) -> None:
        self.base, self.config, self.graph = base, config, graph
        self._log_prior = torch.from_numpy(log_prior)
        self._paths = Paths(graph, torch.device("cpu"))
        self.dev_loss = self.loss

    @classmethod
    def open(
        cls, folder: Path, base: Objective, config: TrainConfig, data: AlignedData, dev: AlignedData
    ) -> "WithMmi":
        """Reads a graph folder and holds it against the utterances.

        Raises:
            InputError: for a graph that cannot be used, every utterance of a length that none of
                its paths has (at any speed that is drawn), and alignments of which it has none.
        """
        graph = Denominator.read(folder, data.label_set, str(data.ali_dir))
        faults = _without_length(folder, graph, config, data, dev)
        if faults:
            raise InputError(faults)
        mmi = cls(base, config.mmi, graph, folder_log_prior(data.ali_dir, data.label_set))
        mmi._look_for_alignments(folder, data)
        return mmi

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        self.base.to(device)
        self._log_prior = self._log_prior.to(device)
        self._paths = Paths(self.graph, device)

    def advance(self, fraction: float) -> None:
        """See `Objective`."""
        self.base.advance(fraction)

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`."""
        total, count = self.base(output, batch)
        return total + self.config.weight * self.loss(output.logits, batch)[0], count

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """MMI alone of logits (B,T',V): (sum over utterances, number of frames)."""
        config = self.config
        return mmi_loss(
            logits, batch.outputs, batch.pdf_ids, self._paths, self._log_prior,
            config.acoustic_scale, config.prior_scale, config.tolerance,
        )  # fmt: skip

    def _look_for_alignments(self, folder: Path, data: AlignedData) -> None:
        """Tells of alignments that are no paths, as of words that the graph does not have.

        Raises:
            InputError: where none is one.
        """
        chosen = np.unique(np.linspace(0, len(data) - 1, _SAMPLE).astype(int)).tolist()
        batch, config = plain_batch(data, chosen), self.config
        num_labels = len(data.label_set)
        found = aligned_paths(
            batch.pdf_ids, batch.outputs, num_labels, self._paths, config.tolerance
        )
        missing = [utt for utt, ok in zip(batch.utt_ids, found.tolist(), strict=True) if not ok]
        if len(missing) == len(chosen):
            raise InputError(
                f"{folder}: of {len(chosen)} alignments of {data.ali_dir} that were looked for, "
                f"none is a path of the graph, give or take mmi.tolerance={config.tolerance} "
                f"frames: the graph is of another frame rate, or does not have the words"
            )
        if missing:
            _logger.warning(
                "%s: %d of %d alignments that were looked for are no path of it, such as that of "
                "%s (unknown words?): MMI leaves such utterances out",
                folder, len(missing), len(chosen), missing[0],
            )  # fmt: skip


def _without_length(
    folder: Path, graph: Denominator, config: TrainConfig, data: AlignedData, dev: AlignedData
) -> list[str]:
    """A fault for each utterance of a length, now or perturbed, that no path has."""
    speed = config.augment.speed
    ranges = [(dev, 1.0, 1.0), (data, 1.0, 1.0)]
    if speed.prob:
        ranges.append((data, max(speed.high, 1.0), min(speed.low, 1.0)))
    most = max(int(x.num_frames.max() / low) + 1 for x, _, low in ranges)
    exists = graph.lengths(most)
    faults: dict[tuple[Path, str], str] = {}
    for x, high, low in ranges:
        for utt, frames in zip(x.utt_ids, x.num_frames.tolist(), strict=True):
            # As `change_speed` and the model's subsampling round.
            least, last = (-(-max(1, round(frames / by)) // x.subsampling) for by in (high, low))
            if not exists[least : last + 1].all():
                bad = least + int(np.argmin(exists[least : last + 1]))
                drawn = "" if high == low else " (drawn by augment.speed)"
                faults.setdefault(
                    (x.path, utt), f"{folder}: has no path of {bad} frames{drawn} for {utt}"
                )
    return list(faults.values())


def mmi_faults(inputs: TrainInputs, config: TrainConfig, data: AlignedData) -> Iterator[str]:
    """What is asked for of a graph, or without one, in vain."""
    if inputs.graph is None:
        if config.mmi != MmiConfig():
            yield "mmi.* is for training with a decoding graph: give it by --graph"
        return
    if not config.mmi.weight:
        yield "--graph does nothing: mmi.weight is 0"
    if data.has_tokens:
        yield "--graph is for labels of frames: leave tokens.scp out, or --graph"
    elif not data.has_alignment:
        yield "--graph: which of its paths is right only an alignment can tell"
    if inputs.cluster is not None:
        yield "--graph: a specialist's labels are not those of a graph; leave out --cluster"
    if config.augment.mix.prob:
        yield "--graph: two utterances mixed are no path of it; leave out augment.mix"
    if config.frames.only or config.frames.exclude:
        yield "--graph: paths have all frames; leave out frames.only and frames.exclude"
