"""Which frames the loss counts; the others are still context."""

from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.train.config import FramesConfig

_SHOWN_LABELS = 10


class FrameSelection:
    """Counts the frames of some labels, each with its probability.

    Args:
        chances: probability (V,) that a frame of a label counts.
    """

    def __init__(self, chances: NDArray[np.float64]) -> None:
        self.chances = chances
        self._random = bool(((chances > 0) & (chances < 1)).any())

    @classmethod
    def by_label(cls, config: FramesConfig, label_set: LabelSet) -> "FrameSelection":
        """The frames of the labels that the configuration names.

        Raises:
            InputError: naming the patterns that match no label, or if no label is left.
        """
        faults = []
        for key, patterns in (("only", config.only), ("exclude", config.exclude)):
            for pattern in patterns:
                if not matching(label_set, pattern).any():
                    shown = ", ".join(label_set.names[:_SHOWN_LABELS])
                    faults.append(
                        f"frames.{key}: {pattern!r} matches none of the {len(label_set)} labels "
                        f"({shown}{' ...' if len(label_set) > _SHOWN_LABELS else ''})"
                    )
        counted = np.full(len(label_set), not config.only)
        for pattern in config.only:
            counted |= matching(label_set, pattern)
        for pattern in config.exclude:
            counted &= ~matching(label_set, pattern)
        if not faults and not counted.any():
            faults.append("frames: no label is left to train on")
        if faults:
            raise InputError(faults)
        return cls(counted.astype(np.float64))

    def __call__(self, pdf_ids: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Labels (T,) of an utterance -> which of its frames count (T,)."""
        chances = self.chances[pdf_ids]
        if not self._random:
            return chances > 0
        return rng.random(len(pdf_ids)) < chances


def matching(label_set: LabelSet, pattern: str) -> NDArray[np.bool_]:
    """Which labels (V,) a glob pattern matches."""
    return np.array([fnmatchcase(name, pattern) for name in label_set.names])
