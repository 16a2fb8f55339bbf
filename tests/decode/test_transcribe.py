"""Planted words: each state of a toy word is a tone in a mel filter of its own."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typer.testing import CliRunner

import asr_kd.cli.export  # noqa: F401  (registers with the application)
from asr_kd.artefact import Artefact
from asr_kd.cli.app import app
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.decode import decode
from asr_kd.decode.export import export
from asr_kd.decode.transcribe import Student, transcribe
from asr_kd.errors import InputError
from asr_kd.features.make_feats import FeatsConfig, make_feats
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint, CmvnMode

RATE = 8000
SPEC = FeatureSpec(kind="fbank", sample_rate=RATE, num_mel=4)
SEARCH = DecodeConfig(scales=Scales(acoustic_scale=1.0))
TEXT = {"s-1": "a b", "s-2": "b a a", "t-1": "a b b a"}


def tones() -> NDArray[np.float64]:
    """The filters' centres in Hz."""
    low, high = 1127 * np.log1p(np.array([SPEC.low_freq, RATE / 2]) / 700)
    mel = low + (high - low) / 5 * np.arange(1, 5)
    return 700 * np.expm1(mel / 1127)


def sound(words: Sequence[str], rate: int = RATE) -> NDArray[np.float32]:
    """A tenth of a second of tone for each state."""
    time = np.arange(rate // 10) / rate
    states = [2 * (word == "b") + k for word in words for k in range(2)]
    return np.concatenate([np.sin(2 * np.pi * tones()[k] * time) for k in states]) * 0.5


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for utt_id, text in TEXT.items():
        soundfile.write(folder / f"{utt_id}.wav", sound(text.split()), RATE)
    return folder


def student(toy: Any, cmvn: CmvnMode = "global", spec: FeatureSpec = SPEC) -> Path:
    """An exported network whose logits are four log-mel energies, or their normalised values."""
    plain = Checkpoint.load(toy.model)
    folder = toy.root / f"{cmvn}-model"
    Checkpoint(plain.model, plain.label_set, spec, cmvn, plain.log_prior).save(folder)
    out = toy.root / f"{cmvn}-student"
    export(folder, out, SEARCH, graph=toy.graph)
    return out


@pytest.mark.parametrize("cmvn", ["global", "utterance", "speaker"])
def test_planted_words(cmvn: CmvnMode, toy: Any, audio: Path) -> None:
    opened = Student(student(toy, cmvn))
    files = sorted(audio.iterdir())
    found = list(transcribe(files, opened))
    assert [one.path for one in found] == files
    assert {one.path.stem: " ".join(one.words) for one in found} == TEXT
    assert all(one.complete for one in found)


def test_scales_that_nobody_set_are_those_of_the_labels(toy: Any) -> None:
    folder = student(toy)
    (folder / "decode.yaml").write_text("beam: 20\n")
    assert Student(folder).scales == Scales()
    labels = LabelSet.load(folder / "labels.json")
    LabelSet("ctc-char", labels.names).save(folder / "labels.json")
    plain = Scales(acoustic_scale=1.0, prior_scale=0.0)
    assert Student(folder).scales == plain
    (folder / "decode.yaml").write_text("scales: {acoustic_scale: 2.0}\n")
    assert Student(folder).scales == plain.model_copy(update={"acoustic_scale": 2.0})


def test_as_features_and_decode_do(toy: Any, audio: Path, tmp_path: Path) -> None:
    """The long way round gives the same posteriors and words."""
    exported = student(toy, "speaker")
    data = tmp_path / "data"
    data.mkdir()
    write_table(data / "wav.scp", {utt: str(audio / f"{utt}.wav") for utt in TEXT})
    write_table(data / "utt2spk", {utt: utt.split("-")[0] for utt in TEXT})
    write_table(data / "spk2utt", {"s": "s-1 s-2", "t": "t-1"})
    write_table(data / "text", TEXT)
    make_feats(data, tmp_path / "feats", FeatsConfig(**SPEC.model_dump()))
    decode([str(exported)], tmp_path / "feats", toy.graph, tmp_path / "long", SEARCH)
    files = [audio / "s-1.wav", audio / "s-2.wav"]
    found = transcribe(files, Student(exported), one_speaker=True)
    lines = "".join(f"{one.path.stem} {' '.join(one.words)}\n" for one in found)
    assert lines == (tmp_path / "long" / "hyp").read_text().split("t-1")[0]


def test_one_speaker_shares_its_statistics(
    toy: Any, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their speaker's mean, two files are each a bit off their own."""
    opened = Student(student(toy, "speaker"))
    means: list[float] = []
    log_posts = opened.log_posts
    monkeypatch.setattr(opened, "log_posts", lambda x: (means.append(x.mean()), log_posts(x))[1])
    files = [audio / "s-1.wav", audio / "s-2.wav"]
    list(transcribe(files, opened))
    assert np.abs(means).max() < 1e-4
    means.clear()
    list(transcribe(files, opened, one_speaker=True))
    counts = [len(opened.features(path)) for path in files]
    assert np.abs(means).min() > 1e-3
    assert abs(np.dot(means, counts)) < 1e-2


def test_the_folder_is_enough_and_torch_is_not_needed(
    toy: Any, audio: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere" / "student"
    shutil.copytree(student(toy), alone)
    for name in ("graph", "model", "global-model", "global-student"):
        shutil.rmtree(toy.root / name)
    script = (
        "import sys; from asr_kd.cli.main import main\n"
        f"sys.argv = ['asr-kd', 'transcribe', {str(audio / 's-1.wav')!r}, '--model', "
        f"{str(alone)!r}]\n"
        "try:\n    main()\n"
        "finally:\n    print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{audio / 's-1.wav'}\ta b\nFalse\n"


def test_another_sample_rate(toy: Any, tmp_path: Path) -> None:
    path = tmp_path / "fast.wav"
    soundfile.write(path, sound(["b", "a"], 16000), 16000)
    opened = Student(student(toy))
    with pytest.raises(InputError, match=r"fast.wav: 16000 Hz, .* 8000 Hz; --resample"):
        transcribe([path], opened)
    (found,) = transcribe([path], opened, convert=True)
    assert found.words == ["b", "a"]


def test_all_faulty_files_at_once(toy: Any, audio: Path, tmp_path: Path) -> None:
    stereo, torn = tmp_path / "stereo.wav", tmp_path / "torn.wav"
    soundfile.write(stereo, np.zeros((800, 2)), RATE)
    torn.write_bytes((audio / "s-1.wav").read_bytes()[:900])
    files = [audio / "s-1.wav", stereo, torn, tmp_path / "nowhere.wav"]
    with pytest.raises(InputError) as refused:
        transcribe(files, Student(student(toy)))
    assert len(refused.value.faults) == 3
    for path in files[1:]:
        assert str(path) in str(refused.value)


def test_shorter_than_a_frame(toy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(100), RATE)
    (found,) = transcribe([path], Student(student(toy)))
    assert (found.words, found.complete) == ([], False)
    assert "short.wav: shorter than one frame" in caplog.text


def test_a_partial_path_is_said(toy: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "half.wav"
    soundfile.write(path, sound(["a"])[: SPEC.length], RATE)  # one frame, for two states
    opened = Student(student(toy))
    (found,) = transcribe([path], opened)
    assert not found.complete
    assert "half.wav: the path found is not complete" in caplog.text


def test_folders_that_are_no_students(toy: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model.yaml, decode.yaml, HCLG.fst, words.txt"):
        Student(toy.model)
    export(toy.model, tmp_path / "no-graph", DecodeConfig())
    advice = r"export MODEL --graph .*any words .*`asr-kd make-ctc-graph` open_vocabulary=true"
    with pytest.raises(InputError, match=f"no decode.yaml, HCLG.fst, words.txt.*{advice}"):
        Student(tmp_path / "no-graph")
    export(toy.model, tmp_path / "external", SEARCH, graph=toy.graph)
    with pytest.raises(InputError, match="'logits', were made elsewhere"):
        Student(tmp_path / "external")
    whole = student(toy)
    (whole / "HCLG.fst").write_bytes(b"")
    opened = Student(whole)
    with pytest.raises(InputError, match=r"HCLG.fst: corrupt"):
        opened.search(np.zeros((3, 4), np.float32), "utt")


def test_the_verbs(toy: Any, audio: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    folder = toy.root / "global-model"
    student(toy)
    out = tmp_path / "by-verb"
    arguments = ["export", str(folder), "scales.acoustic_scale=1", "beam=11", "--int8", "--graph",
                 str(toy.graph), "--out", str(out)]  # fmt: skip
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert Artefact(out, "export", {}, {}).path == out
    files = [str(audio / f"{utt}.wav") for utt in TEXT]
    done = runner.invoke(app, ["transcribe", *files, "--model", str(out), "--threads", "2"])
    assert done.stdout == "".join(
        f"{path}\t{text}\n" for path, text in zip(files, TEXT.values(), strict=True)
    )


@pytest.mark.parametrize(("wanted", "status"), [("0.01", 0), ("1e9", 1)])
def test_the_benchmark(wanted: str, status: int, toy: Any, audio: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "bench_transcribe.py"
    command = [sys.executable, str(tool), str(student(toy)), str(audio / "s-1.wav"),
               "--repeats", "1", "--at-least", wanted]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "times real time" in done.stdout
