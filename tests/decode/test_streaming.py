"""Heard in blocks, a file is what it is as a whole: random networks, and words that are planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import asr_kd.cli.export  # noqa: F401  (registers with the application)
from asr_kd.cli.app import app
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.export import export
from asr_kd.decode.streaming import stream
from asr_kd.decode.transcribe import Student, transcribe
from asr_kd.errors import InputError
from asr_kd.features.extract import extract
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.audio import read_audio
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.unit_stages import UnitsConfig, train_units
from asr_kd.labels.units import Units
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint, CmvnMode
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
)
from asr_kd.search.ctc_stages import CtcGraphConfig, make_ctc_graph
from asr_kd.search.stages import LmConfig, train_lm

RATE = 8000
SPEC = FeatureSpec(kind="fbank", sample_rate=RATE, num_mel=6)
CENTRED = SPEC.model_copy(update={"snip_edges": False})
SEARCH = DecodeConfig(scales=Scales(acoustic_scale=1.0, insertion_penalty=-2.0))
CAUSAL = TdnnConfig(
    layers=tuple(TdnnLayerConfig(offsets=o, width=10) for o in ((-2, -1, 0), (-4, -2, 0)))
)
CHUNKED = ConformerConfig(
    num_layers=2, width=12, num_heads=3, kernel=4, chunk=4, left_chunks=1,
    subsampling=SubsamplingConfig(factor=3, width=12),
)  # fmt: skip


@pytest.fixture
def audio(tmp_path: Path) -> list[Path]:
    """Noise whose loudness and colour change all the time, of several lengths."""
    folder, rng = tmp_path / "audio", np.random.default_rng(5)
    folder.mkdir()
    paths = []
    for k, seconds in enumerate((2.5, 1.1, 0.05, 3.53)):
        pieces = rng.standard_normal((int(seconds * RATE) // 400, 400))
        pieces[::2] = np.cumsum(pieces[::2], axis=1) / 20
        pieces *= 0.01 * 10 ** rng.uniform(0, 1, (len(pieces), 1))
        paths.append(folder / f"{k}.wav")
        soundfile.write(paths[-1], pieces.ravel(), RATE)
    return paths


def random_model(
    folder: Path,
    config: AnyModelConfig,
    labels: LabelSet,
    audio: list[Path],
    spec: FeatureSpec = SPEC,
    cmvn: CmvnMode = "global",
) -> Path:
    torch.manual_seed(2)
    model = build_model(config, SPEC.num_mel, len(labels)).eval()
    model.frontend.fit(torch.from_numpy(extract(read_audio(p)[0], spec)) for p in audio)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.4 * torch.randn_like(weights)
        model.output.weight *= 4
    prior = np.log(np.full(len(labels), 1 / len(labels), np.float32))
    Checkpoint(model, labels, spec, cmvn, prior).save(folder)
    return folder


def ctc_graph(root: Path) -> tuple[Path, LabelSet]:
    (root / "text.txt").write_text("A BA\nB\nBA A B\nA B\n")
    train_units(root / "text.txt", root / "units", UnitsConfig(kind="char", normaliser="plain"))
    train_lm(root / "text.txt", root / "lm", LmConfig())
    make_ctc_graph(root / "units", root / "lm", root / "tlg", CtcGraphConfig())
    return root / "tlg", Units.read(root / "units").label_set


@pytest.mark.parametrize("spec", [SPEC, CENTRED], ids=["whole windows", "mirrored ends"])
@pytest.mark.parametrize("config", [CAUSAL, CHUNKED], ids=["tdnn", "conformer"])
@pytest.mark.parametrize("kind", ["hmm", "ctc"])
def test_blocks_say_what_the_whole_says(
    toy: Any,
    audio: list[Path],
    tmp_path: Path,
    kind: str,
    config: AnyModelConfig,
    spec: FeatureSpec,
) -> None:
    graph, labels = ctc_graph(tmp_path) if kind == "ctc" else (toy.graph, toy.labels)
    network = random_model(tmp_path / "network", config, labels, audio, spec)
    export(network, tmp_path / "student", SEARCH, graph=graph)
    student = Student(tmp_path / "student")
    wanted = list(transcribe(audio, student))
    assert sum(len(one.words) for one in wanted) > 8
    assert len({tuple(one.words) for one in wanted}) > 2
    for block_ms in (13.0, 200.0, 1e4):
        heard = list(stream(audio, student, network, block_ms))
        assert [one.so_far for one in heard if one.last] == wanted
        for path in audio:
            seconds = [one.seconds for one in heard if one.so_far.path == path]
            assert len(seconds) == np.ceil(soundfile.info(path).duration * 1000 / block_ms)
            assert seconds[-1] == soundfile.info(path).duration


def test_words_are_shown_when_they_were_said(toy: Any, tmp_path: Path) -> None:
    """The toy's network copies four log-mel energies: each state is a tone of a tenth second."""
    spec = FeatureSpec(kind="fbank", sample_rate=RATE, num_mel=4)
    low, high = 1127 * np.log1p(np.array([spec.low_freq, RATE / 2]) / 700)
    hertz = 700 * np.expm1((low + (high - low) / 5 * np.arange(1, 5)) / 1127)
    states = [0, 1, 2, 3, 2, 3, 0, 1]  # a b b a
    time = np.arange(RATE // 10) / RATE
    path = tmp_path / "abba.wav"
    soundfile.write(path, np.concatenate([0.5 * np.sin(2 * np.pi * hertz[k] * time)
                                          for k in states]), RATE)  # fmt: skip
    plain = Checkpoint.load(toy.model)
    network = tmp_path / "network"
    Checkpoint(plain.model, plain.label_set, spec, "global", plain.log_prior).save(network)
    one = DecodeConfig(scales=Scales(acoustic_scale=1.0))
    export(network, tmp_path / "student", one, graph=toy.graph)
    heard = list(stream([path], Student(tmp_path / "student"), network, 100.0))
    assert [" ".join(x.so_far.words) for x in heard[1::2]] == ["a", "a b", "a b b", "a b b a"]
    assert [x.seconds for x in heard] == pytest.approx(np.arange(1, 9) / 10)
    runner = CliRunner()
    command = ["transcribe", str(path), "--model", str(tmp_path / "student")]
    whole = runner.invoke(app, command)
    live = runner.invoke(app, [*command, "--stream", str(network), "--block-ms", "100"])
    assert live.exit_code == 0, live.output
    assert live.stdout == whole.stdout == f"{path}\ta b b a\n"
    # A word is there from its first state on; what has not changed is not shown again.
    shown = {"0.10 s": "a", "0.30 s": "a b", "0.50 s": "a b b", "0.70 s": "a b b a"}
    assert live.stderr == "".join(f"{path}\t{at}\t{words}\n" for at, words in shown.items())
    for wrong in (["--block-ms", "100"], ["--stream", str(network), "--resample"]):
        assert runner.invoke(app, [*command, *wrong]).exit_code == 2


def test_what_cannot_stream_is_refused(toy: Any, audio: list[Path], tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"dither": 1.0})
    blstm = BlstmConfig(width=4, num_layers=1)
    network = random_model(tmp_path / "network", blstm, toy.labels, audio, spec, "speaker")
    export(network, tmp_path / "student", SEARCH, int8=True, graph=toy.graph)
    other = random_model(tmp_path / "other", blstm, toy.labels, audio, SPEC, "utterance")
    student = Student(tmp_path / "student")
    with pytest.raises(InputError) as refused:
        stream(audio, student, network, 200.0)
    said = ["8 bits", "normalises each speaker", "a blstm cannot stream", "dither 1"]
    assert len(refused.value.faults) == len(said)
    for fault, part in zip(refused.value.faults, said, strict=True):
        assert part in fault
    with pytest.raises(InputError, match=r"other: not the network that .*student was exported"):
        stream(audio, student, other, 200.0)


def test_bad_files_are_refused_before_the_first(
    toy: Any, audio: list[Path], tmp_path: Path
) -> None:
    network = random_model(tmp_path / "network", CAUSAL, toy.labels, audio)
    export(network, tmp_path / "student", SEARCH, graph=toy.graph)
    fast = tmp_path / "fast.wav"
    soundfile.write(fast, np.zeros(1600), 16000)
    files = [audio[0], fast, tmp_path / "none.wav"]
    with pytest.raises(InputError) as refused:
        stream(files, Student(tmp_path / "student"), network, 200.0)
    assert len(refused.value.faults) == 2
    assert "fast.wav: 16000 Hz, the model wants 8000 Hz; convert it before" in str(refused.value)


def test_less_than_a_frame(
    toy: Any, audio: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = random_model(tmp_path / "network", CAUSAL, toy.labels, audio)
    export(network, tmp_path / "student", SEARCH, graph=toy.graph)
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(100), RATE)
    found = list(stream([short, audio[1]], Student(tmp_path / "student"), network, 200.0))
    assert (found[0].so_far.words, found[0].so_far.complete, found[0].last) == ([], False, True)
    assert found[-1].so_far.words
    assert caplog.text.count("short.wav: shorter than one frame") == 1
