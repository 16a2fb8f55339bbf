"""The dev set after each epoch: what is logged, and what chooses the checkpoint that is kept."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from asr_kd.distill.ctc import ctc_loss
from asr_kd.labels.ctc import collapse
from asr_kd.score.wer import count_errors, total
from asr_kd.train.dataset import AlignedData, Batch, plain_batch
from asr_kd.train.sampler import plan_batches
from asr_kd.train.selection import FrameSelection

Criterion = Literal["token-error-rate", "ctc-loss"]


class DevScore(NamedTuple):
    """How good a model is on the dev set.

    Attributes:
        score: the higher the better.
        values: name → figure, as in log.jsonl.
    """

    score: float
    values: dict[str, float]

    def beats(self, other: "DevScore") -> bool:
        """Whether it is the better one; the loss of CTC decides between equal scores."""
        if self.score == other.score and (loss := self.values.get("dev_ctc_loss")) is not None:
            return loss < other.values.get("dev_ctc_loss", math.inf)
        return self.score > other.score

    def __str__(self) -> str:
        """For people: rates in percent."""
        shown = {name.removeprefix("dev_").replace("_", " "): x for name, x in self.values.items()}
        return ", ".join(
            f"{name} {100 * x:.2f}%" if name.endswith(("accuracy", "rate")) else f"{name} {x:.4f}"
            for name, x in shown.items()
        )


class Evaluation:
    """Frame accuracy, cross-entropy and MMI, or, of token sequences, error rate and loss of CTC.

    Args:
        data: the dev set.
        max_frames: of a batch, padding included.
        criterion: what chooses among models of token sequences; frame accuracy chooses others.
        selection: which labelled frames count; default all.
        mmi: loss of a batch's logits that chooses in the place of frame accuracy.
    """

    def __init__(
        self,
        data: AlignedData,
        max_frames: int,
        criterion: Criterion = "token-error-rate",
        selection: FrameSelection | None = None,
        mmi: Callable[[Tensor, Batch], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.data, self.criterion, self.selection = data, criterion, selection
        self.mmi = mmi
        self._batches = plan_batches(data.num_frames, max_frames)

    @torch.no_grad()
    def sums(
        self, run: Callable[[Tensor, Tensor], Tensor], device: torch.device, rank: int, world: int
    ) -> list[float]:
        """What one of `world` processes counts; the sums of all are for `score`.

        Args:
            run: features (B,T,F) and lengths (B,) -> logits (B,T',V).
            device: where it runs.
            rank, world: which batches it takes.
        """
        count = self._count_tokens if self.data.has_tokens else self._count_frames
        sums = torch.zeros(4 if self.mmi is None else 5, dtype=torch.float64)
        for indices in self._batches[rank::world]:
            batch = plain_batch(self.data, indices, self.selection).to(device)
            sums += torch.tensor(
                count(run(batch.feats, batch.lengths).float(), batch), dtype=torch.float64
            )
        return sums.tolist()

    def _count_frames(self, logits: Tensor, batch: Batch) -> list[float]:
        rows = logits[batch.counted]
        loss = functional.cross_entropy(rows, batch.pdf_ids, reduction="sum")
        hits = float((rows.argmax(1) == batch.pdf_ids).sum())
        counts = [hits, len(rows), float(loss), len(rows)]
        return counts if self.mmi is None else [*counts, float(self.mmi(logits, batch)[0])]

    def _count_tokens(self, logits: Tensor, batch: Batch) -> list[float]:
        loss, frames = ctc_loss(logits, batch.outputs, batch.tokens, batch.token_lengths)
        best = logits.argmax(2).to(torch.int32).cpu().numpy()
        spoken = batch.tokens.cpu().numpy()
        ref, hyp = {}, {}
        sizes = zip(batch.outputs.tolist(), batch.token_lengths.tolist(), strict=True)
        for b, (utt, (num_frames, num_tokens)) in enumerate(zip(batch.utt_ids, sizes, strict=True)):
            ref[utt] = [str(k) for k in spoken[b, :num_tokens]]
            hyp[utt] = [str(k) for k in collapse(best[b, :num_frames])]
        errors = total(count_errors(ref, hyp).values())
        return [errors.errors, errors.words, float(loss), float(frames)]

    def score(self, sums: list[float]) -> DevScore:
        """The score of the sums over all processes."""
        hits, out_of, loss, frames, *mmi = sums
        rate, loss = hits / max(out_of, 1.0), loss / max(frames, 1.0)
        if not self.data.has_tokens:
            values = {"dev_frame_accuracy": rate, "dev_cross_entropy": loss}
            if not mmi:
                return DevScore(rate, values)
            per_frame = mmi[0] / max(frames, 1.0)
            return DevScore(-per_frame, {**values, "dev_mmi_loss": per_frame})
        values = {"dev_token_error_rate": rate, "dev_ctc_loss": loss}
        return DevScore(-rate if self.criterion == "token-error-rate" else -loss, values)
