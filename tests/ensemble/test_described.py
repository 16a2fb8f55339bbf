"""Teachers that a `model.yaml` describes: planted programs, whose outputs are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.codec import Keep
from asr_kd.ensemble.described import DescribedTeacher
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.scorer import Scorer
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import open_teacher
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.description import Description, external_data, model_hash, read_label_map

DIM, V = 4, 11
FEATURES = {"kind": "external", "name": f"random{DIM}", "dim": DIM}
Make = Callable[..., Path]


class Planted(nn.Module):
    """Every `step`-th frame through a matrix; with lengths, a second output before the scores."""

    def __init__(self, step: int = 1, num_labels: int = V, softmax: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(DIM, num_labels, generator=generator))
        self.step, self.softmax = step, softmax

    def forward(self, feats: Tensor) -> Tensor:
        scores = feats[:, :: self.step] @ self.weight
        return scores.softmax(2) if self.softmax else scores


class Weighted(Planted):
    """A second input that is no number of frames."""

    def forward(self, feats: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return feats @ self.weight * weight


class WithLengths(Planted):
    def forward(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return lengths + 0, feats @ self.weight


def write_onnx(module: nn.Module, path: Path) -> None:
    inputs: tuple[Tensor, ...] = (torch.zeros(1, 7, DIM),)
    names, axes = ["feats"], {"feats": {0: "B", 1: "T"}}
    if isinstance(module, WithLengths | Weighted):
        second = torch.tensor([7]) if isinstance(module, WithLengths) else torch.tensor([7.0])
        inputs, names = (*inputs, second), ["feats", "second"]
        axes["second"] = {0: "B"}
    torch.onnx.export(module, inputs, str(path), dynamo=False, input_names=names, dynamic_axes=axes)


@pytest.fixture
def data(make_features: Make) -> Path:
    return make_features("data", DIM)


@pytest.fixture
def describe(tmp_path: Path, labels: LabelSet) -> Callable[..., Path]:
    """`describe(module, suffix, **keys)`: a program and its model.yaml."""

    def make(module: nn.Module, suffix: str = ".onnx", name: str = "m", **keys: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        program = folder / f"program{suffix}"
        if suffix == ".onnx":
            write_onnx(module, program)
        elif suffix == ".pt":
            torch.jit.save(torch.jit.script(module), str(program))
        else:
            length = torch.export.Dim("T", min=2)
            exported = torch.export.export(
                module, (torch.zeros(1, 8, DIM),), dynamic_shapes=({1: length},)
            )
            torch.export.save(exported, program)
        labels.save(folder / "labels.json")
        settings = {"source": program.name, "labels": "labels.json", "features": FEATURES, **keys}
        (folder / "model.yaml").write_text(yaml.safe_dump(settings))
        return folder

    return make


def expected(data: Path, utt: str) -> Tensor:
    feats = torch.tensor(FeatureReader(DataDir.read(data), "global")[utt])
    return (feats @ Planted().weight).log_softmax(1).detach()


@pytest.mark.parametrize(
    ("module", "suffix", "keys"),
    [
        (Planted(), ".onnx", {}),
        (Planted(softmax=True), ".onnx", {"values": "posteriors"}),
        (WithLengths(), ".onnx", {"takes_lengths": True, "output": 1}),
        (Planted(), ".pt", {}),
        (WithLengths(), ".pt", {"takes_lengths": True, "output": 1}),
        (Planted(), ".pt2", {}),
    ],
)
def test_a_program_gives_its_posteriors(
    module: nn.Module, suffix: str, keys: dict[str, Any], describe: Callable[..., Path],
    data: Path, utt_frames: dict[str, int], labels: LabelSet,
) -> None:  # fmt: skip
    folder = describe(module, suffix, **keys)
    if suffix != ".onnx":
        with pytest.raises(InputError, match=r"can run any code.*--trust"):
            open_teacher(str(folder), data)
    teacher = open_teacher(str(folder), data, trust=suffix != ".onnx")
    assert teacher.label_set == labels
    assert teacher.num_frames == utt_frames
    utts = [utt for utt, n in utt_frames.items() if n > 1 or suffix != ".pt2"]
    for utt, got in zip(utts, teacher.log_posts(utts), strict=True):
        torch.testing.assert_close(got, expected(data, utt), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("step", [2, 3])
def test_frames_of_a_slower_teacher(
    step: int, describe: Callable[..., Path], data: Path, utt_frames: dict[str, int]
) -> None:
    teacher = open_teacher(str(describe(Planted(step), subsampling=step)), data)
    for utt, frames in utt_frames.items():
        want = expected(data, utt)
        (got,) = teacher.log_posts([utt])
        for t in range(frames):
            torch.testing.assert_close(got[t], want[t - t % step], atol=1e-5, rtol=1e-5)
    assert (teacher.num_frames, teacher.frame_shift_ms) == (utt_frames, 10)


def test_a_slower_teacher_may_keep_its_frames(
    describe: Callable[..., Path], data: Path, utt_frames: dict[str, int]
) -> None:
    keys = {"subsampling": 3, "repeat": False, "tolerance": 1}
    teacher = open_teacher(str(describe(Planted(3), **keys)), data)
    assert teacher.num_frames == {utt: -(-n // 3) for utt, n in utt_frames.items()}
    assert teacher.frame_shift_ms == 30
    for utt in utt_frames:
        (got,) = teacher.log_posts([utt])
        torch.testing.assert_close(got, expected(data, utt)[::3], atol=1e-5, rtol=1e-5)
    # One frame too few or too many is made up for, as it is where frames are repeated.
    assert isinstance(teacher, DescribedTeacher)
    utt, frames = next((utt, n) for utt, n in teacher.num_frames.items() if n > 2)
    rows = torch.randn(frames + 1, 2)
    torch.testing.assert_close(teacher._in_time(utt, rows), rows[:-1])
    torch.testing.assert_close(teacher._in_time(utt, rows[:-2])[-2:], rows[[-3, -3]])
    with pytest.raises(InputError, match=f"{utt}: {frames + 2} frames of scores"):
        teacher._in_time(utt, torch.randn(frames + 2, 2))


def test_descriptions_from_before_frames_could_be_kept_are_what_they_were() -> None:
    settings = Description(source="posts.ark", labels="labels.json")
    assert not {"repeat", "latency_ms"} & config_dict(settings).keys()


def test_another_frame_rate_is_refused_unless_declared(
    describe: Callable[..., Path], data: Path, utt_frames: dict[str, int]
) -> None:
    utt = max(utt_frames, key=utt_frames.__getitem__)
    frames = utt_frames[utt]
    teacher = open_teacher(str(describe(Planted(2))), data)
    with pytest.raises(InputError, match=rf"{utt}: .* for {frames} frames.*subsampling 1"):
        teacher.log_posts([utt])
    assert len(open_teacher(str(describe(Planted(2), name="a", subsampling=2)), data)
               .log_posts([utt])[0]) == frames  # fmt: skip


@pytest.mark.parametrize("missing", [-1, 1])
def test_tolerance(
    missing: int, make_posts: Any, make_archive: Any, data: Path, tmp_path: Path,
    utt_frames: dict[str, int],
) -> None:  # fmt: skip
    """An archive with one frame too few, or too many."""
    posts = {utt: make_posts(n - missing, n) for utt, n in utt_frames.items() if n > 1}
    make_archive("posts", posts)
    settings = {"source": "posts.scp", "labels": "posts.json"}
    strict, lenient = tmp_path / "strict.yaml", tmp_path / "lenient.yaml"
    strict.write_text(yaml.safe_dump(settings))
    lenient.write_text(yaml.safe_dump({**settings, "tolerance": 1}))
    utt = next(iter(posts))
    with pytest.raises(InputError, match=f"{utt}: {len(posts[utt])} frames of scores"):
        open_teacher(str(strict), data).log_posts([utt])
    (got,) = open_teacher(str(lenient), data).log_posts([utt])
    own = torch.from_numpy(posts[utt])
    want = torch.cat([own, own[-1:]])[: utt_frames[utt]]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_labels_that_become_one_are_added(
    describe: Callable[..., Path], data: Path, labels: LabelSet
) -> None:
    ours = LabelSet("hmm-states", ("x", "y", "z"))
    folder = describe(Planted(), label_map="map.txt", map_to="ours.json", priors="priors.json")
    ours.save(folder / "ours.json")
    names = [ours.names[k % 3] for k in range(V)]
    lines = [f"{a} {b}\n" for a, b in zip(labels.names, names, strict=True)]
    (folder / "map.txt").write_text("".join(reversed(lines)))
    prior = np.random.default_rng(0).dirichlet(np.ones(V))
    (folder / "priors.json").write_text(json.dumps(np.log(prior).tolist()))
    teacher = open_teacher(str(folder), data)
    assert isinstance(teacher, DescribedTeacher)
    assert teacher.label_set == ours
    utt = next(iter(teacher.utt_ids))
    (got,) = teacher.log_posts([utt])
    probs = expected(data, utt).exp()
    want = torch.stack([probs[:, k::3].sum(1) for k in range(3)], 1)
    torch.testing.assert_close(got.exp(), want, atol=1e-5, rtol=1e-5)
    assert teacher.log_prior is not None
    np.testing.assert_allclose(
        np.exp(teacher.log_prior), [prior[k::3].sum() for k in range(3)], rtol=1e-5
    )
    scorer = Scorer.open([str(folder)], data)
    np.testing.assert_allclose(scorer.loglikes(utt), got - teacher.log_prior, rtol=1e-5, atol=1e-5)


def test_faults_of_a_label_map(tmp_path: Path) -> None:
    theirs, ours = LabelSet("k", ("a", "b", "c")), LabelSet("k", ("x", "y"))
    (tmp_path / "map").write_text("a x\nb w\nd x\n")
    with pytest.raises(InputError) as refused:
        read_label_map(tmp_path / "map", theirs, ours)
    said = str(refused.value)
    for part in ("d is none of its labels", "b w: no such label of ours",
                 "no line for its label c", "no line leads to our label y"):  # fmt: skip
        assert part in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "m.onnx"}, "labels is needed for m.onnx; features is needed for m.onnx"),
        ({"source": "p.scp"}, "labels is needed"),
        ({"source": "p.scp", "labels": "l", "values": "logits"}, "values is not for p.scp"),
        ({"source": "exp/t", "labels": "l"}, "labels of exp/t are in the checkpoint"),
        ({"source": "p.scp", "labels": "l", "map_to": "m"}, "label_map and map_to"),
        ({"source": "p.scp", "labels": "l", "subsampling": 0}, "subsampling"),
        ({"sorce": "p.scp"}, "did you mean 'source'"),
        ({"source": "p.scp", "labels": "nowhere.json"}, r"no such file or folder: .*nowhere.json"),
    ],
)
def test_faults_of_a_description(
    settings: dict[str, Any], said: str, tmp_path: Path, data: Path
) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(settings))
    with pytest.raises(InputError, match=said):
        open_teacher(str(path), data)


@pytest.mark.parametrize(
    ("module", "keys", "said"),
    [
        (Planted(softmax=True), {}, "say values: posteriors"),
        (Planted(), {"values": "posteriors"}, "are they logits"),
        (Planted(num_labels=5), {}, r"scores of shape \(1, \d+, 5\), expected \(1, frames, 11"),
    ],
)
def test_scores_that_are_not_what_is_said(
    module: nn.Module, keys: dict[str, Any], said: str, describe: Callable[..., Path], data: Path
) -> None:
    teacher = open_teacher(str(describe(module, **keys)), data)
    utt = next(iter(teacher.utt_ids))
    with pytest.raises(InputError, match=f"{utt}: .*{said}"):
        teacher.log_posts([utt])


@pytest.mark.parametrize(
    ("module", "keys", "said"),
    [
        (WithLengths(), {}, "expected features alone"),
        (Planted(), {"takes_lengths": True}, "expected features and lengths"),
        (Weighted(), {"takes_lengths": True}, "expected whole numbers as lengths"),
        (Planted(), {"output": 3}, "no output 3"),
        (Planted(), {"features": {"kind": "fbank"}}, "kind"),
    ],
)
def test_programs_with_other_inputs_or_outputs(
    module: nn.Module, keys: dict[str, Any], said: str, describe: Callable[..., Path], data: Path
) -> None:
    with pytest.raises(InputError, match=said):
        open_teacher(str(describe(module, **keys)), data)


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".pt2"])
def test_a_broken_program(suffix: str, describe: Callable[..., Path], data: Path) -> None:
    folder = describe(Planted(), suffix)
    program = folder / f"program{suffix}"
    program.write_bytes(program.read_bytes()[:100])
    with pytest.raises(InputError, match=f"program{suffix}: "):
        open_teacher(str(folder), data, trust=True)


def test_identity_follows_every_file(
    describe: Callable[..., Path], data: Path, labels: LabelSet
) -> None:
    folder = describe(Planted(), priors="priors.json")
    prior = np.full(V, -np.log(V))
    (folder / "priors.json").write_text(json.dumps(prior.tolist()))
    spec = str(folder / "model.yaml")
    seen = {(open_teacher(spec, data).digest, model_hash(spec))}
    (folder / "priors.json").write_text(json.dumps((prior + 1e-4).tolist()))
    seen.add((open_teacher(spec, data).digest, model_hash(spec)))
    write_onnx(Planted(softmax=True), folder / "program.onnx")
    seen.add((open_teacher(spec, data).digest, model_hash(spec)))
    assert len({digest for digest, _ in seen}) == 3
    assert len({identity for _, identity in seen}) == 3
    (folder / "priors.json").write_text(json.dumps([0.0] * V))
    with pytest.raises(InputError, match="adds up to 11"):
        open_teacher(spec, data)


def test_identity_follows_files_elsewhere(
    describe: Callable[..., Path], tmp_path: Path, labels: LabelSet
) -> None:
    program = describe(Planted(), name="elsewhere") / "program.onnx"
    folder = describe(Planted(), name="named", source="../elsewhere/program.onnx")
    before = model_hash(str(folder))
    write_onnx(Planted(softmax=True), program)
    assert model_hash(str(folder)) != before
    seen = set()
    for value in (0.0, 1.0):
        with ArkWriter(tmp_path / "p.ark") as writer:
            writer.write("a", np.full((2, V), value, np.float32))
        write_table(tmp_path / "p.scp", writer.scp)
        labels.save(tmp_path / "labels.json")
        (tmp_path / "model.yaml").write_text("source: p.scp\nlabels: labels.json\n")
        seen.add(model_hash(str(tmp_path / "model.yaml")))
    assert len(seen) == 2


def test_weights_beside_a_program_count_and_are_refused_elsewhere(
    describe: Callable[..., Path], tmp_path: Path
) -> None:
    import onnx

    program = describe(Planted()) / "program.onnx"
    model = onnx.load(program)
    onnx.external_data_helper.convert_model_to_external_data(model, location="w", size_threshold=0)
    onnx.save(model, program)
    assert external_data(program) == [program.parent / "w"]
    before = model_hash(str(program.parent / "model.yaml"))
    weights = program.parent / "w"
    weights.write_bytes(bytes(len(weights.read_bytes())))
    assert model_hash(str(program.parent / "model.yaml")) != before
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../elsewhere"
    program.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="outside its folder"):
        external_data(program)


def test_a_checkpoint_may_be_described(
    make_network: Make, data: Path, tmp_path: Path, utt_frames: dict[str, int]
) -> None:
    model = make_network("model", "dnn", DIM)
    path = tmp_path / "teacher.yaml"
    path.write_text("source: model\n")
    plain, described = open_teacher(str(model), data), open_teacher(str(path), data)
    for utt in utt_frames:
        torch.testing.assert_close(described.log_posts([utt])[0], plain.log_posts([utt])[0])
    utt = next(iter(utt_frames))
    np.testing.assert_allclose(
        Scorer.open([str(path)], data).loglikes(utt), Scorer.open([str(model)], data).loglikes(utt)
    )
    assert Scorer.open([str(path)], data).costs() == Scorer.open([str(model)], data).costs()


def test_a_network_and_a_program_of_half_its_rate_in_one_store(
    describe: Callable[..., Path], make_network: Make, data: Path, tmp_path: Path,
    utt_frames: dict[str, int],
) -> None:  # fmt: skip
    program = describe(Planted(2), ".pt", subsampling=2)
    names = (str(make_network("model", "dnn", DIM)), str(program))
    with pytest.raises(InputError, match="--trust"):
        dump_targets(Dump(names, data, device="cpu"), tmp_path / "store")
    assert not (tmp_path / "store").exists()
    dump_targets(
        Dump(names, data, keep=Keep.parse("all"), device="cpu", trust=True), tmp_path / "store"
    )
    store = TargetStore.open(tmp_path / "store")
    network = open_teacher(names[0], data)
    for utt, frames in utt_frames.items():
        slow = expected(data, utt)[torch.arange(frames) // 2 * 2]
        want = (slow.exp() + network.log_posts([utt])[0].exp()) / 2
        torch.testing.assert_close(store[utt].dense(V), want, atol=0.01, rtol=0)
