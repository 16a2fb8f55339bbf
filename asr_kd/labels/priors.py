"""State priors and the other facts that an alignment folder holds beside its archives."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet

PRIORS = "priors.json"
_FLOOR = 0.01  # of the uniform distribution


def write_priors(folder: Path, counts: Sequence[int], label_set: LabelSet) -> None:
    """Writes how many frames each label has."""
    content = {"label_set": label_set.digest, "counts": [int(n) for n in counts]}
    write_text(Path(folder) / PRIORS, json.dumps(content) + "\n")


def log_prior(ali_dir: Path) -> NDArray[np.float32]:
    """Natural-log prior of each label, float32 (V,), from the counts of an alignment.

    Raises:
        InputError: if the folder has no counts, or counts of another label set.
    """
    file = Path(ali_dir) / PRIORS
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        counts, digest = np.asarray(stored["counts"], np.float64), stored["label_set"]
    except FileNotFoundError:
        raise InputError(f"{ali_dir}: not an alignment: no {PRIORS}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: damaged ({error}); make the alignment again") from None
    label_set = read_ali_labels(ali_dir)
    if digest != label_set.digest or counts.shape != (len(label_set),):
        raise InputError(f"{file}: counts of another label set than {ali_dir}/labels.json")
    if not counts.sum() > 0:
        raise InputError(f"{file}: no frame is aligned")
    return floored_log_prior(counts)


def floored_log_prior(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Natural-log prior (V,) of counts (V,), whatever they sum to.

    Priors are floored at 1% of the uniform distribution and sum to 1: dividing by the prior of a
    label that was hardly ever seen must not make it likely.
    """
    prior = np.maximum(counts / counts.sum(), _FLOOR / len(counts))
    log_prior: NDArray[np.float32] = np.log(prior / prior.sum()).astype(np.float32)
    return log_prior


def read_ali_labels(ali_dir: Path) -> LabelSet:
    """The label set of an alignment folder."""
    return LabelSet.load(Path(ali_dir) / "labels.json")
