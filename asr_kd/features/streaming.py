"""Features of sound that comes piece by piece."""

import math

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.features.extract import extract
from asr_kd.features.spec import FeatureSpec

Floats = NDArray[np.float32]


class FeatureStream:
    """An utterance on its way: its features are those that `extract` makes of the whole.

    A frame is put out as soon as all samples of its window are there.

    Args:
        spec: what to compute.

    Raises:
        InputError: for features with dither, whose noise belongs to the whole utterance.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        if spec.dither:
            raise InputError(
                f"features with dither {spec.dither:g}: its noise is drawn for the whole utterance"
            )
        self._spec = spec
        # So many frames in the middle of their windows see over an edge of the sound.
        self._edge = 0
        if spec.kind == "librosa" or not spec.snip_edges:
            width = spec.n_fft if spec.kind == "librosa" else spec.length
            self._edge = math.ceil(math.ceil(width / 2) / spec.shift)
        self._kept = np.zeros(0, np.float32)
        self._told = 0  # frames of the samples kept that were put out

    def push(self, samples: Floats, last: bool = False) -> Floats:
        """Takes further samples (n,) in [-1, 1]; any n, also 0.

        Returns:
            Frames (m,F) that can be told now; with `last`, all that are left.
        """
        self._kept = np.concatenate([self._kept, samples])
        feats = extract(self._kept, self._spec)
        ready = len(feats) if last else max(self._told, len(feats) - self._edge)
        new = feats[self._told : ready]
        # What is kept begins with a frame, so that frames stay where they are.
        passed = max(0, ready - max(1, self._edge))
        self._kept = self._kept[passed * self._spec.shift :]
        self._told = ready - passed
        return new
