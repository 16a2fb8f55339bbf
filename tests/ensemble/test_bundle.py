"""torchaudio's models as teachers: small ones of the same architecture, with random weights."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file, save_file
from torchaudio import pipelines
from torchaudio.models import wav2vec2_model
from typer.testing import CliRunner

import asr_kd.cli.units  # noqa: F401  (registers with the application)
from asr_kd.align.ctc import AlignCtcConfig, align_ctc
from asr_kd.artefact import Artefact, read_manifest
from asr_kd.cli.app import app
from asr_kd.config import load_config
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import DecodeConfig
from asr_kd.decode.decode import decode
from asr_kd.decode.evaluate import evaluate
from asr_kd.ensemble.average import average
from asr_kd.ensemble.bundle import Bundle, BundleTeacher
from asr_kd.ensemble.bundle_units import bundle_units
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import open_teacher, open_teachers
from asr_kd.errors import AsrKdError, InputError
from asr_kd.features.make_feats import FeatsConfig, make_feats
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.labels.ctc import collapse
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.unit_stages import UnitsConfig, encode_text, train_units
from asr_kd.labels.units import Units
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.report.weigh import weigh_teachers
from asr_kd.score.text import read_text
from asr_kd.search.prefix_beam import PrefixSearch
from asr_kd.train.config import TrainConfig
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.stage import train

BASE = "WAV2VEC2_ASR_BASE_960H"
PUBLIC = (BASE, "HUBERT_ASR_LARGE")
TINY: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[8, 10, 5], [8, 3, 2], [8, 3, 2], [8, 3, 2], [8, 3, 2],
                                    [8, 2, 2], [8, 2, 2]],
    "extractor_conv_bias": False, "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 4, "encoder_pos_conv_groups": 2, "encoder_num_layers": 1,
    "encoder_num_heads": 2, "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 16, "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False, "encoder_layer_drop": 0.0,
}  # fmt: skip
LABELS = ["|", "E", "T", "A", "'"]
RATE = 16000


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """`make_bundle(name, seed)`: a folder with a tiny model of the architecture."""

    def make(name: str, seed: int = 0, **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        torch.manual_seed(seed)
        arguments = {**TINY, "aux_num_out": 1 + len(LABELS)}
        save_file(wav2vec2_model(**arguments).state_dict(), folder / "weights.safetensors")
        described = {"model": arguments, "labels": LABELS, **settings}
        (folder / "bundle.yaml").write_text(yaml.safe_dump(described))
        return folder

    return make


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Two recordings, of 16 kHz and of 8 kHz."""
    folder = tmp_path / "sound"
    folder.mkdir()
    wav = {}
    for utt, rate, samples in (("a-1", RATE, 4000), ("b-1", 8000, 3100)):
        wave = 0.1 * np.random.default_rng(samples).standard_normal(samples)
        wav[utt] = str(folder / f"{utt}.wav")
        soundfile.write(wav[utt], wave, rate)
    DataDir(folder, utt2spk={utt: utt[0] for utt in wav}, wav=wav).write(folder)
    return folder


def spec(folder: Path) -> str:
    units = folder.with_name(f"{folder.name}-units")
    bundle_units(str(folder), units)
    return f"bundle:{folder}={units}"


@pytest.mark.parametrize("normalised", [False, True])
def test_a_bundle_hears_the_sound(
    make_bundle: Callable[..., Path], sound: Path, normalised: bool
) -> None:
    folder = make_bundle("tiny", normalize_waveform=normalised)
    teacher = open_teacher(spec(folder), sound)
    torch.manual_seed(0)
    model = wav2vec2_model(**TINY, aux_num_out=1 + len(LABELS)).eval()
    wave = torch.from_numpy(soundfile.read(sound / "a-1.wav", dtype="float32")[0])[None]
    if normalised:
        wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        expected = model(wave)[0][0].log_softmax(-1)
    first, second = teacher.log_posts(["a-1", "b-1"])
    assert float((first - expected).abs().max()) < 1e-5
    assert len(first) == 1 + (4000 - 400) // 320
    assert len(second) == 1 + (6200 - 400) // 320  # at 8 kHz 3,100 samples
    assert teacher.frame_shift_ms == 20.0
    assert teacher.label_set.names == ("<blank>", "▁", "E", "T", "A", "'")


