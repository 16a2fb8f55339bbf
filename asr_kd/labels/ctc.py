"""What CTC makes of labels: paths of one label a frame, and the tokens that they stand for.

Label 0 is the blank (Graves et al. 2006): a path's repeated labels are one, then blanks go.
"""

import numpy as np
from numpy.typing import NDArray

BLANK = 0


def collapse(path: NDArray[np.int32]) -> NDArray[np.int32]:
    """Labels of the frames (T,) -> tokens (L,)."""
    starts = np.ones(len(path), dtype=bool)
    starts[1:] = path[1:] != path[:-1]
    return path[starts & (path != BLANK)]


def frames_needed(tokens: NDArray[np.int32]) -> int:
    """The shortest path of tokens (L,): a frame each, and a blank between two that are equal."""
    return len(tokens) + int((tokens[1:] == tokens[:-1]).sum())
