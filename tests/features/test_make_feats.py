"""The stage: from audio and ready made, sharded, resumed, and on bad input."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr_kd.artefact import read_manifest
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.errors import InputError
from asr_kd.features import make_feats as stage
from asr_kd.features.cmvn import cmvn_stats
from asr_kd.features.extract import extract
from asr_kd.features.make_feats import FeatsConfig, make_feats
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, read_spec, write_spec
from asr_kd.io.table import read_table, write_table

Floats = NDArray[np.float32]
RATE = 8000
CONFIG = FeatsConfig(sample_rate=RATE, num_mel=15)
RNG = np.random.default_rng(0)


def wave(seconds: float) -> Floats:
    noise = 0.1 * RNG.standard_normal(int(seconds * RATE))
    return (np.round(noise * 32767) / 32768).astype(np.float32)


WAVES = {f"{spk}-{n}": wave(0.3 + 0.1 * n) for spk in ("ann", "bob") for n in range(3)}


def all_feats(path: Path) -> dict[str, Floats]:
    return dict(FeatureReader(DataDir.read(path), "global"))


def contents(path: Path) -> dict[str, bytes]:
    """Every file but the manifest; the folder's own name is the same in all."""
    return {
        f.name: f.read_bytes().replace(str(path).encode(), b"OUT")
        for f in sorted(path.iterdir())
        if f.name != "manifest.json"
    }