def test_frames_are_those_of_features_halved() -> None:
    for samples in range(400, 3000, 7):
        features = 1 + (samples - 400) // 160
        assert 1 + (samples - 400) // 320 == -(-features // 2)


def test_public_labels_need_no_weights(
    tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fetched before the first posteriors; those of a small model stand in."""
    fetched = []

    def get_model(self: Any, *, dl_kwargs: Any = None) -> torch.nn.Module:
        assert dl_kwargs == {"weights_only": True}
        fetched.append(self)
        torch.manual_seed(3)
        return wav2vec2_model(**TINY, aux_num_out=29)

    monkeypatch.setattr(pipelines.Wav2Vec2ASRBundle, "get_model", get_model)
    for name in PUBLIC:
        result = CliRunner().invoke(app, ["bundle-units", name, "--out", str(tmp_path / name)])
        assert result.exit_code == 0, result.output
        teacher = open_teacher(f"bundle:{name}={tmp_path / name}", sound)
        assert not fetched
        theirs = ("<blank>", "▁", *getattr(pipelines, name).get_labels()[2:])
        assert teacher.label_set.names == theirs
        assert [x.shape[1] for x in teacher.log_posts(["a-1", "b-1"])] == [29, 29]
        assert len(fetched) == 1
        fetched.clear()
    units = Units.read(tmp_path / BASE)
    labels = units.encode("IT'S HERE")
    assert "".join(units.label_set.names[k] for k in labels) == "IT'S▁HERE▁"
    assert units.decode(labels) == "IT'S HERE"


def test_every_public_bundle_is_taken_or_refused(tmp_path: Path) -> None:
    for name, found in vars(pipelines).items():
        if not isinstance(found, pipelines.Wav2Vec2ASRBundle):
            continue
        if found.get_labels()[1] != "|":
            with pytest.raises(InputError, match="words could not be told apart"):
                bundle_units(name, tmp_path / name)
            continue
        bundle_units(name, tmp_path / name, lower=True)
        names = Units.read(tmp_path / name).label_set.names
        assert names[2:] == tuple(x.lower() for x in found.get_labels()[2:])


def test_bundles_are_averaged(make_bundle: Callable[..., Path], sound: Path) -> None:
    one, two = make_bundle("one"), make_bundle("two", seed=1)
    units = spec(one).partition("=")[2]
    specs = (f"bundle:{one}={units}", f"bundle:{two}={units}")
    dump_targets(Dump(specs, sound, device="cpu"), sound.parent / "store")
    store = TargetStore.open(sound.parent / "store")
    assert store.header.frame_shift_ms == 20.0
    assert [store.num_frames(utt) for utt in ("a-1", "b-1")] == [12, 19]
    digests = {teacher.digest for teacher in open_teachers(specs, sound)}
    assert len(digests) == 2


@pytest.fixture
def features(sound: Path) -> Path:
    """The sound beside features, as `make-feats` leaves it, and what was said."""
    folder = sound.parent / "features"
    artefact = Artefact(folder, "make-feats", {}, {})
    work = artefact.begin()
    with ArkWriter(work / "feats.ark", published=folder / "feats.ark") as ark:
        for utt, frames in (("a-1", 24), ("b-1", 37)):
            ark.write(utt, np.zeros((frames, 2), np.float32))
    data, said = DataDir.read(sound), {"a-1": "TEA", "b-1": "EAT A"}
    replace(data, path=folder, feats=ark.scp, text=said, num_frames={"a-1": 24, "b-1": 37}).write(
        work
    )
    write_spec(FeatureSpec(kind="external", name="none", dim=2), work)
    artefact.publish()
    return folder


def test_bundles_are_decoded(make_bundle: Callable[..., Path], features: Path) -> None:
    one, two = make_bundle("one"), make_bundle("two", seed=1)
    folder = Path(spec(one).partition("=")[2])
    specs = [f"bundle:{one}={folder}", f"bundle:{two}={folder}"]
    units, out = Units.read(folder), features.parent / "out"
    teachers = open_teachers(specs, features)
    greedy = load_config(DecodeConfig, None, ["units.kind=greedy"])
    decode(specs[:1], features, folder, out, greedy, nj=2)
    for utt, words in read_text(out / "hyp").items():
        best = teachers[0].log_posts([utt])[0].argmax(1).numpy().astype(np.int32)
        assert words == units.decode(collapse(best).tolist()).split()
    params = sum(weights.numel() for weights in load_file(one / "weights.safetensors").values())
    info = read_manifest(out, "decode").info
    assert info["params"] == params
    assert info["audio_seconds"] == pytest.approx((12 + 19) * 0.02)
    for options in (["units.shared=true"], []):
        config = load_config(DecodeConfig, None, ["grid.rounds=0", *options])
        decode(specs, features, folder, out, config, tune_on=features)
        tuned = json.loads((out / "scales.json").read_text())
        search = PrefixSearch(
            acoustic_scale=tuned["acoustic_scale"],
            costs=tuned["insertion_penalty"] * np.asarray(units.starts_word(), np.float64),
        )
        for utt, words in read_text(out / "hyp").items():
            each = torch.stack([teacher.log_posts([utt])[0] for teacher in teachers])
            log_posts = each if options else average(list(each))
            assert words == units.decode(search.search(log_posts.numpy())[0].tokens).split()
    before = read_manifest(out).fingerprint
    for name in ("bundle.yaml", "weights.safetensors"):
        (two / name).write_bytes((one / name).read_bytes())
    decode(specs, features, folder, out, config, tune_on=features)
    assert read_manifest(out).fingerprint != before


def test_frames_of_bundles_are_compared_with_their_own(
    make_bundle: Callable[..., Path], features: Path
) -> None:
    """At half the rate of the features; as archives, whose rate nobody knows, too."""
    one, root = make_bundle("one"), features.parent
    units = Path(spec(one).partition("=")[2])
    bundle = f"bundle:{one}={units}"
    encode_text(features, units, root / "tokens")
    align_ctc(features, root / "tokens", [bundle], root / "ali", AlignCtcConfig())
    (teacher,) = open_teachers([bundle], features)
    with ArkWriter(root / "post.ark") as ark:
        for utt in teacher.utt_ids:
            ark.write(utt, teacher.log_posts([utt])[0].numpy())
    archive = f"ark:{root / 'post.ark'}={units / 'labels.json'}"
    for k, specs in enumerate(([bundle], [archive], [bundle, archive])):
        evaluate(specs, features, root / "ali", root / f"out{k}")
        found = json.loads((root / f"out{k}" / "frames.json").read_text())
        assert found["num_frames"] == 12 + 19
    weigh_teachers([bundle, archive], features, root / "ali", root / "weights")
    align_ctc(features, root / "tokens", [archive], root / "again", AlignCtcConfig())
    ours, theirs = (Archive.read(root / name / "ali.scp") for name in ("ali", "again"))
    for utt in ("a-1", "b-1"):
        np.testing.assert_array_equal(ours[utt], theirs[utt])


def test_what_does_not_belong_together(
    make_bundle: Callable[..., Path], sound: Path, tmp_path: Path
) -> None:
    folder = make_bundle("tiny")
    good = spec(folder)
    text = tmp_path / "text"
    text.write_text("E E E E T T T A A '\n")
    train_units(text, tmp_path / "prefix", UnitsConfig(kind="char"))
    names = Units.read(tmp_path / "prefix").label_set.names
    assert names == Units.read(Path(good.partition("=")[2])).label_set.names
    with pytest.raises(InputError, match=r"begins words with ▁, .* ends them .*bundle-units"):
        open_teacher(f"bundle:{folder}={tmp_path / 'prefix'}", sound)
    text.write_text("T T T T E E E A A '\n")
    train_units(text, tmp_path / "other", UnitsConfig(kind="char"))
    with pytest.raises(InputError, match=r"has 6 labels <blank> ▁ T E .*bundle-units"):
        open_teacher(f"bundle:{folder}={tmp_path / 'other'}", sound)
    with pytest.raises(InputError, match="say which units"):
        open_teacher(f"bundle:{folder}", sound)
    with pytest.raises(InputError, match=f"none of torchaudio's bundles.*{BASE}"):
        open_teacher("bundle:WAV2VEC3=units", sound)
    with pytest.raises(InputError, match=r"wav\.scp"):
        (sound / "wav.scp").rename(sound / "elsewhere")
        open_teacher(good, sound)
    (sound / "elsewhere").rename(sound / "wav.scp")
    wide = make_bundle("wide", labels=[*LABELS, "B"])
    with pytest.raises(InputError, match="aux_num_out is 6, expected 7"):
        open_teacher(good.replace(str(folder), str(wide), 1), sound)
    for k, layers in enumerate(([5], [[8, 10]], 3)):
        bad = make_bundle(f"bad{k}")
        described = yaml.safe_load((bad / "bundle.yaml").read_text())
        described["model"]["extractor_conv_layer_config"] = layers
        (bad / "bundle.yaml").write_text(yaml.safe_dump(described))
        with pytest.raises(InputError, match=r"bundle.yaml: extractor_conv_layer_config: expected"):
            Bundle.find(str(bad))
    fast = make_bundle("fast", sample_rate=8000)
    units = good.partition("=")[2]
    with pytest.raises(InputError, match=r"frames of posteriors differ.*40 ms"):
        open_teachers((good, f"bundle:{fast}={units}"), sound)
    (folder / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="no such model, or other weights"):
        open_teacher(good, sound).log_posts(["a-1"])


def test_too_little_sound_is_named(make_bundle: Callable[..., Path], sound: Path) -> None:
    soundfile.write(sound / "a-1.wav", np.zeros(300), RATE)
    teacher = open_teacher(spec(make_bundle("tiny")), sound)
    with pytest.raises(InputError, match=r"a-1: failed on 0\.019 s of sound"):
        teacher.log_posts(["a-1"])


class Planted:
    """What torchaudio fetches: small weights of the architecture, with the rows 1 to 3 of its file
    that torchaudio takes off, since no training used them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path, names: Sequence[str]) -> None:
        self.urls: list[str] = []
        self.file = root / "planted.pt"
        torch.manual_seed(3)
        self.model = wav2vec2_model(**TINY, aux_num_out=29).eval()
        self.weights = self.model.state_dict()
        for name in ("aux.weight", "aux.bias"):
            first, others = self.weights[name].split([1, 28])
            unused = torch.full((3, *first.shape[1:]), 1e3)
            self.weights[name] = torch.cat([first, unused, others])
        torch.save(self.weights, self.file)
        monkeypatch.setenv("TORCH_HOME", str(root / "cache"))
        monkeypatch.setattr(torch.hub, "_hub_dir", None)
        monkeypatch.setattr(torch.hub, "download_url_to_file", self.download)
        for name in names:
            params = {**TINY, "aux_num_out": 29}
            monkeypatch.setattr(getattr(pipelines, name), "_params", params)

    def download(self, url: str, to: str, *_rest: Any, **_options: Any) -> None:
        self.urls.append(url)
        shutil.copyfile(self.file, to)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    return Planted(monkeypatch, tmp_path, PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_torchaudio_loads_what_it_fetches(
    planted: Planted, tmp_path: Path, sound: Path, name: str
) -> None:
    bundle_units(name, tmp_path / "units")
    teacher = open_teacher(f"bundle:{name}={tmp_path / 'units'}", sound)
    assert not planted.urls
    wave = torch.from_numpy(soundfile.read(sound / "a-1.wav", dtype="float32")[0])[None]
    if name.startswith("HUBERT"):  # the larger ones hear sound of mean 0 and variance 1
        wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-5).sqrt()
    with torch.no_grad():
        expected = planted.model(wave)[0][0].log_softmax(-1)
    (found,) = teacher.log_posts(["a-1"])
    assert float((found - expected).abs().max()) < 1e-5
    again = open_teacher(f"bundle:{name}={tmp_path / 'units'}", sound)
    assert torch.equal(again.log_posts(["a-1"])[0], found)
    (url,) = planted.urls  # once: torchaudio keeps it
    assert url.startswith("https://download.pytorch.org/torchaudio/models/")


