import gzip
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import torch
from torch import Tensor

from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.inspect import describe
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import as_posteriors, open_teacher
from asr_kd.errors import InputError
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet

SMALL = LabelSet("hmm-states", ("a", "b", "c", "d"))
FRAMES = {
    "spk-1": [{0: 1.0}, {1: 0.25, 3: 0.75}, {2: 0.5, 0: 0.5}],
    "spk-2": [{3: 0.5}, {1: 1.0}],  # pruned: the first row is made whole
}
DENSE = {
    "spk-1": [[1, 0, 0, 0], [0, 0.25, 0, 0.75], [0.5, 0, 0.5, 0]],
    "spk-2": [[0, 0, 0, 1], [0, 1, 0, 0]],
}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    SMALL.save(tmp_path / "labels.json")
    return tmp_path / "labels.json"


def posteriors(spec: str, data: Path, utt: str) -> Tensor:
    (found,) = open_teacher(spec, data).log_posts([utt])
    return found.exp()


@pytest.mark.parametrize("form", ["post.ark", "post.1.gz", "post.scp"])
def test_posterior_archives_are_teachers(
    kaldi: Any, labels: Path, tmp_path: Path, form: str
) -> None:
    archive = kaldi.posteriors(FRAMES)
    packed = gzip.compress(archive) if form.endswith("gz") else archive
    (tmp_path / "post.ark").write_bytes(archive)
    (tmp_path / "post.1.gz").write_bytes(packed)
    places = {utt: f"post.ark:{archive.index(utt.encode()) + len(utt) + 1}" for utt in FRAMES}
    write_table(tmp_path / "post.scp", places)
    teacher = open_teacher(f"post:{tmp_path / form}={labels}", tmp_path)
    assert teacher.num_frames == {"spk-1": 3, "spk-2": 2}
    for utt, got in zip(("spk-2", "spk-1"), teacher.log_posts(["spk-2", "spk-1"]), strict=True):
        torch.testing.assert_close(got.exp(), torch.tensor(DENSE[utt], dtype=torch.float32))
    before = teacher.digest
    (tmp_path / "post.ark").write_bytes(archive.replace(b"spk-2", b"spk-3"))
    (tmp_path / "post.1.gz").write_bytes(gzip.compress(archive.replace(b"spk-2", b"spk-3")))
    assert open_teacher(f"post:{tmp_path / form}={labels}", tmp_path).digest != before


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Transition-ids 1 to 6; 1 and 2 are label 0, 5 and 6 label 1."""
    folder = tmp_path / "imported"
    folder.mkdir()
    SMALL.save(folder / "labels.json")
    content = {"label_set": SMALL.digest, "pdf_of": [None, 0, 0, 2, 3, 1, 1]}
    (folder / "transition_ids.json").write_text(json.dumps(content))
    return folder


def test_posteriors_of_transition_ids_add_up_by_label(
    kaldi: Any, imported: Path, tmp_path: Path
) -> None:
    frames = {"u": [{1: 0.25, 2: 0.25, 5: 0.5}, {6: 0.25, 3: 0.75}]}
    (tmp_path / "post.ark").write_bytes(kaldi.posteriors(frames))
    found = posteriors(f"transition-post:{tmp_path}/post.ark={imported}", tmp_path, "u")
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 0, 0], [0, 0.25, 0.75, 0]]))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({}, "frame 1: its weights add up to 0"),
        ({0: 3.0}, "frame 1: its weights add up to 3.*weight-silence-post"),
        ({0: 1.5, 1: -0.5}, "frame 1: its weights add up to 1, or are negative"),
        ({0: math.nan}, "frame 1: its weights add up to nan"),
        ({4: 1.0}, "frame 1: index 4; there are labels 0 to 3"),
        ({-1: 1.0}, "frame 1: index -1; there are labels 0 to 3"),
    ],
)
def test_what_is_no_distribution_is_named(
    kaldi: Any, labels: Path, tmp_path: Path, frame: dict[int, float], said: str
) -> None:
    (tmp_path / "post.ark").write_bytes(kaldi.posteriors({"u": [{0: 1.0}, frame]}))
    with pytest.raises(InputError, match=f"post.ark: u: {said}"):
        posteriors(f"post:{tmp_path}/post.ark={labels}", tmp_path, "u")


def test_transition_ids_that_the_model_lacks(kaldi: Any, imported: Path, tmp_path: Path) -> None:
    for index in (0, 7):
        (tmp_path / "post.ark").write_bytes(kaldi.posteriors({"u": [{index: 1.0}]}))
        with pytest.raises(InputError, match=f"index {index}; there are transition-ids 1 to 6"):
            posteriors(f"transition-post:{tmp_path}/post.ark={imported}", tmp_path, "u")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "damaged"),
        ('{"pdf_of": [null, 0]}', "damaged"),
        ('{"pdf_of": [null, 4], "label_set": "DIGEST"}', "another label set"),
        ('{"pdf_of": [null, 0], "label_set": "x"}', "another label set"),
    ],
)
def test_a_damaged_import_is_named(
    kaldi: Any, imported: Path, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "post.ark").write_bytes(kaldi.posteriors({"u": [{1: 1.0}]}))
    file = imported / "transition_ids.json"
    file.write_text(content.replace("DIGEST", SMALL.digest))
    with pytest.raises(InputError, match=rf"transition_ids\.json: .*{said}"):
        open_teacher(f"transition-post:{tmp_path}/post.ark={imported}", tmp_path)


def test_an_archive_needs_no_table(
    labels: Path, tmp_path: Path, make_posts: Callable[..., Any]
) -> None:
    """As nnet3-compute writes it: one archive, here of compressed matrices."""
    posts = {"a": make_posts(9, 0, 4), "b": make_posts(5, 1, 4)}
    for method in (None, 3):
        kaldiio.save_ark(str(tmp_path / "out.ark"), posts, compression_method=method)
        for utt, log_post in posts.items():
            found = posteriors(f"ark:{tmp_path}/out.ark={labels}", tmp_path, utt)
            torch.testing.assert_close(found, torch.from_numpy(log_post).exp(), atol=1e-4, rtol=0)


def scores(tmp_path: Path) -> Mapping[str, Any]:
    rng = np.random.default_rng(0)
    found = {u: (5 * rng.standard_normal((n, 11))).astype(np.float32) for u, n in
             (("spk0-utt0", 3), ("spk1-utt1", 8))}  # fmt: skip
    kaldiio.save_ark(str(tmp_path / "chain.ark"), found)
    return found


def test_scores_that_no_frame_normalises_need_a_word(
    tmp_path: Path, make_features: Callable[..., Path], make_archive: Callable[..., str]
) -> None:
    matrices = scores(tmp_path)
    data = make_features("data", 4, {u: len(x) for u, x in matrices.items()})
    make_archive("labels", {})
    spec = f"ark:{tmp_path}/chain.ark={tmp_path}/labels.json"
    with pytest.raises(InputError, match=r"adds up to .*--unnormalised softmax"):
        dump_targets(Dump((spec,), data), tmp_path / "refused")
    dump_targets(Dump(as_posteriors([spec], "softmax"), data), tmp_path / "out")
    store = TargetStore.open(tmp_path / "out")
    for utt, matrix in matrices.items():
        expected = torch.from_numpy(matrix).softmax(1)
        assert float((store[utt].dense(11) - expected).abs().max()) < 0.05
    (teacher,) = store.header.teachers
    assert teacher.unnormalised == "softmax"
    assert "softmax of scores" in describe(tmp_path / "out")["teacher 1"]


def test_a_chain_model_has_a_third_of_the_frames(
    tmp_path: Path, make_features: Callable[..., Path], make_archive: Callable[..., str]
) -> None:
    matrices = scores(tmp_path)
    data = make_features("data", 4, {u: 3 * len(x) - 1 for u, x in matrices.items()})
    make_archive("labels", {})
    description = "source: chain.ark\nlabels: labels.json\nsubsampling: 3\n"
    (tmp_path / "chain.yaml").write_text(description)
    with pytest.raises(InputError, match="adds up to"):
        dump_targets(Dump((f"{tmp_path}/chain.yaml",), data), tmp_path / "refused")
    (tmp_path / "chain.yaml").write_text(description + "unnormalised: softmax\n")
    dump_targets(Dump((f"{tmp_path}/chain.yaml",), data), tmp_path / "out")
    store = TargetStore.open(tmp_path / "out")
    for utt, matrix in matrices.items():
        expected = torch.from_numpy(matrix).softmax(1).repeat_interleave(3, 0)[:-1]
        assert float((store[utt].dense(11) - expected).abs().max()) < 0.05
    assert store.header.teachers[0].unnormalised == "softmax"
    (tmp_path / "chain.yaml").write_text("source: model\nunnormalised: softmax\n")
    with pytest.raises(InputError, match="unnormalised is not for model, but for archives"):
        open_teacher(f"{tmp_path}/chain.yaml", data)


def test_the_header_says_nothing_of_posteriors(
    tmp_path: Path, make_features: Callable[..., Path], make_archive: Callable[..., str],
    make_posts: Callable[..., Any],
) -> None:  # fmt: skip
    data = make_features("data", 4, {"spk-1": 6})
    spec = make_archive("posts", {"spk-1": make_posts(6, 0)})
    dump_targets(Dump(as_posteriors([spec], None), data), tmp_path / "out")
    assert TargetStore.open(tmp_path / "out").header.teachers[0].unnormalised is None


def test_only_archives_of_matrices_are_unnormalised() -> None:
    specs = ["ark:a.scp=l.json", "post:p.ark=l.json", "exp/ark:model", "model=feats"]
    assert as_posteriors(specs, None) == tuple(specs)
    assert as_posteriors(specs, "softmax") == ("ark,softmax:a.scp=l.json", *specs[1:])


def test_a_softmax_of_nan_is_refused(tmp_path: Path, make_archive: Callable[..., str]) -> None:
    matrix = np.zeros((2, 11), np.float32)
    matrix[1, 3] = math.nan
    (spec,) = as_posteriors([make_archive("x", {"u": matrix})], "softmax")
    with pytest.raises(InputError, match=r"u: a row has no softmax"):
        posteriors(spec, tmp_path, "u")


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_labels_without_probability_go_through_a_dump(
    kaldi: Any, tmp_path: Path, make_features: Callable[..., Path],
    make_archive: Callable[..., str], make_posts: Callable[..., Any],
    mean: Any, temperature: float,
) -> None:  # fmt: skip
    data = make_features("data", 4, {"spk-1": 2})
    log_posts = make_posts(2, 0)
    spec = make_archive("posts", {"spk-1": log_posts})
    (tmp_path / "post.ark").write_bytes(kaldi.posteriors({"spk-1": [{3: 1.0}, {1: 0.25, 9: 0.75}]}))
    sparse = f"post:{tmp_path}/post.ark={tmp_path}/posts.json"
    dump = Dump((spec, sparse), data, (temperature,), mean)
    dump_targets(dump, tmp_path / "out")
    hard = torch.zeros(2, 11)
    hard[0, 3], hard[1, 1], hard[1, 9] = 1.0, 0.25, 0.75
    each = [torch.from_numpy(log_posts).exp(), hard]
    tempered = [p ** (1 / temperature) / (p ** (1 / temperature)).sum(1, True) for p in each]
    expected = (tempered[0] + tempered[1]) / 2
    if mean == "geometric":
        expected = (tempered[0] * tempered[1]).sqrt()
        expected /= expected.sum(1, True)
    store = TargetStore.open(tmp_path / "out")
    assert float((store["spk-1"].dense(11) - expected).abs().max()) < 0.02
    assert all(not math.isnan(x) for x in _numbers(tmp_path / "out"))


def _numbers(store: Path) -> list[float]:
    info = json.loads((store / "manifest.json").read_text())["info"]
    return [value for value in info.values() if isinstance(value, float)]
