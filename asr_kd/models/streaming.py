"""A network that gets its features piece by piece, as they come."""

import torch
from torch import Tensor

from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.stages import Stage


class Stream:
    """An utterance on its way through a network: its logits are those of the whole utterance.

    Each stage keeps the frames that later ones still depend on, and puts out a frame as soon as
    all of its context is there (see `latency`).

    Args:
        model: in evaluation mode; its context is bounded.

    Raises:
        InputError: for a model that needs the whole utterance, with the reason.
    """

    def __init__(self, model: AcousticModel) -> None:
        self._model = model
        self._parts = [_Part(stage) for stage in model.stages()]
        self._num_frames = 0
        self._num_logits = 0
        self._ended = False

    @torch.no_grad()
    def push(self, feats: Tensor, last: bool = False) -> Tensor:
        """Takes further frames (n,F), normalised as the model's are; any n, also 0.

        Args:
            feats: the frames.
            last: whether the utterance ends with them; nothing can follow.

        Returns:
            Logits (m,V) of the frames that can be told now; with `last`, of all that are left.

        Raises:
            InputError: after the end, for features of another size, or for an empty utterance.
        """
        if self._ended:
            raise InputError("the utterance has ended: begin another Stream")
        if feats.ndim != 2 or feats.shape[1] != self._model.input_dim:
            raise InputError(
                f"features {tuple(feats.shape)}, expected (n, {self._model.input_dim})"
            )
        self._num_frames += len(feats)
        if last and not self._num_frames:
            raise InputError("an utterance without a frame")
        self._ended = last
        hidden: Tensor | None = feats[None]
        for part in self._parts:
            hidden = part.push(hidden, last)
        if hidden is None:
            return feats.new_zeros(0, self._model.num_labels)
        logits: Tensor = self._model.output(hidden).reshape(-1, self._model.num_labels)
        if last:  # a strided network's last block may stand for frames beyond the end
            total = -(-self._num_frames // self._model.subsampling)
            logits = logits[: total - self._num_logits]
        self._num_logits += len(logits)
        return logits


class _Part:
    """A stage and those of its input frames that it still needs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._kept: Tensor | None = None
        self._start = 0  # the first frame that is kept
        self._done = 0  # frames put out

    def push(self, x: Tensor | None, last: bool) -> Tensor | None:
        """Further frames (1,n,D) -> those that can be put out (1,m,D'); None for none."""
        stage = self._stage
        if x is not None:
            self._kept = x if self._kept is None else torch.cat([self._kept, x], 1)
        if self._kept is None:
            return None
        end = self._start + self._kept.shape[1]
        ready = -(-end // stage.factor) if last else stage.outputs_from(end)
        if ready <= self._done:
            return None
        first = self._start // stage.factor
        out = stage.func(self._kept)[:, self._done - first : ready - first]
        self._done = ready
        needed = max(0, ready * stage.factor - stage.left) // stage.chunk * stage.chunk
        if needed > self._start:
            self._kept = self._kept[:, needed - self._start :]
            self._start = needed
        return out
