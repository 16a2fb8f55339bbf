"""Length-bucketed batches, the same for the same seed and epoch whatever the processes."""

import numpy as np
from numpy.typing import NDArray

_JITTER = 0.1  # relative; enough to change a batch's company, little enough to keep padding low


def plan_batches(
    num_frames: NDArray[np.int64], max_frames: int, seed: int | None = None, epoch: int = 0
) -> list[list[int]]:
    """Groups utterances of like length into batches.

    Args:
        num_frames: frames of each utterance (N,).
        max_frames: most frames of a batch, rows × the longest row; a longer utterance stands alone.
        seed: shuffles (with `epoch`) who stands with whom and the order of the batches;
            None: by length, always the same.
        epoch: number of the pass over the data.

    Returns:
        Indices into `num_frames`; each occurs once.
    """
    lengths = num_frames.astype(np.float64)
    rng = np.random.default_rng((0 if seed is None else seed, epoch))
    if seed is not None:
        lengths = lengths * rng.uniform(1 - _JITTER, 1 + _JITTER, len(lengths))
    batches: list[list[int]] = []
    longest = 0
    for index in np.argsort(lengths, kind="stable").tolist():
        longest = max(longest, int(num_frames[index]))
        if not batches or (len(batches[-1]) + 1) * longest > max_frames:
            batches.append([])
            longest = int(num_frames[index])
        batches[-1].append(index)
    if seed is not None:
        batches = [batches[k] for k in rng.permutation(len(batches))]
    return batches
