import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import asr_kd.cli.ensemble
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.ensemble import dump as dump_module
from asr_kd.ensemble import store as store_module
from asr_kd.ensemble.average import average
from asr_kd.ensemble.codec import Keep
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import NetworkTeacher, open_teachers
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet

Make = Callable[..., Path]
Posts = Callable[..., np.ndarray]
KEEP = Keep(0.9, 5)


class Setting(NamedTuple):
    """Three teachers of different kinds, two of them with features of their own or none."""

    dump: Dump
    posts: dict[str, list[torch.Tensor]]


@pytest.fixture
def setting(
    make_features: Make,
    make_network: Make,
    make_archive: Callable[..., str],
    make_posts: Posts,
    utt_frames: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> Setting:
    monkeypatch.setattr(dump_module, "_SHARD_SIZE", 4)
    data, own = make_features("data", 4), make_features("own", 5)
    archive = make_archive("posts", {u: make_posts(n, n) for u, n in utt_frames.items()})
    specs = (str(make_network("one", "dnn", 4)), f"{make_network('two', 'tdnn', 5)}={own}", archive)
    dump = Dump(specs, data, (1.0,), "arithmetic", (2.0, 1.0, 1.0), KEEP, "cpu")
    teachers = open_teachers(specs, data)
    return Setting(dump, {u: [t.log_posts([u])[0] for t in teachers] for u in utt_frames})


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("targets.*.bin"))}


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_store_holds_the_average(setting: Setting, tmp_path: Path, mean: Any) -> None:
    dump = replace(setting.dump, temperatures=(2.0,), mean=mean)
    dump_targets(dump, tmp_path / "out")
    store = TargetStore.open(tmp_path / "out", verify=True)
    assert sorted(store) == sorted(setting.posts)
    codec = store.header.codec
    for utt, each in setting.posts.items():
        log_probs = average(each, [2, 1, 1], mean, 2.0)
        assert store.num_frames(utt) == len(log_probs)
        expected = codec.decode(codec.encode(log_probs)).dense(11)
        # A code may round the other way where a padded batch computes in another order.
        assert float((store[utt].dense(11) - expected).abs().max()) < 0.05
        assert float((store[utt].dense(11) - expected).abs().mean()) < 1e-4
    header = store.header
    assert (header.temperature, header.mean, header.weights) == (2.0, mean, (0.5, 0.25, 0.25))
    assert header.keep == "mass=0.9,cap=5"
    assert header.teachers[0].name == dump.teachers[0]
    assert header.frame_shift_ms == 10.0
    assert len(header.shards) == 3


