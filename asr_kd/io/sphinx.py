"""CMU Sphinx's feature files (`.mfc`)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError


def read_mfc(path: Path, dim: int = 13) -> NDArray[np.float32]:
    """Reads one file: a 32-bit count of floats, then the floats, frame by frame.

    The byte order is that in which the count agrees with the file's size; Sphinx reads both.

    Args:
        path: the file.
        dim: F, the number of coefficients in a frame, which the file does not tell.

    Returns:
        Features, (T, F).

    Raises:
        InputError: naming the file, if it is missing, empty or truncated, or if the count is no
            multiple of `dim`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    held = (len(data) - 4) // 4
    orders = [o for o in (">", "<") if data[:4] == np.array(held, f"{o}i4").tobytes()]
    if not orders or len(data) % 4:
        raise InputError(
            f"{path}: truncated or not a Sphinx feature file: its {len(data)} bytes are not a "
            f"count and as many 4-byte floats"
        )
    if held == 0:
        raise InputError(f"{path}: empty: no frames")
    if held % dim:
        raise InputError(f"{path}: {held} floats are not whole frames of {dim}")
    return np.frombuffer(data, f"{orders[0]}f4", offset=4).reshape(-1, dim).astype(np.float32)