class Planter:
    """What a pickle can ask for when it is loaded."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> Any:
        return Path.touch, (self.sign,)


@pytest.mark.parametrize("fault", ["code", "shape", "torn"])
def test_fetched_weights_that_are_none(
    planted: Planted, tmp_path: Path, sound: Path, fault: str
) -> None:
    sign = tmp_path / "run"
    if fault == "code":
        torch.save({**planted.weights, "more": Planter(sign)}, planted.file)
    elif fault == "shape":
        torch.save({**planted.weights, "aux.bias": torch.zeros(40)}, planted.file)
    else:
        planted.file.write_bytes(planted.file.read_bytes()[:1000])
    bundle_units(BASE, tmp_path / "units")
    teacher = open_teacher(f"bundle:{BASE}={tmp_path / 'units'}", sound)
    with pytest.raises(AsrKdError, match="could not fetch or load its weights"):
        teacher.log_posts(["a-1"])
    assert planted.urls
    assert not sign.exists()
    if fault == "code":  # it would have run
        torch.load(planted.file, weights_only=False)
        assert sign.exists()


def test_a_student_of_bundles(make_bundle: Callable[..., Path], sound: Path) -> None:
    """Features of 10 ms, subsampled by 2, are on the bundles' grid of 20 ms."""
    root = sound.parent
    specs = [spec(make_bundle(name, seed)) for seed, name in enumerate(("one", "two"))]
    units = Path(specs[0].partition("=")[2])
    specs[1] = f"{specs[1].partition('=')[0]}={units}"
    dump_targets(Dump(tuple(specs), sound, device="cpu"), root / "store")
    said = {"a-1": "TEA", "b-1": "EAT A"}
    replace(DataDir.read(sound), text=said).write(sound)
    make_feats(sound, root / "feats", FeatsConfig(kind="fbank", num_mel=8, resample=True))
    encode_text(root / "feats", units, root / "tokens")
    inputs = TrainInputs(root / "feats", None, root / "feats", root / "tokens", root / "store")
    layers = (TdnnLayerConfig(offsets=(-1, 0, 1), width=12),)

    def config(epochs: int, factor: int) -> TrainConfig:
        subsampling = {"factor": factor, "width": 12} if factor > 1 else {}
        model = TdnnConfig(layers=layers, dropout=0.0, subsampling=subsampling)
        return TrainConfig(
            model=model, epochs=epochs, accelerator="cpu", distill={"hard_weight": 0.0},
            learning_rate=0.01, warmup_steps=2,
        )  # fmt: skip

    with pytest.raises(InputError, match=r"set model.subsampling.factor=2"):
        train(inputs, config(1, 1), root / "wrong")
    store = TargetStore.open(root / "store")
    far = []
    for epochs in (1, 30):
        out = root / f"student{epochs}"
        train(inputs, config(epochs, 2), out)
        student = Checkpoint.load(out / "last")
        assert student.label_set == LabelSet.load(units / "labels.json")
        assert student.frame_shift_ms == store.header.frame_shift_ms == 20.0
        (mine,) = open_teacher(str(out / "last"), root / "feats").log_posts(["b-1"])
        each = [teacher.log_posts(["b-1"])[0] for teacher in open_teachers(specs, sound)]
        theirs = torch.stack(each).exp().mean(0)
        assert mine.shape == theirs.shape
        far.append(float((theirs * (theirs.log() - mine)).sum(1).mean()))
    assert far[1] < 0.5 * far[0]


def test_no_network(tmp_path: Path, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_model(self: Any, *, dl_kwargs: Any = None) -> torch.nn.Module:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(pipelines.Wav2Vec2ASRBundle, "get_model", get_model)
    bundle_units(BASE, tmp_path / "units")
    teacher = BundleTeacher(Bundle.find(BASE), tmp_path / "units", sound)
    assert teacher.label_set == LabelSet.load(tmp_path / "units" / "labels.json")
    with pytest.raises(AsrKdError, match=f"{BASE}: torchaudio could not fetch .*unreachable"):
        teacher.log_posts(["a-1"])