def test_several_temperatures_in_one_pass(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temperatures = (1.0, 2.5, 5.0)
    runs: list[str] = []
    original = NetworkTeacher.log_posts

    def counting(self: NetworkTeacher, utt_ids: list[str]) -> list[torch.Tensor]:
        runs.extend(utt_ids)
        return original(self, utt_ids)

    monkeypatch.setattr(NetworkTeacher, "log_posts", counting)
    dump_targets(replace(setting.dump, temperatures=temperatures), tmp_path / "all")
    assert len(runs) == 2 * len(setting.posts)  # two networks, each once
    for t, name in zip(temperatures, ("T1", "T2.5", "T5"), strict=True):
        dump_targets(replace(setting.dump, temperatures=(t,)), tmp_path / name)
        assert shards(tmp_path / name) == shards(tmp_path / "all" / name)
        store = TargetStore.open(tmp_path / "all" / name, verify=True)
        assert store.header.temperature == t
        info = read_manifest(tmp_path / "all" / name, "dump-targets").info
        assert info == read_manifest(tmp_path / name).info
        assert read_manifest(tmp_path / "all").info[name] == info
    fingerprints = {read_manifest(tmp_path / "all" / n).fingerprint for n in ("T1", "T2.5", "T5")}
    assert len(fingerprints) == 3


def test_all_labels(setting: Setting, tmp_path: Path) -> None:
    dump_targets(replace(setting.dump, keep=Keep(None)), tmp_path / "out")
    store = TargetStore.open(tmp_path / "out")
    for utt, each in setting.posts.items():
        expected = average(each, [2, 1, 1]).exp()
        assert float((store[utt].probs.view(-1, 11) - expected).abs().max()) < 1e-3
    info = read_manifest(tmp_path / "out").info
    assert info["bytes_per_frame"] == pytest.approx(22, abs=0.2)
    assert info["kl_mean"] < 1e-5


def test_statistics(setting: Setting, tmp_path: Path) -> None:
    """Against the definitions, frame by frame in float64."""
    dump_targets(replace(setting.dump, temperatures=(2.0,)), tmp_path / "out")
    store = TargetStore.open(tmp_path / "out")
    divergences, entropies, agreements, distances, bytes_ = [], [], [], [], 0
    for utt, each in setting.posts.items():
        tempered = [torch.softmax(p.double() / 2, 1) for p in each]
        mean = 0.5 * tempered[0] + 0.25 * tempered[1] + 0.25 * tempered[2]
        kept = store[utt].dense(11).double()
        divergences += (mean * (mean / kept).log()).sum(1).tolist()
        entropies += (-mean * mean.log()).sum(1).tolist()
        best = [p.argmax(1) for p in tempered]
        for n in range(len(mean)):
            pairs = [(0, 1), (0, 2), (1, 2)]
            agreements.append(np.mean([float(best[a][n] == best[b][n]) for a, b in pairs]))
            distances.append(np.mean([float((p[n] * (p[n] / mean[n]).log()).sum())
                                      for p in tempered]))  # fmt: skip
        bytes_ += len(mean) + 2 * len(store[utt].labels)
    info = read_manifest(tmp_path / "out").info
    assert info["frames"] == len(divergences)
    assert info["kl_mean"] == pytest.approx(np.mean(divergences), rel=1e-3)
    expected = np.quantile(divergences, 0.99, method="inverted_cdf")
    assert info["kl_p99"] == pytest.approx(expected, rel=0.07)
    assert info["entropy"] == pytest.approx(np.mean(entropies), rel=1e-4)
    assert info["teacher_agreement"] == pytest.approx(np.mean(agreements), rel=1e-6)
    assert info["kl_teachers_to_mean"] == pytest.approx(np.mean(distances), rel=1e-4)
    padding = 3 * 3 * 8  # three shards of three arrays
    assert bytes_ <= info["bytes_per_frame"] * len(divergences) <= bytes_ + padding


@pytest.mark.slow
def test_worker_processes_give_the_same(setting: Setting, tmp_path: Path) -> None:
    dump_targets(setting.dump, tmp_path / "alone")
    dump_targets(setting.dump, tmp_path / "shared", nj=2)
    assert shards(tmp_path / "shared") == shards(tmp_path / "alone")
    assert read_manifest(tmp_path / "shared").info == read_manifest(tmp_path / "alone").info


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def test_killed_run_goes_on(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump_targets(setting.dump, tmp_path / "whole")
    original = store_module.write_bytes
    written: list[str] = []

    def killing(path: Path, data: bytes) -> None:
        if len(written) == 2:
            path.with_name(f".{path.name}.1.tmp").write_bytes(data[:10])  # what a kill leaves
            raise Killed
        written.append(path.name)
        original(path, data)

    monkeypatch.setattr(store_module, "write_bytes", killing)
    with pytest.raises(Killed):
        dump_targets(setting.dump, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(store_module, "write_bytes", lambda path, data: written.append(path.name)
                        or original(path, data))  # fmt: skip
    dump_targets(setting.dump, tmp_path / "out")
    assert written == ["targets.0.bin", "targets.1.bin", "targets.2.bin"]  # each once
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
    assert read_manifest(tmp_path / "out").info == read_manifest(tmp_path / "whole").info


@pytest.mark.slow
def test_sigkill(setting: Setting, tmp_path: Path) -> None:
    arguments = (setting.dump.teachers, setting.dump.data, (1.0,), "arithmetic", (2, 1, 1))
    script = f"""
import os, signal
from pathlib import PosixPath
from asr_kd.ensemble import dump, store
dump._SHARD_SIZE = 4
original = store.write_bytes
def write(path, data):
    if path.name == "targets.1.bin":
        os.kill(os.getpid(), signal.SIGKILL)
    original(path, data)
store.write_bytes = write
keep = dump.Keep({KEEP.mass}, {KEEP.cap})
dump.dump_targets(dump.Dump(*{arguments!r}, keep, "cpu"), PosixPath({str(tmp_path / "out")!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "out").exists()
    assert list(shards(tmp_path / ".out.building")) == ["targets.0.bin"]
    dump = replace(setting.dump, weights=(2, 1, 1))
    dump_targets(dump, tmp_path / "out")
    dump_targets(dump, tmp_path / "whole")
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")


def test_full_disk(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    dump_targets(setting.dump, out)
    before = shards(out)
    dump = replace(setting.dump, temperatures=(4.0,))

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left on device"):
            dump_targets(dump, out)
    assert shards(out) == before  # what was there stays
    assert TargetStore.open(out, verify=True).header.temperature == 1.0
    assert not list((tmp_path / ".out.building").glob("*targets*"))
    dump_targets(dump, out)
    assert TargetStore.open(out, verify=True).header.temperature == 4.0


def test_done_is_done_until_a_teacher_changes(
    setting: Setting, tmp_path: Path, make_archive: Callable[..., str], make_posts: Posts,
    utt_frames: Mapping[str, int],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    dump_targets(setting.dump, out)
    made = (out / "manifest.json").stat().st_mtime_ns
    dump_targets(setting.dump, out)
    assert (out / "manifest.json").stat().st_mtime_ns == made
    make_archive("posts", {utt: make_posts(n, 1000 + n) for utt, n in utt_frames.items()})
    dump_targets(setting.dump, out)
    assert (out / "manifest.json").stat().st_mtime_ns != made


@pytest.mark.slow
def test_two_ranks(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dump_targets(setting.dump, tmp_path / "alone")
    script = f"""
from pathlib import PosixPath
from asr_kd.ensemble import dump
dump._SHARD_SIZE = 4
keep = dump.Keep({KEEP.mass}, {KEEP.cap})
arguments = {tuple(vars(setting.dump).values())[:5]!r}
dump.dump_targets(dump.Dump(*arguments, keep, "cpu"), PosixPath({str(tmp_path / "shared")!r}))
"""
    environment = {**os.environ, "RANK": "1", "WORLD_SIZE": "2"}
    other = subprocess.Popen([sys.executable, "-c", script], env=environment)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dump_targets(setting.dump, tmp_path / "shared")
    assert other.wait(60) == 0
    assert shards(tmp_path / "shared") == shards(tmp_path / "alone")


def test_missing_utterances_and_frames_are_found_before_any_work(
    setting: Setting, tmp_path: Path, make_features: Make, make_network: Make,
    make_archive: Callable[..., str], make_posts: Posts, utt_frames: dict[str, int],
) -> None:  # fmt: skip
    first, second, *others = utt_frames
    archive = make_archive("few", {utt: make_posts(utt_frames[utt], 0) for utt in others})
    longer = make_features("longer", 6, {**utt_frames, second: utt_frames[second] + 1})
    network = f"{make_network('six', 'dnn', 6)}={longer}"
    dump = Dump((setting.dump.teachers[0], network, archive), setting.dump.data)
    with pytest.raises(InputError) as refused:
        dump_targets(dump, tmp_path / "out")
    assert len(refused.value.faults) == 3
    said = str(refused.value)
    assert f"few.scp: no posteriors of {first}" in said
    assert f"few.scp: no posteriors of {second}" in said
    assert f"{second}: numbers of frames differ" in said
    assert not list(tmp_path.glob("*out*"))


def test_frames_that_only_the_archive_knows(
    setting: Setting, tmp_path: Path, make_archive: Callable[..., str], make_posts: Posts,
    utt_frames: dict[str, int],
) -> None:  # fmt: skip
    last = list(utt_frames)[-1]
    lengths = {**utt_frames, last: utt_frames[last] + 2}
    archive = make_archive("odd", {utt: make_posts(n, 0) for utt, n in lengths.items()})
    dump = replace(setting.dump, teachers=(setting.dump.teachers[0], archive), weights=None)
    with pytest.raises(InputError, match=f"{last}: numbers of frames differ: .*one has .*odd"):
        dump_targets(dump, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nan_posteriors(
    setting: Setting, tmp_path: Path, make_archive: Callable[..., str], make_posts: Posts,
    utt_frames: dict[str, int],
) -> None:  # fmt: skip
    matrices = {utt: make_posts(n, 0) for utt, n in utt_frames.items()}
    last = list(utt_frames)[-1]
    matrices[last][-1, 3] = np.nan
    dump = Dump((make_archive("nan", matrices),), setting.dump.data)
    with pytest.raises(InputError, match=f"nan.scp: {last}: frame .* adds up to nan"):
        dump_targets(dump, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_teachers_without_a_common_label(
    setting: Setting, tmp_path: Path, make_archive: Callable[..., str], utt_frames: dict[str, int]
) -> None:
    sure = np.full((1, 11), -np.inf, dtype=np.float32)
    sure[0, 0] = 0
    one = make_archive("first", {u: np.repeat(sure, n, 0) for u, n in utt_frames.items()})
    other = sure[:, ::-1].copy()
    two = make_archive("last", {u: np.repeat(other, n, 0) for u, n in utt_frames.items()})
    dump_targets(Dump((one, two), setting.dump.data, keep=KEEP), tmp_path / "arithmetic")
    with pytest.raises(InputError, match=r"the mean of .*first\.scp, .*last\.scp is not a distr"):
        dump_targets(Dump((one, two), setting.dump.data, mean="geometric"), tmp_path / "geometric")


def test_options(setting: Setting, tmp_path: Path) -> None:
    for temperatures, said in (((0.0,), "not positive"), ((), "no temp"), ((1, 1), "only once")):
        with pytest.raises(InputError, match=said):
            dump_targets(replace(setting.dump, temperatures=temperatures), tmp_path / "out")
    with pytest.raises(InputError, match="2 weights for 3 teachers"):
        dump_targets(replace(setting.dump, weights=(1.0, 1.0)), tmp_path / "out")


def test_teacher_of_another_label_set(setting: Setting, tmp_path: Path, make_network: Make) -> None:
    other = make_network("other", "dnn", 4, labels=LabelSet("hmm-states", ("x", "y")))
    dump = Dump((setting.dump.teachers[0], str(other)), setting.dump.data)
    with pytest.raises(InputError, match=r"label sets differ: .*11 hmm-states.* 2 hmm-states"):
        dump_targets(dump, tmp_path / "out")


def test_commands(setting: Setting, tmp_path: Path) -> None:
    assert asr_kd.cli.ensemble  # registers the verbs
    out = tmp_path / "out"
    arguments = ["dump-targets", *setting.dump.teachers, "--data", str(setting.dump.data),
                 "--out", str(out), "--temperature", "1,2", "--weights", "2,1,1",
                 "--keep", "mass=0.9,cap=5"]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(app, ["inspect-targets", str(out / "T2")])
    assert shown.exit_code == 0, shown.output
    info = json.loads((out / "T2" / "manifest.json").read_text())["info"]
    for expected in (f"{info['bytes_per_frame']:.2f}", f"{info['kl_mean']:.5f} nat", "mass=0.9",
                     f"{info['kl_p99']:.5f} nat", f"{info['teacher_agreement']:.2%}", "one",
                     "weight 0.5", f"{info['entropy']:.4f} nat", "11 labels"):  # fmt: skip
        assert expected in shown.output
    shard = out / "T2" / "targets.1.bin"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1
    shard.write_bytes(data)
    broken = CliRunner().invoke(app, ["inspect-targets", str(out / "T2")])
    assert isinstance(broken.exception, InputError)
    assert "targets.1.bin: corrupt shard" in str(broken.exception)
    wrong = CliRunner().invoke(app, ["dump-targets", "x", "--data", "y", "--out", "z",
                                     "--temperature", "hot"])  # fmt: skip
    assert wrong.exit_code == 2
