"""Files that are there whole or not at all, and that others may read."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from asr_kd.io.atomic import replacing


def test_the_umask_says_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "tensors") as temporary:
            save_file({"a": np.zeros(3)}, temporary)  # which would let the owner alone
        with replacing(tmp_path / "text") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert [(tmp_path / n).stat().st_mode & 0o777 for n in ("tensors", "text")] == [0o640] * 2


def test_an_error_leaves_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("old")
    with pytest.raises(ValueError, match="stop"), replacing(tmp_path / "text") as temporary:
        temporary.write_text("half of the new")
        raise ValueError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    assert (tmp_path / "text").read_text() == "old"
