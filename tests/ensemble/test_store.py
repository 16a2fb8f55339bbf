import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.ensemble.store import Header, ShardWriter, TargetStore, TeacherId, write_header
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet

LABELS = LabelSet("hmm-states", tuple(f"s{k}" for k in range(20)))


def log_probs(num_frames: int, num_labels: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num_frames)
    return torch.randn(num_frames, num_labels, generator=generator).mul(3).log_softmax(1)


def write_store(
    folder: Path, shards: list[list[int]], keep: str = "mass=0.9,cap=6", **fields: Any
) -> TargetStore:
    """Utterances `u0`, `u1` ... of so many frames."""
    values: dict[str, Any] = {
        "temperature": 2.0, "mean": "arithmetic", "weights": (1.0,), "keep": keep,
        "teachers": (TeacherId(name="t", digest="0"),), "label_set": LABELS.digest,
        "num_labels": len(LABELS), **fields,
    }  # fmt: skip
    header = Header(**values)
    folder.mkdir(parents=True, exist_ok=True)
    facts, number = [], 0
    for k, lengths in enumerate(shards):
        writer = ShardWriter(header.codec)
        for frames in lengths:
            encoded = header.codec.encode(log_probs(frames, header.num_labels))
            writer.add(f"u{number}", frames, encoded)
            number += 1
        facts.append(writer.write(folder / f"targets.{k}.bin"))
    write_header(folder, header, facts)
    return TargetStore.open(folder)


def assert_same(a: SoftTargets, b: SoftTargets) -> None:
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shards=st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=4),
    keep=st.sampled_from(["mass=0.9,cap=6", "mass=1,cap=300", "all"]),
    num_labels=st.sampled_from([20, 300]),
    order=st.randoms(use_true_random=False),
)
def test_what_goes_in_comes_out(
    tmp_path: Path, shards: list[list[int]], keep: str, num_labels: int, order: Any
) -> None:
    store = write_store(tmp_path / "s", shards, keep, num_labels=num_labels)
    codec = store.header.codec
    lengths = {f"u{k}": n for k, n in enumerate(n for shard in shards for n in shard)}
    assert {utt: store.num_frames(utt) for utt in store} == lengths
    for utt, frames in lengths.items():
        assert_same(store[utt], codec.decode(codec.encode(log_probs(frames, num_labels))))
    utts = list(lengths)
    order.shuffle(utts)
    if utts:
        batch = store.batch(utts)
        assert torch.equal(batch.probs, torch.cat([store[utt].probs for utt in utts]))
        assert torch.equal(batch.labels, torch.cat([store[utt].labels for utt in utts]))
        assert torch.equal(batch.left, torch.cat([store[utt].left for utt in utts]))
        counts = torch.cat([store[utt].indptr.diff() for utt in utts])
        assert torch.equal(batch.indptr.diff(), counts)
    TargetStore.open(tmp_path / "s", verify=True)


def test_bytes_mean_what_the_format_says(tmp_path: Path) -> None:
    """A reader of its own, in plain Python, from the description in store.py and codec.py."""
    store = write_store(tmp_path / "s", [[4, 3]])
    data = (tmp_path / "s" / "targets.0.bin").read_bytes()
    counts = list(data[:7])
    labels = data[8 : 8 + sum(counts)]
    start = 8 + -(-len(labels) // 8) * 8
    codes = data[start : start + sum(counts)]
    targets = store.batch(["u0", "u1"])
    at = 0
    for n, count in enumerate(counts):
        ratios = [1.0] + [math.exp(-code / 16) for code in codes[at + 1 : at + count]]
        rest = math.exp(codes[at] / 8 - 14)
        total = sum(ratios) + rest
        got = targets.probs[at : at + count].tolist()
        assert got == pytest.approx([ratio / total for ratio in ratios], rel=1e-5)
        assert float(targets.left[n]) == pytest.approx(rest / total, rel=1e-5)
        assert targets.labels[at : at + count].tolist() == list(labels[at : at + count])
        at += count
    assert len(data) == store.num_bytes == store.header.shards[0].num_bytes


def test_half_precision_bytes(tmp_path: Path) -> None:
    write_store(tmp_path / "s", [[2]], "all")
    data = (tmp_path / "s" / "targets.0.bin").read_bytes()
    assert struct.unpack("<40e", data) == pytest.approx(log_probs(2).flatten().tolist(), rel=1e-3)


def test_corrupt_shards_are_named(tmp_path: Path) -> None:
    write_store(tmp_path / "s", [[4], [5], [6], [7]])
    first, second, third, _ = (tmp_path / "s" / f"targets.{k}.bin" for k in range(4))
    first.write_bytes(first.read_bytes()[:-8])
    second.unlink()
    flipped = bytearray(third.read_bytes())
    flipped[9] ^= 1
    third.write_bytes(flipped)
    with pytest.raises(InputError) as without:
        TargetStore.open(tmp_path / "s")
    said = str(without.value)
    assert "targets.0.bin: corrupt shard" in said
    assert "targets.1.bin: missing shard" in said
    assert "targets.2" not in said  # its size is right; only the checksum tells
    with pytest.raises(InputError, match=r"targets\.2\.bin: corrupt shard: checksum"):
        TargetStore.open(tmp_path / "s", verify=True)


def test_student_of_another_configuration(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", [[4]])
    store.require(2.0, LABELS)
    store.require(2.0, LABELS, "arithmetic")
    other = LabelSet("hmm-states", ("a", "b"))
    with pytest.raises(InputError) as refused:
        store.require(5.0, other, "geometric")
    temperature, mean, labels = refused.value.faults
    assert "temperature 2" in temperature
    assert "for 5" in temperature
    assert "arithmetic" in mean
    assert "geometric" in mean
    assert f"20 labels (digest {LABELS.digest[:12]})" in labels
    assert f"2 ({other.digest[:12]})" in labels


def test_utterances_that_are_not_there(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", [[4]])
    assert "u0" in store
    assert "u9" not in store
    with pytest.raises(InputError, match=r"no targets of u8\n.*no targets of u9"):
        store.batch(["u8", "u0", "u9"])


def test_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a soft-target store"):
        TargetStore.open(tmp_path)
    write_store(tmp_path / "T1", [[1]])
    write_store(tmp_path / "T2", [[1]])
    with pytest.raises(InputError, match=r"choose one of .*T1, .*T2"):
        TargetStore.open(tmp_path)


def test_damaged_header_and_index(tmp_path: Path) -> None:
    write_store(tmp_path / "s", [[4]])
    header = tmp_path / "s" / "targets.json"
    text = header.read_text()
    header.write_text(text.replace("asr_kd.targets/1", "asr_kd.targets/9").replace("2.0", '"x"'))
    with pytest.raises(InputError) as refused:
        TargetStore.open(tmp_path / "s")
    assert "format" in str(refused.value)
    assert "temperature" in str(refused.value)
    header.write_text(text[:50])
    with pytest.raises(InputError, match=r"targets\.json: cannot be read"):
        TargetStore.open(tmp_path / "s")
    header.write_text(text)
    for line in ("u0 0 0 4", "u0 1 0 4 0 4", "u0 0 0 5 0 4", "u0 0 0 4 0 99", "u0 0 0 4 x 4"):
        (tmp_path / "s" / "index.txt").write_text(f"{line}\n")
        with pytest.raises(InputError, match=r"index\.txt: u0"):
            TargetStore.open(tmp_path / "s")
