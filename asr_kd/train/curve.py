"""The learning curve, as `log.jsonl` and for TensorBoard."""

import json
import logging
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from torch.utils.tensorboard import SummaryWriter

from asr_kd.io.atomic import write_text
from asr_kd.train.evaluation import DevScore
from asr_kd.train.state import Progress

LOG = "log.jsonl"
_logger = logging.getLogger("asr_kd.train")


class Curve:
    """Writes the curve from where the training stands; what a killed run wrote beyond is dropped.

    Args:
        work: the training's folder.
        progress: where the training starts or goes on.
        writes: whether this process is the one that writes.
    """

    def __init__(self, work: Path, progress: Progress, writes: bool) -> None:
        self._file: IO[str] | None = None
        self._board: SummaryWriter | None = None
        if writes:
            _drop_after(work / LOG, progress)
            self._file = (work / LOG).open("a", encoding="utf-8")
            purge = progress.step or None
            self._board = SummaryWriter(str(work / "tensorboard"), purge_step=purge)

    def __enter__(self) -> "Curve":
        """The curve itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the files."""
        if self._file is not None and self._board is not None:
            self._file.close()
            self._board.close()

    def step(self, progress: Progress, loss: float, learning_rate: float) -> None:
        """Writes one update's loss per frame."""
        record = {"step": progress.step, "loss": loss, "learning_rate": learning_rate}
        self._write(record, progress.step)

    def epoch(self, progress: Progress, dev: DevScore, epochs: int) -> None:
        """Writes one pass: mean training loss and the figures of the dev set."""
        record = {
            "epoch": progress.epoch,
            "step": progress.step,
            "train_loss": progress.loss_sum / max(1.0, progress.loss_count),
            **dev.values,
        }
        self._write(record, progress.step)
        # About ten lines a training, however long it is; all of them stand in the log.
        tenth = progress.epoch * 10 // epochs > (progress.epoch - 1) * 10 // epochs
        _logger.log(
            logging.INFO if self._file is not None and tenth else logging.DEBUG,
            "epoch %d of %d: loss %.4f; dev %s (best epoch: %d)",
            progress.epoch, epochs, record["train_loss"], dev, progress.best_epoch,
        )  # fmt: skip

    def _write(self, record: dict[str, Any], step: int) -> None:
        if self._file is None or self._board is None:
            return
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if name not in ("step", "epoch"):
                self._board.add_scalar(name, value, step)


def _drop_after(log: Path, progress: Progress) -> None:
    if not log.exists():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n"):
            continue  # cut short by a kill
        record = json.loads(line)
        if record["step"] <= progress.step and record.get("epoch", 0) <= progress.epoch:
            kept.append(line)
    write_text(log, "".join(kept))
