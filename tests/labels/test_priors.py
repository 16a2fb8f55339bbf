import json
from pathlib import Path

import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior, read_ali_labels, write_priors

LABELS = LabelSet("hmm-states", ("A_0", "B_0", "C_0", "D_0"))


def folder(path: Path, counts: list[int]) -> Path:
    LABELS.save(path / "labels.json")
    write_priors(path, counts, LABELS)
    return path


def test_prior_is_the_share_of_frames(tmp_path: Path) -> None:
    prior = log_prior(folder(tmp_path, [50, 25, 25, 0]))
    assert prior.dtype == np.float32
    # The unseen label gets 1% of the uniform 1/4.
    expected = np.array([0.5, 0.25, 0.25, 0.0025]) / 1.0025
    np.testing.assert_allclose(np.exp(prior), expected, rtol=1e-5)
    assert read_ali_labels(tmp_path) == LABELS


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an alignment"):
        log_prior(tmp_path)
    with pytest.raises(InputError, match="no frame is aligned"):
        log_prior(folder(tmp_path, [0, 0, 0, 0]))
    with pytest.raises(InputError, match="another label set"):
        log_prior(folder(tmp_path, [1, 2]))
    folder(tmp_path, [1, 2, 3, 4])
    LabelSet("hmm-states", ("A_0", "B_0", "C_0", "E_0")).save(tmp_path / "labels.json")
    with pytest.raises(InputError, match="another label set"):
        log_prior(tmp_path)
    (tmp_path / "priors.json").write_text(json.dumps({"counts": 3}))
    with pytest.raises(InputError, match="damaged"):
        log_prior(tmp_path)