def test_a_feature_directory(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    make_feats(data_dir(WAVES), tmp_path / "out", CONFIG)
    out = tmp_path / "out"
    assert faults(out) == []
    assert read_spec(out) == FeatureSpec(sample_rate=RATE, num_mel=15)
    data = DataDir.read(out, ("text", "feats", "cmvn", "num_frames"))
    assert data.text == dict.fromkeys(WAVES, "one two")
    assert (out / "spk2utt").read_text() == "ann ann-0 ann-1 ann-2\nbob bob-0 bob-1 bob-2\n"
    stats = {"ann": 0.0, "bob": 0.0}
    for utt_id, feats in all_feats(out).items():
        np.testing.assert_array_equal(feats, extract(WAVES[utt_id], CONFIG.spec))
        assert data.num_frames[utt_id] == len(feats)
        stats[utt_id[:3]] = stats[utt_id[:3]] + cmvn_stats(feats)
    for speaker, matrix in kaldiio.load_scp(str(out / "cmvn.scp")).items():
        np.testing.assert_allclose(matrix, stats[speaker], rtol=1e-6)
    info = read_manifest(out, "make-feats").info
    assert info == {"utterances": 6, "frames": sum(data.num_frames.values()), "skipped": []}


def test_kaldi_reads_it(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    kaldi_native_io = pytest.importorskip("kaldi_native_io")
    make_feats(data_dir(WAVES), tmp_path / "out", CONFIG)
    with kaldi_native_io.SequentialFloatMatrixReader(f"scp:{tmp_path}/out/feats.scp") as table:
        read = {key: np.array(value) for key, value in table}
    assert read.keys() == WAVES.keys()
    np.testing.assert_array_equal(read["bob-2"], extract(WAVES["bob-2"], CONFIG.spec))


def test_segments_are_pieces_of_their_recording(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    long = np.concatenate(list(WAVES.values()))
    path = data_dir({"rec": long})
    bounds = np.cumsum([0, *(len(w) for w in WAVES.values())]) / RATE
    pieces = zip(WAVES, bounds, bounds[1:], strict=False)
    write_table(path / "segments", {utt: f"rec {a!r} {b!r}" for utt, a, b in
                                    ((u, float(a), float(b)) for u, a, b in pieces)})  # fmt: skip
    write_table(path / "utt2spk", {utt: utt[:3] for utt in WAVES})
    write_table(path / "text", dict.fromkeys(WAVES, "one"))
    make_feats(path, tmp_path / "out", CONFIG)
    for utt_id, feats in all_feats(tmp_path / "out").items():
        np.testing.assert_array_equal(feats, extract(WAVES[utt_id], CONFIG.spec))


@pytest.mark.parametrize("options", [{}, {"dither": 1.0}])
def test_processes_do_not_show(
    data_dir: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(stage, "SHARD_SIZE", 2)
    path = data_dir(WAVES)
    config = FeatsConfig(**{**config_dict(CONFIG), **options})
    make_feats(path, tmp_path / "one", config, nj=1)
    if not options:
        make_feats(path, tmp_path / "two", config, nj=2)
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
    monkeypatch.setattr(stage, "SHARD_SIZE", 6)
    make_feats(path, tmp_path / "whole", config)
    whole, parts = all_feats(tmp_path / "whole"), all_feats(tmp_path / "one")
    for utt_id in WAVES:
        np.testing.assert_array_equal(whole[utt_id], parts[utt_id])
    for speaker, stats in kaldiio.load_scp(str(tmp_path / "whole/cmvn.scp")).items():
        parts_stats = kaldiio.load_scp(str(tmp_path / "one/cmvn.scp"))[speaker]
        np.testing.assert_allclose(stats, parts_stats, rtol=1e-6)


def test_two_ranks_make_one_directory(
    data_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_SIZE", 2)
    path = data_dir(WAVES)
    make_feats(path, tmp_path / "alone", CONFIG)
    # Rank 0 begins and is killed before its own shards; rank 1 does its share and must not publish.
    monkeypatch.setenv("WORLD_SIZE", "2")
    with monkeypatch.context() as killed:
        killed.setenv("RANK", "0")
        killed.setattr(stage, "_compute_shard", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_feats(path, tmp_path / "out", CONFIG)
    monkeypatch.setenv("RANK", "1")
    make_feats(path, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("RANK", "0")
    make_feats(path, tmp_path / "out", CONFIG)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_goes_on_after_being_killed(
    data_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_SIZE", 2)
    path = data_dir(WAVES)
    make_feats(path, tmp_path / "unbroken", CONFIG)
    computed: list[str] = []
    compute = stage._compute

    def dying(job: Any, utt_id: str) -> Floats:
        if len(computed) == 3:  # in the middle of the second shard
            raise KeyboardInterrupt
        computed.append(utt_id)
        return compute(job, utt_id)

    with monkeypatch.context() as killed:
        killed.setattr(stage, "_compute", dying)
        with pytest.raises(KeyboardInterrupt):
            make_feats(path, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
    computed.clear()
    computed += ["not dying"] * 4
    monkeypatch.setattr(stage, "_compute", dying)
    make_feats(path, tmp_path / "out", CONFIG)
    assert computed[4:] == ["ann-2", "bob-0", "bob-1", "bob-2"]
    assert contents(tmp_path / "out") == contents(tmp_path / "unbroken")


def test_up_to_date_until_something_changes(
    data_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_dir(WAVES)
    make_feats(path, tmp_path / "out", CONFIG)
    with monkeypatch.context() as idle:
        idle.setattr(stage, "_compute_shard", interrupt)
        make_feats(path, tmp_path / "out", CONFIG)
        with pytest.raises(KeyboardInterrupt):
            make_feats(path, tmp_path / "out", config_with(num_mel=20))
        soundfile.write(path / "wav/ann-0.wav", wave(0.5), RATE)  # other sound under the same name
        with pytest.raises(KeyboardInterrupt):
            make_feats(path, tmp_path / "out", CONFIG)
    make_feats(path, tmp_path / "out", CONFIG)
    assert len(all_feats(tmp_path / "out")["ann-0"]) == 48


def config_with(**values: Any) -> FeatsConfig:
    return CONFIG.model_copy(update=values)


def test_every_bad_recording_is_listed_before_any_work(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    path = data_dir(WAVES)
    (path / "wav/ann-0.wav").write_bytes((path / "wav/ann-0.wav").read_bytes()[:-1000])
    soundfile.write(path / "wav/ann-1.wav", np.zeros((0,), np.float32), RATE)
    soundfile.write(path / "wav/bob-0.wav", wave(0.5), 2 * RATE)
    (path / "wav/bob-1.wav").write_text("no sound")
    with pytest.raises(InputError) as error:
        make_feats(path, tmp_path / "out", CONFIG)
    found = "\n".join(error.value.faults)
    assert len(error.value.faults) == 4
    for words in ("ann-0.wav: truncated", "ann-1.wav: empty", "bob-1: "):
        assert words in found
    assert "bob-0" in found
    assert "wrong sample rate: 16000 Hz, expected 8000 Hz" in found
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*out*"))


def test_segments_outside_of_their_recording(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = data_dir({"rec": wave(1)})
    segments = {"ann-0": "rec 0 0.5", "ann-1": "rec 1.2 1.4", "ann-2": "rec 0 9"}
    write_table(path / "segments", segments)
    write_table(path / "utt2spk", dict.fromkeys(segments, "ann"))
    (path / "text").unlink()
    with pytest.raises(InputError) as error:
        make_feats(path, tmp_path / "out", CONFIG)
    assert [fault.split(": ")[1] for fault in error.value.faults] == ["ann-1", "ann-2"]


def test_resampling_only_when_asked_for(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    time = np.arange(2 * RATE) / (2 * RATE)
    tone = (0.3 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    path = data_dir({"ann-0": tone}, rate=2 * RATE)
    make_feats(path, tmp_path / "out", config_with(resample=True))
    assert read_spec(tmp_path / "out") == CONFIG.spec
    feats = all_feats(tmp_path / "out")["ann-0"]
    slow = (0.3 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    expected = extract(slow, CONFIG.spec)
    assert len(feats) == len(expected) == 98
    loud = expected.max(axis=0) > 10
    np.testing.assert_allclose(feats[5:-5, loud], expected[5:-5, loud], atol=0.05)


def test_a_failed_run_leaves_the_former_directory(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    path = data_dir(WAVES)
    make_feats(path, tmp_path / "out", CONFIG)
    before = contents(tmp_path / "out")
    soundfile.write(path / "wav/ann-0.wav", wave(0.5), 2 * RATE)
    with pytest.raises(InputError, match="wrong sample rate"):
        make_feats(path, tmp_path / "out", CONFIG)
    assert contents(tmp_path / "out") == before


def test_utterances_shorter_than_a_frame_are_counted_and_named(
    data_dir: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = data_dir({**WAVES, "ann-9": wave(0.02), "cid-0": wave(0.01)})
    with caplog.at_level(logging.WARNING):
        make_feats(path, tmp_path / "out", CONFIG)
    assert "2 of 8 utterances are shorter than one frame" in caplog.text
    assert "ann-9 cid-0" in caplog.text
    assert faults(tmp_path / "out") == []
    for table in ("utt2spk", "text", "feats.scp", "utt2num_frames"):
        assert read_table(tmp_path / "out" / table).keys() == WAVES.keys()
    assert read_table(tmp_path / "out/cmvn.scp").keys() == {"ann", "bob"}
    assert read_manifest(tmp_path / "out").info["skipped"] == ["ann-9", "cid-0"]


def test_more_than_half_too_short_is_an_error(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    path = data_dir({"ann-0": wave(0.5), "ann-1": wave(0.01), "ann-2": wave(0.02)})
    with pytest.raises(InputError, match=r"2 of 3(.|\n)*ann-1\nann-2"):
        make_feats(path, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_half_too_short_is_none(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    make_feats(data_dir({"ann-0": wave(0.5), "ann-1": wave(0.01)}), tmp_path / "out", CONFIG)
    assert read_manifest(tmp_path / "out").info["skipped"] == ["ann-1"]


def test_not_a_number_in_the_sound(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = data_dir(WAVES)
    samples = WAVES["bob-0"].copy()
    samples[1000] = np.nan
    soundfile.write(path / "wav/bob-0.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"bob-0: .*bob-0\.wav: nan in frame"):
        make_feats(path, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_sound_that_turns_out_corrupt_names_all_its_utterances(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    path = data_dir({"ann-0": wave(0.5)})
    flac = path / "rec.flac"
    soundfile.write(flac, wave(20), RATE)
    flac.write_bytes(flac.read_bytes()[:-60000])  # its header is whole
    segments = {"ann-0": "rec 0 1", "ann-1": "rec 17 18", "ann-2": "rec 18 19"}
    write_table(path / "wav.scp", {"rec": str(flac)})
    write_table(path / "segments", segments)
    write_table(path / "utt2spk", dict.fromkeys(segments, "ann"))
    (path / "text").unlink()
    with pytest.raises(InputError) as error:
        make_feats(path, tmp_path / "out", CONFIG)
    found = [fault.split(": ")[:2] for fault in error.value.faults]
    assert found == [["ann-1", str(flac)], ["ann-2", str(flac)]]
    assert not list(tmp_path.glob(".out.building/*.ark"))


def test_pipes_only_when_allowed(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = data_dir(WAVES)
    scp = read_table(path / "wav.scp")
    write_table(path / "wav.scp", {**scp, "ann-0": f"cat {scp['ann-0']} |"})
    with pytest.raises(InputError, match="--allow-pipes"):
        make_feats(path, tmp_path / "out", CONFIG)
    make_feats(path, tmp_path / "out", CONFIG, allow_pipes=True)
    feats = FeatureReader(DataDir.read(tmp_path / "out", allow_pipes=True), "global")
    np.testing.assert_array_equal(feats["ann-0"], extract(WAVES["ann-0"], CONFIG.spec))


READY = {utt: (5 + RNG.standard_normal((30, 4))).astype(np.float32) for utt in WAVES}


@pytest.mark.parametrize("described", [True, False])
def test_ready_made_features_stay_where_they_are(
    external_dir: Callable[..., Path], tmp_path: Path, described: bool
) -> None:
    path = external_dir(READY)
    spec = FeatureSpec(kind="external", name="mine")
    if described:
        write_spec(spec, path)
    config = None if described else FeatsConfig(kind="external", name="mine")
    make_feats(path, tmp_path / "out", config)
    assert faults(tmp_path / "out") == []
    assert read_spec(tmp_path / "out") == spec.model_copy(update={"dim": 4})
    assert not list((tmp_path / "out").glob("feats*.ark"))
    data = DataDir.read(tmp_path / "out", ("feats", "cmvn", "num_frames"))
    assert set(data.num_frames.values()) == {30}
    for utt_id, feats in all_feats(tmp_path / "out").items():
        np.testing.assert_array_equal(feats, READY[utt_id])


def test_relative_archives_are_found_from_the_feature_directory(
    external_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = external_dir(READY)
    entries = {k: v.rpartition("/")[2] for k, v in read_table(path / "feats.scp").items()}
    write_table(path / "feats.scp", entries)
    make_feats(path, tmp_path / "out", FeatsConfig(kind="external"))
    monkeypatch.chdir("/")
    assert all_feats(tmp_path / "out").keys() == READY.keys()


def test_bad_ready_made_features_are_all_named(
    external_dir: Callable[..., Path], tmp_path: Path
) -> None:
    nan = READY["ann-1"].copy()
    nan[3, 1] = np.nan
    path = external_dir({**READY, "ann-1": nan, "bob-1": READY["bob-1"][:, :3]})
    with pytest.raises(InputError) as error:
        make_feats(path, tmp_path / "out", FeatsConfig(kind="external"))
    found = str(error.value)
    assert "ann-1: nan in frame 3, coefficient 1" in found
    assert "bob-1: 3 coefficients, expected 4" in found
    assert "asr-kd validate" in found
    with pytest.raises(InputError, match="ann-0: 4 coefficients, expected 13"):
        make_feats(path, tmp_path / "out", FeatsConfig(kind="external", dim=13))
    assert not (tmp_path / "out").exists()


def test_dimensions_differ_between_shards(
    external_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "SHARD_SIZE", 3)
    one_speaker = {f"ann-{n}": v[:, : 4 if n < 3 else 3] for n, v in enumerate(READY.values())}
    path = external_dir(one_speaker)
    with pytest.raises(InputError, match=r"matrices of \[3, 4\] coefficients"):
        make_feats(path, tmp_path / "out", FeatsConfig(kind="external"))


def test_truncated_archive(external_dir: Callable[..., Path], tmp_path: Path) -> None:
    path = external_dir(READY)
    (path / "raw.ark").write_bytes((path / "raw.ark").read_bytes()[:-10])
    with pytest.raises(InputError, match=r"raw\.ark: bob-2: corrupt or truncated"):
        make_feats(path, tmp_path / "out", FeatsConfig(kind="external"))


def test_external_needs_feats_and_others_need_sound(
    data_dir: Callable[..., Path], external_dir: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"feats\.scp: no such file"):
        make_feats(data_dir(WAVES), tmp_path / "out", FeatsConfig(kind="external"))
    with pytest.raises(InputError, match=r"wav\.scp: no such file"):
        make_feats(external_dir(READY), tmp_path / "out", CONFIG)


def test_manifest_tells_the_whole_configuration(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    make_feats(data_dir(WAVES), tmp_path / "out", CONFIG)
    config = json.loads((tmp_path / "out/manifest.json").read_text())["config"]
    assert FeatsConfig.model_validate(config) == CONFIG
