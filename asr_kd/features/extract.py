"""Features of one utterance, whatever their kind."""

import numpy as np
from numpy.typing import NDArray

from asr_kd.features import kaldi_mel, librosa_mel
from asr_kd.features.spec import FeatureSpec


def extract(samples: NDArray[np.float32], spec: FeatureSpec, seed: int = 0) -> NDArray[np.float32]:
    """Computes features.

    Args:
        samples: (N,) in [-1, 1], at `spec.sample_rate`.
        spec: what to compute.
        seed: of the dither, where there is any.

    Returns:
        (T, F); T is 0 for less than one frame.

    Raises:
        ValueError: if the features are external: there is nothing to compute.
    """
    if spec.kind == "librosa":
        return librosa_mel.librosa_feats(samples, spec)
    if spec.kind == "external":
        raise ValueError(f"features {spec.name!r} were made elsewhere and cannot be computed")
    return kaldi_mel.kaldi_feats(samples, spec, seed)
