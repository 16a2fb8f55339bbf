"""How far a network looks: its parts in order, and the latency that follows from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """A part of a network that puts out frames of a bounded context.

    Frames that belong to one chunk of its input are made together. They depend on that chunk, on
    `left` frames before it and on `right` frames behind it, and otherwise only on where the
    utterance begins and ends.

    Attributes:
        func: (1,n,D) -> (1,⌈n/factor⌉,D'), of a whole utterance or of a part that begins with a
            chunk.
        left, right: frames of its input.
        factor: frames of its input for each of its output.
        chunk: frames of its input, a multiple of `factor`.
    """

    func: Callable[[Tensor], Tensor]
    left: int = 0
    right: int = 0
    factor: int = 1
    chunk: int = 1

    def outputs_from(self, num_inputs: int) -> int:
        """Output frames that can be told from the first `num_inputs`, if more follow."""
        return max(0, (num_inputs - self.right) // self.chunk) * self.chunk // self.factor

    def inputs_for(self, num_outputs: int) -> int:
        """Input frames that must be there for the first `num_outputs` (at least 1)."""
        return math.ceil(num_outputs * self.factor / self.chunk) * self.chunk + self.right


class Latency(NamedTuple):
    """How long one waits for the output of a frame, on a computer that takes no time.

    Attributes:
        frames: of features, that must follow a frame before its output can be told, at most.
        mean_frames: likewise, on average over the frames.
        frame_shift_ms: milliseconds from frame to frame.
    """

    frames: int
    mean_frames: float
    frame_shift_ms: float

    @property
    def ms(self) -> float:
        """Milliseconds from the end of a frame's window to its output, at most."""
        return self.frames * self.frame_shift_ms


def latency(stages: Sequence[Stage], frame_shift_ms: float) -> Latency:
    """What a network of these stages has to wait for; see `AcousticModel.stages`."""
    factor = math.prod(stage.factor for stage in stages)
    rate, period = 1, factor
    for stage in stages:
        period = math.lcm(period, rate * stage.chunk)
        rate *= stage.factor
    waits = []
    for output in range(period // factor):
        needed = output + 1
        for stage in reversed(stages):
            needed = stage.inputs_for(needed)
        waits += [needed - 1 - frame for frame in range(output * factor, (output + 1) * factor)]
    return Latency(max(waits), sum(waits) / len(waits), frame_shift_ms)
