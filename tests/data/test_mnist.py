import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from asr_kd.data.corpora.mnist import MnistConfig, prepare, read_idx
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.errors import InputError
from asr_kd.features.make_feats import make_feats
from asr_kd.features.spec import read_spec
from asr_kd.io.ark import read_matrix

CONFIG = MnistConfig(page=4, dev_images=5)
SMALL = (3, 2)  # rows, columns


def idx(values: NDArray[np.uint8]) -> bytes:
    """The format by hand: big-endian sizes behind 0, 0, type, number of dimensions."""
    sizes = struct.pack(f">{values.ndim}i", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def images(count: int, start: int) -> NDArray[np.uint8]:
    """Images that can be told from one another by their first pixel."""
    values = np.zeros((count, *SMALL), np.uint8)
    values[:, 0, 0] = start + np.arange(count)
    values[:, 2, 1] = 255
    return values


def labels(count: int) -> NDArray[np.uint8]:
    return (np.arange(count) * 3 % 10).astype(np.uint8)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Eighteen training and seven test images, packed and not."""
    root = tmp_path / "mnist"
    root.mkdir()
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images(18, 0))))
    (root / "train-labels-idx1-ubyte").write_bytes(idx(labels(18)))
    (root / "t10k-images-idx3-ubyte").write_bytes(idx(images(7, 100)))
    (root / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels(7))))
    return root


def test_pages_are_utterances_and_images_are_frames(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, CONFIG)
    expected = {"train": images(18, 0)[:13], "dev": images(18, 0)[13:], "test": images(7, 100)}
    words = {"train": labels(18)[:13], "dev": labels(18)[13:], "test": labels(7)}
    for name, pixels in expected.items():
        assert faults(out / name) == []
        data = DataDir.read(out / name, ("feats", "text", "num_frames", "utt2spk"))
        pages = [read_matrix(data.feats[page]) for page in data.utt_ids]
        np.testing.assert_array_equal(
            np.concatenate(pages), pixels.reshape(-1, 6) / np.float32(255)
        )
        assert pages[0].dtype == np.float32
        assert [len(page) for page in pages] == [data.num_frames[u] for u in data.utt_ids]
        assert {len(page) for page in pages[:-1]} == ({4} if len(pages) > 1 else set())
        said = " ".join(data.text[page] for page in data.utt_ids)
        assert said == " ".join(str(digit) for digit in words[name])
        assert len(data.spk2utt) == len(pages)


def test_the_pages_are_ready_made_features(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "data", CONFIG)
    make_feats(tmp_path / "data/train", tmp_path / "feats")
    spec = read_spec(tmp_path / "feats")
    assert (spec.kind, spec.name, spec.dim) == ("external", "images-3x2", 6)
    assert spec == read_spec(tmp_path / "data/test")
    assert len(DataDir.read(tmp_path / "feats").num_frames) == 4


def test_ids_sort_like_pages(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path / "data", MnistConfig(page=1, dev_images=5))
    data = DataDir.read(tmp_path / "data/train")
    assert data.utt_ids == [f"train-{number:02d}" for number in range(13)]
    assert [data.text[page] for page in data.utt_ids] == [str(n) for n in labels(18)[:13]]


def test_a_second_call_is_skipped_and_a_change_is_not(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, CONFIG)
    before = (out / "manifest.json").stat().st_mtime_ns
    prepare(corpus, out, CONFIG)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    prepare(corpus, out, MnistConfig(page=4, dev_images=6))
    info = json.loads((out / "manifest.json").read_text())["info"]
    assert info == {"train": 12, "dev": 6, "test": 7}


def rewrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


FLAWS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda root: (root / "t10k-images-idx3-ubyte").unlink(),
        "t10k-images-idx3-ubyte: no such file, nor t10k-images-idx3-ubyte.gz",
    ),
    "magic": (
        rewrite("t10k-images-idx3-ubyte", idx(labels(7))),
        "t10k-images-idx3-ubyte: begins with 00 00 08 01, expected 00 00 08 03",
    ),
    "nothing": (
        rewrite("t10k-images-idx3-ubyte", b""),
        "t10k-images-idx3-ubyte: begins with nothing",
    ),
    "header": (
        rewrite("t10k-images-idx3-ubyte", idx(images(7, 0))[:9]),
        "t10k-images-idx3-ubyte: truncated in its header, 9 of 16 bytes",
    ),
    "no images": (
        rewrite("t10k-images-idx3-ubyte", idx(images(0, 0))),
        "t10k-images-idx3-ubyte: sizes 0, 3, 2: expected 1 or more",
    ),
    "truncated": (
        rewrite("t10k-images-idx3-ubyte", idx(images(7, 0))[:-1]),
        "t10k-images-idx3-ubyte: truncated: 57 bytes, expected 58 for 7 x 3 x 2",
    ),
    "longer": (
        rewrite("t10k-images-idx3-ubyte", idx(images(7, 0)) + b"!"),
        "t10k-images-idx3-ubyte: longer than its sizes say: 59 bytes, expected 58",
    ),
    "broken gzip": (
        rewrite("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(labels(7)))[:-9]),
        "t10k-labels-idx1-ubyte.gz: cannot be read",
    ),
    "damaged gzip": (
        rewrite("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(labels(7)))[:-8] + b"12345678"),
        "t10k-labels-idx1-ubyte.gz: cannot be read",
    ),
    "label": (
        rewrite("train-labels-idx1-ubyte", idx(np.arange(18, dtype=np.uint8))),
        "train-labels-idx1-ubyte: label 10 of item 10, expected 0 to 9; 8 such labels",
    ),
    "counts": (
        rewrite("train-labels-idx1-ubyte", idx(labels(17))),
        "train-labels-idx1-ubyte: 17 labels for the 18 images of",
    ),
    "size": (
        rewrite("t10k-images-idx3-ubyte", idx(np.zeros((7, 2, 3), np.uint8))),
        "images of different sizes (rows, columns): ",
    ),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flaw_is_named_and_nothing_is_made(flaw: str, corpus: Path, tmp_path: Path) -> None:
    spoil, message = FLAWS[flaw]
    spoil(corpus)
    with pytest.raises(InputError) as error:
        prepare(corpus, tmp_path / "data", CONFIG)
    assert len(error.value.faults) == 1
    assert message in error.value.faults[0]
    assert [path.name for path in tmp_path.iterdir()] == ["mnist"]


def test_flaws_are_named_together(corpus: Path, tmp_path: Path) -> None:
    for flaw in ("truncated", "damaged gzip", "counts"):
        FLAWS[flaw][0](corpus)
    with pytest.raises(InputError) as error:
        prepare(corpus, tmp_path / "data", CONFIG)
    assert len(error.value.faults) == 3
    with pytest.raises(InputError) as error:
        prepare(tmp_path, tmp_path / "data", CONFIG)
    assert len(error.value.faults) == 4
    with pytest.raises(InputError, match="--corpus DIR"):
        prepare(None, tmp_path / "data", CONFIG)


def test_a_dev_set_of_everything_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dev_images=18: leaves none of the 18 images"):
        prepare(corpus, tmp_path / "data", MnistConfig(dev_images=18))


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4)), st.booleans())
def test_idx_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, values: NDArray[np.uint8], packed: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "idx"
    file.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    np.testing.assert_array_equal(read_idx(file, values.ndim), values)


@given(st.binary(max_size=40), st.integers(1, 3))
def test_any_bytes_are_an_array_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, num_dimensions: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "bytes"
    file.write_bytes(bytes([0, 0, 8, num_dimensions]) + content)
    try:
        read = read_idx(file, num_dimensions)
    except InputError as fault:
        named = str(fault).startswith(str(file))
        assert named
    else:
        assert idx(read) == file.read_bytes()


def test_the_real_corpus(shared_data: Path, tmp_path: Path) -> None:
    if not (shared_data / "mnist").is_dir():
        pytest.skip("MNIST is not here")
    prepare(shared_data / "mnist", tmp_path / "data", MnistConfig())
    sets = {name: DataDir.read(tmp_path / "data" / name) for name in ("train", "dev", "test")}
    assert {name: sum(data.num_frames.values()) for name, data in sets.items()} == {
        "train": 55_000, "dev": 5_000, "test": 10_000,
    }  # fmt: skip
    test = " ".join(sets["test"].text.values()).split()
    assert test[:5] == ["7", "2", "1", "0", "4"]
    assert test.count("3") == 1010  # as the paper says
    first = read_matrix(sets["train"].feats["train-0000"])
    assert first.shape == (20, 784)
    assert (first.min(), first.max()) == (0.0, 1.0)
