from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from asr_kd.errors import InputError
from asr_kd.io.sphinx import read_mfc

FLOATS = st.floats(-1e6, 1e6, width=32)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=FLOATS),
    st.sampled_from("<>"),
)
def test_both_byte_orders_read_back(
    tmp_path_factory: pytest.TempPathFactory, feats: np.ndarray, order: str
) -> None:
    file = tmp_path_factory.mktemp("mfc") / "a.mfc"
    count = np.array(feats.size, f"{order}i4").tobytes()
    file.write_bytes(count + feats.astype(f"{order}f4").tobytes())
    read = read_mfc(file, dim=feats.shape[1])
    assert read.dtype == np.float32
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, feats)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "truncated"),
        (b"\0\0", "truncated"),
        (b"\0\0\0\0", "empty"),
        (b"\0\0\0\x0d" + bytes(51), "truncated"),
        (b"\0\0\0\x0d" + bytes(48), "truncated"),
        (b"\0\0\0\x0c" + bytes(48), "whole frames of 13"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: bytes, fault: str) -> None:
    (tmp_path / "a.mfc").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.mfc: .*{fault}"):
        read_mfc(tmp_path / "a.mfc")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.mfc: .*No such file"):
        read_mfc(tmp_path / "a.mfc")


def test_an4_features_are_cepstra(shared_data: Path) -> None:
    feats = read_mfc(shared_data / "an4/feat/an4_clstk/fash/an251-fash-b.mfc")
    assert feats.shape == (99, 13)
    assert np.abs(feats).max() < 100
