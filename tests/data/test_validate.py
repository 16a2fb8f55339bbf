from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import asr_kd.cli.data  # noqa: F401  registers the verbs
from asr_kd.cli.app import app
from asr_kd.data.directory import DataDir
from asr_kd.data.tables import Segment
from asr_kd.data.validate import faults, warnings
from asr_kd.io.ark import ArkWriter

UTTS = ["s1-a", "s1-b", "s2-a"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory without a fault: three segments of two recordings, with features."""
    for name in ("r1", "r2"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000), 8000)
    with ArkWriter(tmp_path / "feats.ark") as ark:
        for utt in UTTS:
            ark.write(utt, np.ones((50, 3), np.float32))
    DataDir(
        tmp_path,
        utt2spk={utt: utt[:2] for utt in UTTS},
        wav={name: str(tmp_path / f"{name}.wav") for name in ("r1", "r2")},
        segments={
            "s1-a": Segment("r1", 0.0, 0.5), "s1-b": Segment("r1", 0.5, 1.0),
            "s2-a": Segment("r2", 1.0, 2.0),
        },
        text=dict.fromkeys(UTTS, "YES NO"),
        feats=ark.scp,
        cmvn=dict.fromkeys(["s1", "s2"], "cmvn.ark:3"),
        num_frames=dict.fromkeys(UTTS, 50),
    ).write(tmp_path)  # fmt: skip
    return tmp_path


def test_a_sound_directory_has_no_faults(data: Path) -> None:
    assert faults(data) == []
    assert warnings(data) == []


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        text = (data / file).read_text()
        assert old in text
        (data / file).write_text(text.replace(old, new, 1))

    return do


def append(file: str, line: str) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        with (data / file).open("a") as out:
            out.write(line)

    return do


def sound(name: str, seconds: float, rate: int, channels: int = 1) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        soundfile.write(data / name, np.zeros((round(seconds * rate), channels)), rate)

    return do


def features(values: dict[str, np.ndarray]) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        with ArkWriter(data / "feats.ark") as ark:
            for utt in UTTS:
                ark.write(utt, values.get(utt, np.ones((50, 3), np.float32)))
        read = DataDir.read(data)
        DataDir(data, read.utt2spk, feats=ark.scp).write(data)

    return do


def cut(name: str) -> Callable[[Path], None]:
    def do(data: Path) -> None:
        (data / name).write_bytes((data / name).read_bytes()[:-20])

    return do


NAN = np.ones((50, 3), np.float32)
NAN[7, 1] = np.nan

FAULTS = {
    "unsorted": (edit("text", "s1-a YES NO\ns1-b", "s1-b YES NO\ns1-a"),
                 ["text:2: s1-a: out of order: stands behind s1-b"]),
    "duplicate": (append("text", "s2-a AGAIN\n"), ["text:4: s2-a stands already in line 3"]),
    "no text": (edit("text", "s1-b YES NO\n", ""), ["text: s1-b: missing"]),
    "stranger in text": (append("text", "s3-a YES\n"), ["text:4: s3-a: not in"]),
    "no speaker": (edit("utt2spk", "s1-a s1", "s1-a"), ["utt2spk:1: s1-a has no value"]),
    "two speakers": (edit("utt2spk", "s1-a s1", "s1-a s1 s2"),
                     ["utt2spk:1: s1-a: expected one speaker"]),
    "utterance of another speaker": (
        edit("spk2utt", "s1 s1-a s1-b\ns2 s2-a", "s1 s1-a\ns2 s1-b s2-a"),
        ["spk2utt:2: s2: s1-b is of s1"]),
    "speaker without utterances": (append("spk2utt", "s9 s9-a\n"),
                                   ["spk2utt:3: s9: s9-a: not in"]),
    "utterance missing in spk2utt": (edit("spk2utt", " s1-b", ""), ["spk2utt: s1-b: missing"]),
    "utterance twice in spk2utt": (edit("spk2utt", "s1-b", "s1-b s1-b"),
                                   ["spk2utt:1: s1: s1-b is listed twice"]),
    "spk2utt not there": (lambda data: (data / "spk2utt").unlink(), ["spk2utt: no such file"]),
    "segment backwards": (edit("segments", "0.5 1.0", "1.0 0.5"), ["segments:2: s1-b: expected"]),
    "segment negative": (edit("segments", "0.0 0.5", "-1 0.5"), ["segments:1: s1-a: expected"]),
    "segment of four": (edit("segments", "0.0 0.5", "0 0.5 1"), ["segments:1: s1-a: expected"]),
    "segment without numbers": (edit("segments", "0.0 0.5", "0.0 x"),
                                ["segments:1: s1-a: expected"]),
    "segment infinite": (edit("segments", "1.0 2.0", "1.0 inf"), ["segments:3: s2-a: expected"]),
    "segment beyond": (edit("segments", "1.0 2.0", "1.0 2.6"),
                       ["segments:3: s2-a: 1.0-2.6 s is not inside r2, which lasts 2.000 s"]),
    "segment behind": (edit("segments", "1.0 2.0", "2.0 2.3"), ["segments:3: s2-a: 2.0-2.3 s"]),
    "segment of no recording": (edit("segments", "s2-a r2", "s2-a r9"),
                                ["segments:3: s2-a: recording r9 is not in"]),
    "segments out of order": (edit("segments", "s1-a", "s2-z"),
                              ["segments:2: s1-b: out of order", "segments:1: s2-z: not in",
                               "segments: s1-a: missing"]),
    "audio not there": (lambda data: (data / "r2.wav").unlink(), ["wav.scp:2: r2: no such file"]),
    "audio truncated": (cut("r2.wav"), ["wav.scp:2: r2: ", "truncated"]),
    "audio empty": (sound("r2.wav", 0, 8000), ["wav.scp:2: r2: ", "empty"]),
    "audio stereo": (sound("r2.wav", 2, 8000, 2), ["wav.scp:2: r2: ", "2 channels"]),
    "pipe": (edit("wav.scp", "r1 ", "r1 cat x.wav | #"), ["wav.scp:1: r1: no such file"]),
    "pipe at the end": (edit("wav.scp", ".wav\n", ".wav |\n"), ["wav.scp:1: r1: ", "is a pipe"]),
    "pipe in feats": (edit("feats.scp", "s1-a ", "s1-a cat x |"),
                      ["feats.scp:1: s1-a: ", "is a pipe"]),
    "frames differ": (edit("utt2num_frames", "s1-b 50", "s1-b 51"),
                      ["utt2num_frames:2: s1-b: 51 frames, the archive has 50"]),
    "frames no number": (edit("utt2num_frames", "s1-b 50", "s1-b ²"),
                         ["utt2num_frames:2: s1-b: expected a positive whole number"]),
    "frames missing": (edit("utt2num_frames", "s1-b 50\n", ""), ["utt2num_frames: s1-b: missing"]),
    "features missing": (edit("feats.scp", "s2-a", "s2-b"),
                         ["feats.scp:3: s2-b: not in", "feats.scp: s2-a: missing"]),
    "features truncated": (cut("feats.ark"), ["feats.scp:3: s2-a: ", "corrupt or truncated"]),
    "NaN": (features({"s1-b": NAN}), ["feats.scp:2: s1-b: NaN or infinity in frame 7"]),
    "another dimension": (features({"s2-a": np.ones((50, 4), np.float32)}),
                          ["feats.scp:3: s2-a: 4 coefficients, the first has 3"]),
    "cmvn of nobody": (edit("cmvn.scp", "s2", "s3"), ["cmvn.scp:2: s3: not in", "s2: missing"]),
    "leading blank": (edit("text", "s1-b", " s1-b"), ["text:2: begins with white space"]),
    "no-break space": (edit("text", "s1-b YES", "s1-b YES\u00a0"),
                       ["text:2: white space other than blank and tab (U+00A0)"]),
    "carriage return": (edit("text", "NO\n", "NO\r\n"), ["text:1: white space", "U+000D"]),
    "blank line": (append("text", "\n"), ["text:4: blank line"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_with_its_place(data: Path, name: str) -> None:
    spoil, expected = FAULTS[name]
    spoil(data)
    found = "\n".join(faults(data))
    for fault in expected:
        assert fault in found


def test_the_wrong_rate_is_the_one_that_differs(data: Path) -> None:
    soundfile.write(data / "r3.wav", np.zeros(32000), 16000)
    append("wav.scp", f"r3 {data}/r3.wav\n")(data)
    assert faults(data) == [f"{data}/wav.scp:3: r3: 16000 Hz, the others have 8000 Hz"]


def test_a_fault_in_one_place_does_not_hide_others(data: Path) -> None:
    append("text", "s2-a AGAIN\n")(data)
    edit("text", "s1-b YES NO\n", "")(data)
    edit("utt2num_frames", "s1-b 50", "s1-b 51")(data)
    (data / "r1.wav").unlink()
    assert len(faults(data)) == 4


def test_a_directory_needs_sound_or_features(tmp_path: Path) -> None:
    assert faults(tmp_path / "absent") == [
        f"{tmp_path}/absent: no such folder; expected a Kaldi data directory"
    ]
    found = faults(tmp_path)
    assert any("utt2spk: no such file" in fault for fault in found)
    assert any("neither wav.scp nor feats.scp" in fault for fault in found)
    (tmp_path / "utt2spk").touch()
    assert any("utt2spk: no utterances" in fault for fault in faults(tmp_path))


def test_what_is_only_strange_is_a_warning(data: Path) -> None:
    edit("utt2spk", "s2-a s2", "s2-a x2")(data)
    edit("spk2utt", "s2 s2-a", "x2 s2-a")(data)
    edit("cmvn.scp", "s2", "x2")(data)
    edit("text", "s1-b YES NO", "s1-b")(data)
    append("wav.scp", f"r3 {data}/r2.wav\n")(data)
    assert faults(data) == []
    found = warnings(data)
    assert len(found) == 3
    for part in ("utt2spk:3: s2-a: speaker x2 is no prefix", "text:2: s1-b: no words",
                 "wav.scp:3: r3: no segment"):  # fmt: skip
        assert any(part in warning for warning in found)


def test_the_verb_lists_all_and_exits_with_2(data: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["validate", str(data), "--require", "text"]).exit_code == 0
    for utt in range(70):
        append("text", f"s9-{utt:03} YES\n")(data)
    result = run(app, ["validate", str(data)])
    assert result.exit_code == 2
    assert result.stdout.count("text:") == 70
    assert run(app, ["validate", str(data), "--require", "nonsense"]).exit_code == 2
