"""The stage `perturb-speed`, and what make-feats makes of its directory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asr_kd.artefact import read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.data.subset import Fold, Units, utterance_lengths
from asr_kd.data.validate import faults
from asr_kd.errors import InputError
from asr_kd.features.extract import extract
from asr_kd.features.make_feats import FeatsConfig, make_feats
from asr_kd.features.perturb_speed import parse_factors, perturb_speed
from asr_kd.features.reader import FeatureReader
from asr_kd.io.audio import read_audio, resample
from asr_kd.io.table import read_table, write_table

Floats = NDArray[np.float32]
RATE = 8000
CONFIG = FeatsConfig(sample_rate=RATE, num_mel=15)


def tone(hertz: float, seconds: float) -> Floats:
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


WAVES = {
    f"{speaker}-{n}": tone(500 + 200 * n, 0.4 + 0.1 * n)
    for speaker in ("ann", "bob")
    for n in (0, 1)
}


def pitch(samples: Floats) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
    return float(spectrum.argmax()) * RATE / (1 << 16)


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.97])
@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_speed_moves_pitch_and_length_alike(speed: float, rate: int) -> None:
    times = np.arange(rate) / rate
    heard = resample((0.3 * np.sin(2 * np.pi * 1000 * times)).astype(np.float32), rate, RATE, speed)
    assert len(heard) == np.ceil(RATE / np.round(speed, 3) - 1e-9)
    assert pitch(heard) == pytest.approx(1000 * speed, abs=0.5)
    # Away from its ends it is the very tone, band-limited interpolation and no other.
    inside = np.arange(200, len(heard) - 200)
    wanted = 0.3 * np.sin(2 * np.pi * 1000 * speed * inside / RATE)
    assert np.abs(heard[inside] - wanted).max() < 0.003


def test_a_perturbed_directory(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data, out, feats = data_dir(WAVES), tmp_path / "sp", tmp_path / "feats"
    perturb_speed(data, (0.9, 1.1), out)
    assert faults(out) == []
    made = DataDir.read(out, ("wav", "text", "speed"))
    assert len(made.utt2spk) == 3 * len(WAVES)
    for mark, speed in (("", 1.0), ("sp0.9-", 0.9), ("sp1.1-", 1.1)):
        for utt in WAVES:
            assert made.utt2spk[mark + utt] == mark + utt.split("-")[0]
            assert made.speed[mark + utt] == speed
            assert made.text[mark + utt] == "one two"
            assert made.wav[mark + utt] == str(data / "wav" / f"{utt}.wav")
            assert utterance_lengths(made)[mark + utt] == len(WAVES[utt]) / RATE / speed
    assert read_table(out / "utt2speed")["sp0.9-ann-0"] == "0.9"
    assert read_manifest(out, "perturb-speed").info == {"utterances": 12, "originals": 4}

    make_feats(out, feats, CONFIG)
    assert faults(feats) == []
    found = DataDir.read(feats, ("feats", "cmvn", "speed"))
    matrices = dict(FeatureReader(found, "global"))
    for utt in WAVES:
        sound, _ = read_audio(str(data / "wav" / f"{utt}.wav"))
        np.testing.assert_array_equal(matrices[utt], extract(sound, CONFIG.spec))
        slow = extract(resample(sound, RATE, RATE, 0.9), CONFIG.spec)
        np.testing.assert_array_equal(matrices[f"sp0.9-{utt}"], slow)
        assert len(slow) == pytest.approx(len(matrices[utt]) / 0.9, abs=3)
    assert set(found.cmvn) == {f"{m}{s}" for m in ("", "sp0.9-", "sp1.1-") for s in ("ann", "bob")}


def test_segments_are_cut_before_they_are_resampled(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    data = data_dir({"rec": np.concatenate([tone(500, 0.5), tone(1500, 0.5)])})
    write_table(data / "segments", {"ann-0": "rec 0.0 0.5", "ann-1": "rec 0.5 1.0"})
    write_table(data / "utt2spk", {"ann-0": "ann", "ann-1": "ann"})
    write_table(data / "text", {"ann-0": "one", "ann-1": "two"})
    perturb_speed(data, (0.9,), tmp_path / "sp")
    made = DataDir.read(tmp_path / "sp", ("wav",))
    assert list(made.wav) == ["rec"]
    assert made.segments["sp0.9-ann-1"] == made.segments["ann-1"]
    assert utterance_lengths(made)["sp0.9-ann-1"] == 0.5 / 0.9
    make_feats(tmp_path / "sp", tmp_path / "feats", CONFIG)
    sound, _ = read_audio(str(data / "wav/rec.wav"), 0.5, 1.0)
    np.testing.assert_array_equal(
        FeatureReader(DataDir.read(tmp_path / "feats"), "global")["sp0.9-ann-1"],
        extract(resample(sound, RATE, RATE, 0.9), CONFIG.spec),
    )


@pytest.mark.parametrize("by", ["speaker", "utterance"])
def test_folds_never_part_the_speeds(
    data_dir: Callable[..., Path], tmp_path: Path, by: str
) -> None:
    perturb_speed(data_dir(WAVES), (0.9, 1.1), tmp_path / "sp")
    units = Units.of(DataDir.read(tmp_path / "sp"), by, seed=3)  # type: ignore[arg-type]
    folds = [{*units.utterances(units.fold(Fold(k, 2)))} for k in (1, 2)]
    assert folds[0].isdisjoint(folds[1])
    for fold in folds:
        originals = {utt for utt in fold if not utt.startswith("sp")}
        assert fold == {mark + utt for utt in originals for mark in ("", "sp0.9-", "sp1.1-")}
    plain = Units.of(DataDir.read(tmp_path / "data"), by, seed=3)  # type: ignore[arg-type]
    assert plain.names == units.names


def test_it_is_made_once_and_anew_for_other_factors(
    data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = data_dir(WAVES), tmp_path / "sp"
    perturb_speed(data, (0.9,), out)
    before = (out / "manifest.json").stat().st_mtime_ns
    perturb_speed(data, (0.9,), out)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    perturb_speed(data, (1.25,), out)
    assert set(DataDir.read(out).speed.values()) == {1.0, 1.25}


def test_factors_that_are_none() -> None:
    assert parse_factors("0.9,1.1") == (0.9, 1.1)
    with pytest.raises(InputError) as error:
        parse_factors("0.9,fast,1.0,0.9,3,0.90001,-1,nan,")
    said = "\n".join(error.value.faults)
    assert len(error.value.faults) == 8
    for part in ("'fast'", "'3'", "'0.90001'", "'-1'", "'nan'", "''"):
        assert f"factor {part}: expected a speed from 0.5 to 2" in said
    assert "factor '1.0': the original speed is always kept" in said
    assert "factor '0.9': stands twice" in said


def test_what_cannot_be_perturbed(data_dir: Callable[..., Path], tmp_path: Path) -> None:
    data = data_dir({**WAVES, "sp0.9-ann-0": WAVES["ann-0"]})
    with pytest.raises(InputError, match=r"sp0\.9-ann-0: stands already, and would be the name"):
        perturb_speed(data, (0.9,), tmp_path / "sp")
    perturb_speed(data, (1.1,), tmp_path / "sp")
    with pytest.raises(InputError, match=r"sp1\.1-bob-1: its speed is 1\.1 already"):
        perturb_speed(tmp_path / "sp", (0.9,), tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    (data / "wav.scp").unlink()
    with pytest.raises(InputError, match=r"wav.scp: no such file"):
        perturb_speed(data, (1.1,), tmp_path / "global")


@pytest.mark.parametrize(
    ("speed", "said"), [("0", "0.5 to 2"), ("inf", "0.5 to 2"), (None, "missing")]
)
def test_bad_tables_of_speeds(
    data_dir: Callable[..., Path], tmp_path: Path, speed: str | None, said: str
) -> None:
    data = data_dir(WAVES)
    speeds = dict.fromkeys(WAVES, "0.9") | ({"bob-1": speed} if speed else {})
    if speed is None:
        del speeds["bob-1"]
    write_table(data / "utt2speed", speeds)
    with pytest.raises(InputError, match=rf"utt2speed(:4)?: bob-1: .*{said}"):
        make_feats(data, tmp_path / "feats", CONFIG)
    assert any("utt2speed" in fault and said in fault for fault in faults(data))
