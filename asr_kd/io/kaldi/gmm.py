"""Kaldi's GMMs: one mixture of diagonal Gaussians for each pdf-id."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.stream import KaldiReader

_TOLERANCE = 0.01


class DiagGmm(NamedTuple):
    """A mixture of G Gaussians of D dimensions, float32.

    Attributes:
        weights: (G,), adding up to 1.
        means: (G, D).
        variances: (G, D).
    """

    weights: NDArray[np.float32]
    means: NDArray[np.float32]
    variances: NDArray[np.float32]


def read_gmms(reader: KaldiReader) -> list[DiagGmm]:
    """Reads what stands behind the transition model in the final.mdl of a GMM system.

    Returns:
        The mixture of each pdf-id.

    Raises:
        InputError: with file and byte, for another format and for what is no mixture.
    """
    reader.expect("<DIMENSION>")
    dim = reader.integer()
    reader.expect("<NUMPDFS>")
    return [_read_gmm(reader, dim, pdf_id) for pdf_id in range(reader.count(8))]


def _read_gmm(reader: KaldiReader, dim: int, pdf_id: int) -> DiagGmm:
    reader.expect("<DiagGMM>", "<DiagGMMBegin>")
    if reader.expect("<GCONSTS>", "<WEIGHTS>") == "<GCONSTS>":
        reader.vector()  # follows from the rest
        reader.expect("<WEIGHTS>")
    weights = reader.vector()
    # Kaldi keeps what its formula needs: means divided by variances, and inverse variances.
    reader.expect("<MEANS_INVVARS>")
    scaled_means = reader.matrix()
    reader.expect("<INV_VARS>")
    inverse = reader.matrix()
    reader.expect("</DiagGMM>", "<DiagGMMEnd>")
    shape = (len(weights), dim)
    if not len(weights) or scaled_means.shape != shape or inverse.shape != shape:
        reader.fail(
            f"pdf {pdf_id}: {len(weights)} weights, means {scaled_means.shape} and inverse "
            f"variances {inverse.shape} of {dim} dimensions"
        )
    sound = (
        abs(float(weights.sum()) - 1) < _TOLERANCE
        and bool((weights >= 0).all())
        and bool((inverse > 0).all() and np.isfinite(inverse).all())
        and bool(np.isfinite(scaled_means).all())
    )
    if not sound:
        reader.fail(f"pdf {pdf_id}: its weights, means and variances are no mixture of Gaussians")
    return DiagGmm(weights, scaled_means / inverse, np.reciprocal(inverse))
