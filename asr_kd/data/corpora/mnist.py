"""MNIST: images of handwritten digits, made to look like speech.

A page of images is an utterance, an image is a frame of one dimension a pixel, and the digits of a
page are its words. So images pass through the loop, the store and the labels that speech does.
"""

import gzip
import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asr_kd.artefact import Artefact, hash_file
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.shards import rank_and_world

Bytes = NDArray[np.uint8]
_NAMES = {
    f"{part}-{what}": f"{part}-{what}-idx{dimensions}-ubyte"
    for part in ("train", "t10k")
    for what, dimensions in (("images", 3), ("labels", 1))
}
_NUM_CLASSES = 10
_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 8


class MnistConfig(Config):
    """Options of `asr-kd prepare mnist`."""

    page: int = Field(20, ge=1, description="images of an utterance")
    dev_images: int = Field(5000, ge=1, description="the last of the training images are dev")


class _Images(NamedTuple):
    """N images (N, height, width) and their labels (N,)."""

    images: Bytes
    labels: Bytes


def prepare(corpus: Path | None, out: Path, config: MnistConfig, nj: int = 1) -> None:
    """Makes feature directories of MNIST, or of anything else in its format with ten classes.

    Args:
        corpus: folder of the four idx files, gzipped or not.
        out: where {train,dev,test}/ will stand; pixels are scaled to 0 to 1.
        config: the options.
        nj: not needed, this takes a second.

    Raises:
        InputError: every file that is missing, damaged or does not fit the others.
    """
    if corpus is None:
        raise InputError(
            "mnist: --corpus DIR is needed: the folder of train-images-idx3-ubyte(.gz) and so on; "
            "`asr-kd download mnist --out DIR` makes it"
        )
    paths = _find(Path(corpus))
    train, test = _read(paths)
    num_train = len(train.labels) - config.dev_images
    if num_train < 1:
        raise InputError(
            f"dev_images={config.dev_images}: leaves none of the {len(train.labels)} images of "
            f"{paths['train-images']} to train on"
        )
    hashes: dict[str, Path | str] = {name: hash_file(path) for name, path in paths.items()}
    artefact = Artefact(out, "prepare", {"corpus": "mnist", **config_dict(config)}, hashes)
    if artefact.is_done():
        return
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    sets = {
        "train": _Images(train.images[:num_train], train.labels[:num_train]),
        "dev": _Images(train.images[num_train:], train.labels[num_train:]),
        "test": test,
    }
    for name, part in sets.items():
        _write_set(work / name, artefact.path / name, part, config.page)
    artefact.publish({name: len(part.labels) for name, part in sets.items()})


def _write_set(folder: Path, final: Path, part: _Images, page: int) -> None:
    num_images, height, width = part.images.shape
    starts = range(0, num_images, page)
    digits = len(str(len(starts) - 1))
    pages = {
        f"{final.name}-{number:0{digits}d}": slice(start, start + page)
        for number, start in enumerate(starts)
    }
    data = DataDir(
        final,
        # Nobody says who wrote what, so every page is a writer of its own.
        utt2spk={page_id: page_id for page_id in pages},
        text={page_id: " ".join(map(str, part.labels[at])) for page_id, at in pages.items()},
        num_frames={page_id: len(part.labels[at]) for page_id, at in pages.items()},
    )
    with ArkWriter(folder / "feats.ark", published=final / "feats.ark") as ark:
        for page_id, at in pages.items():
            pixels = part.images[at].reshape(-1, height * width).astype(np.float32)
            ark.write(page_id, pixels / np.float32(255))
    # The name keeps images of another size, though of as many pixels, from a model of these.
    spec = {"kind": "external", "name": f"images-{height}x{width}", "dim": height * width}
    write_text(folder / "feature.json", json.dumps(spec, indent=2) + "\n")
    replace(data, feats=ark.scp).write(folder)


def _find(corpus: Path) -> dict[str, Path]:
    """The four files; of a file that is there both packed and not, the one that is not."""
    found, faults = {}, []
    for name, file in _NAMES.items():
        candidates = [corpus / file, corpus / f"{file}.gz"]
        there = [path for path in candidates if path.is_file()]
        if there:
            found[name] = there[0]
        else:
            faults.append(f"{candidates[0]}: no such file, nor {file}.gz; `asr-kd download mnist "
                          f"--out DIR` makes a folder of all four")  # fmt: skip
    if faults:
        raise InputError(faults)
    return found


def _read(paths: dict[str, Path]) -> tuple[_Images, _Images]:
    """Reads training and test images with all checks."""
    arrays: dict[str, Bytes] = {}
    faults: list[str] = []
    for name, path in paths.items():
        try:
            arrays[name] = read_idx(path, 3 if name.endswith("images") else 1)
        except InputError as error:
            faults += error.faults
    for name in ("train", "t10k"):
        images, labels = arrays.get(f"{name}-images"), arrays.get(f"{name}-labels")
        path = paths[f"{name}-labels"]
        if labels is not None and (bad := np.flatnonzero(labels >= _NUM_CLASSES)).size:
            faults.append(
                f"{path}: label {labels[bad[0]]} of item {bad[0]}, expected 0 to "
                f"{_NUM_CLASSES - 1}; {bad.size} such labels"
            )
        if images is not None and labels is not None and len(images) != len(labels):
            faults.append(
                f"{path}: {len(labels)} labels for the {len(images)} images of "
                f"{paths[f'{name}-images']}"
            )
    sizes = {
        paths[name]: arrays[name].shape[1:]
        for name in ("train-images", "t10k-images")
        if name in arrays
    }
    if len(set(sizes.values())) > 1:
        each = ", ".join(f"{path} of {shape}" for path, shape in sizes.items())
        faults.append(f"images of different sizes (rows, columns): {each}")
    if faults:
        raise InputError(faults)
    return (_Images(arrays["train-images"], arrays["train-labels"]),
            _Images(arrays["t10k-images"], arrays["t10k-labels"]))  # fmt: skip


def read_idx(path: Path, num_dimensions: int) -> Bytes:
    """Reads an idx file of unsigned bytes, gzipped or not.

    The format: two zero bytes, the type (8 for unsigned bytes), the number of dimensions, the size
    of each as a big-endian int32, then the values.

    Args:
        path: the file.
        num_dimensions: 3 for images (count, rows, columns), 1 for labels.

    Returns:
        uint8 of the shape that the file tells.

    Raises:
        InputError: naming the file, if it is unreadable, of another type or number of dimensions,
            empty, truncated, or longer than its sizes say.
    """
    try:
        content = Path(path).read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    magic = bytes((0, 0, _UNSIGNED_BYTES, num_dimensions))
    if content[:4] != magic:
        raise InputError(
            f"{path}: begins with {content[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')}: "
            f"an idx file of unsigned bytes in {_dimensions(num_dimensions)}"
        )
    header = 4 * (1 + num_dimensions)
    if len(content) < header:
        raise InputError(f"{path}: truncated in its header, {len(content)} of {header} bytes")
    shape: Sequence[int] = struct.unpack(f">{num_dimensions}i", content[4:header])
    if min(shape) < 1:
        raise InputError(f"{path}: sizes {', '.join(map(str, shape))}: expected 1 or more each")
    expected = header + math.prod(shape)
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "longer than its sizes say"
        raise InputError(
            f"{path}: {what}: {len(content)} bytes, expected {expected} for "
            f"{' x '.join(map(str, shape))}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _dimensions(number: int) -> str:
    return "1 dimension" if number == 1 else f"{number} dimensions"
