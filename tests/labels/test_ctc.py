from itertools import groupby, product

import numpy as np

from asr_kd.labels.ctc import collapse, frames_needed


def test_collapse_and_the_shortest_path() -> None:
    shortest: dict[tuple[int, ...], int] = {}
    for length in range(6):
        for path in product(range(3), repeat=length):
            tokens = tuple(k for k, _ in groupby(path) if k)
            assert tuple(collapse(np.array(path, np.int32)).tolist()) == tokens
            shortest.setdefault(tokens, length)
    for tokens, length in shortest.items():
        assert frames_needed(np.array(tokens, np.int32)) == length
