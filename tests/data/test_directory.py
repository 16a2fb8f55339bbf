from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.data.directory import DataDir
from asr_kd.data.tables import Segment
from asr_kd.errors import InputError

ID = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=6)
TIME = st.floats(0, 1e5, allow_nan=False)
SPEED = st.integers(500, 2000).map(lambda thousandths: thousandths / 1000)


@st.composite
def data_dirs(draw: st.DrawFn) -> DataDir:
    utts = draw(st.lists(ID, min_size=1, max_size=6, unique=True))
    speakers = {utt: draw(ID) for utt in utts}
    text = {utt: " ".join(draw(st.lists(ID, max_size=3))) for utt in utts}
    num_frames = {utt: draw(st.integers(1, 9999)) for utt in utts}
    if draw(st.booleans()):
        segments = {}
        for utt in utts:
            start, end = sorted(draw(st.lists(TIME, min_size=2, max_size=2, unique=True)))
            segments[utt] = Segment(draw(ID), start, end)
        wav = {segment.recording: "x.wav" for segment in segments.values()}
        return DataDir(Path("d"), speakers, wav, segments, text, num_frames=num_frames)
    return DataDir(Path("d"), speakers, dict.fromkeys(utts, "x.wav"), {}, text,
                   dict.fromkeys(utts, "x.ark:7"), dict.fromkeys(speakers.values(), "c.ark:7"),
                   num_frames, {utt: draw(SPEED) for utt in utts})  # fmt: skip


@settings(max_examples=60)
@given(data_dirs())
def test_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: DataDir
) -> None:
    folder = tmp_path_factory.mktemp("data")
    data.write(folder)
    read = DataDir.read(folder)
    for name in ("utt2spk", "wav", "segments", "text", "feats", "cmvn", "num_frames", "speed"):
        assert getattr(read, name) == getattr(data, name), name
    for file in folder.iterdir():
        keys = [line.split(" ")[0].encode() for line in file.read_text().splitlines()]
        assert keys == sorted(keys)


@settings(max_examples=30)
@given(data_dirs(), st.data())
def test_a_subset_is_a_sound_directory(
    tmp_path_factory: pytest.TempPathFactory, data: DataDir, draw: st.DataObject
) -> None:
    kept = draw.draw(st.sets(st.sampled_from(data.utt_ids), min_size=1))
    folder = tmp_path_factory.mktemp("data")
    data.subset(kept).write(folder)
    read = DataDir.read(folder)
    assert set(read.utt_ids) == kept
    assert all(read.text[utt] == data.text[utt] for utt in kept)
    assert all(read.audio(utt) == data.audio(utt) for utt in kept)
    assert {utt for utts in read.spk2utt.values() for utt in utts} == kept


def test_a_subset_of_strangers_is_refused() -> None:
    with pytest.raises(InputError, match="zz: no such utterance"):
        DataDir(Path("d"), {"a": "s"}).subset(["a", "zz"])


def test_where_the_sound_of_an_utterance_is() -> None:
    whole = DataDir(Path("d"), {"a": "s"}, {"a": "a.wav"})
    assert whole.audio("a") == ("a.wav", 0.0, None)
    cut = DataDir(Path("d"), {"a": "s"}, {"r": "r.wav"}, {"a": Segment("r", 1.5, 2.0)})
    assert cut.audio("a") == ("r.wav", 1.5, 2.0)


def test_order_is_that_of_the_c_locale() -> None:
    data = DataDir(Path("d"), {"b-1": "b", "B-1": "B", "b-10": "b", "é-1": "é", "b1": "b"})
    assert data.utt_ids == ["B-1", "b-1", "b-10", "b1", "é-1"]
    assert list(data.spk2utt.items()) == [("B", ["B-1"]), ("b", ["b-1", "b-10", "b1"]),
                                          ("é", ["é-1"])]  # fmt: skip


def test_relative_sound_files_count_from_here_or_from_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, here = tmp_path / "data", tmp_path / "here"
    DataDir(data, {"a": "a", "b": "b"}, {"a": "a.wav", "b": "b.wav"}).write(data)
    for file in (here / "a.wav", data / "a.wav", data / "b.wav"):
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, np.zeros(10), 8000)
    monkeypatch.chdir(here)
    wav = DataDir.read(data, require=("wav",)).wav
    assert wav == {"a": "a.wav", "b": str(data / "b.wav")}


def test_all_faults_come_together(tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("b s\na s\n")
    (tmp_path / "wav.scp").write_text("a nowhere.wav\nb sph2pipe x.sph |\n")
    with pytest.raises(InputError) as error:
        DataDir.read(tmp_path, require=("wav", "text"))
    faults = "\n".join(error.value.faults)
    for fault in ("utt2spk:2: a: out of order", "text: no such file", "wav.scp:2: b: 'sph2pipe",
                  "wav.scp:1: a: no such file nowhere.wav"):  # fmt: skip
        assert fault in faults
    assert len(error.value.faults) == 4


def test_pipes_are_read_where_allowed_and_not_run(tmp_path: Path) -> None:
    command = f"touch {tmp_path}/ran |"
    DataDir(tmp_path, {"a": "a"}, {"a": command}).write(tmp_path)
    assert DataDir.read(tmp_path, ("wav",), allow_pipes=True).wav == {"a": command}
    with pytest.raises(InputError, match="--allow-pipes"):
        DataDir.read(tmp_path)
    assert not (tmp_path / "ran").exists()
