import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldifst
import numpy as np
import pytest

from asr_kd.align.import_kaldi import import_kaldi
from asr_kd.artefact import read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior

ALIGNED = {"spk-1": [0, 0, 0, 1, 2, 2, 4], "spk-2": [0, 1, 1, 2], "spk-3": [0, 1, 4, 4, 3]}


@pytest.fixture
def experiment(kaldi: Any, tmp_path: Path) -> Path:
    return Path(kaldi.experiment(tmp_path / "exp"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "imported"


def make_feats(folder: Path, num_frames: dict[str, int]) -> Path:
    with ArkWriter(folder / "feats.ark") as writer:
        for utt, frames in num_frames.items():
            writer.write(utt, np.zeros((frames, 2), np.float32))
    DataDir(folder, utt2spk=dict.fromkeys(num_frames, "spk"), feats=writer.scp).write(folder)
    return folder


@pytest.mark.parametrize("nj", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_an_experiment_becomes(experiment: Path, out: Path, nj: int) -> None:
    import_kaldi(experiment, out, nj=nj)
    labels = LabelSet.load(out / "labels.json")
    assert labels.names == ("SIL_0.0", "SIL_1.1", "A_0.2", "A_0.3", "B_0.4")
    archive = Archive.read(out / "ali.scp")
    assert {utt: archive[utt].tolist() for utt in archive} == ALIGNED
    counts = np.bincount(np.concatenate(list(ALIGNED.values())), minlength=5)
    np.testing.assert_allclose(np.exp(log_prior(out)), counts / counts.sum(), rtol=1e-5)
    graph = kaldifst.StdVectorFst.read(str(out / "HCLG.fst"))
    arcs = [a for state in range(5) for a in kaldifst.ArcIterator(graph, state)]
    assert sorted({a.ilabel for a in arcs}) == [0, 1, 2, 3, 5]
    assert read_table(out / "words.txt") == {"<eps>": "0", "one": "1", "two": "2"}
    transitions = json.loads((out / "transition_ids.json").read_text())
    assert transitions == {
        "label_set": labels.digest, "pdf_of": [None, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
    }  # fmt: skip
    info = read_manifest(out, "import-kaldi").info
    assert info | {"aligned": 3, "frames": 16, "phones": 8, "labels": 5, "model": "gmm"} == info


def test_a_second_call_does_nothing_and_another_input_does(experiment: Path, out: Path) -> None:
    import_kaldi(experiment, out)
    before = (out / "labels.json").stat().st_mtime_ns
    import_kaldi(experiment, out)
    assert (out / "labels.json").stat().st_mtime_ns == before
    (experiment / "ali/ali.2.gz").write_bytes(gzip.compress(b"spk-9 10\n"))
    import_kaldi(experiment, out)
    assert set(Archive.read(out / "ali.scp")) == {"spk-1", "spk-2", "spk-9"}


def test_folders_may_stand_elsewhere(experiment: Path, tmp_path: Path, out: Path) -> None:
    elsewhere = {}
    for name in ("lang", "graph", "ali"):
        elsewhere[name] = tmp_path / f"my_{name}"
        shutil.move(experiment / name, elsewhere[name])
    import_kaldi(experiment, out, **elsewhere)
    assert len(Archive.read(out / "ali.scp")) == 3


def test_labels_alone_where_there_is_nothing_else(experiment: Path, out: Path) -> None:
    shutil.rmtree(experiment / "ali")
    shutil.rmtree(experiment / "graph")
    import_kaldi(experiment, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "labels.json", "manifest.json", "transition_ids.json",
    ]  # fmt: skip


def test_alignments_that_fit_their_features(experiment: Path, tmp_path: Path, out: Path) -> None:
    lengths = {utt: len(labels) for utt, labels in ALIGNED.items()}
    import_kaldi(experiment, out, feats=make_feats(tmp_path / "good", lengths))
    (experiment / "ali/frame_subsampling_factor").write_text("3\n")
    longer = {utt: 3 * frames - 2 for utt, frames in lengths.items()}
    import_kaldi(experiment, out, feats=make_feats(tmp_path / "longer", longer))
    assert read_manifest(out).config["frame_subsampling_factor"] == 3


def test_alignments_that_do_not_fit_are_all_named(
    experiment: Path, tmp_path: Path, out: Path
) -> None:
    feats = make_feats(tmp_path / "feats", {"spk-1": 7, "spk-3": 4, "spk-4": 1})
    with pytest.raises(InputError) as error:
        import_kaldi(experiment, out, feats=feats)
    assert [fault.split(".gz: ")[1] for fault in error.value.faults] == [
        "spk-2: no features of this utterance", "spk-3: 5 labels, 4 frames of features",
    ]  # fmt: skip
    assert not out.exists()


def test_alignments_of_another_model_are_all_named(experiment: Path, kaldi: Any, out: Path) -> None:
    wrong = {"a": [2, 99], "b": [2, 2], "c": [], "good": [10]}
    (experiment / "ali/ali.2.gz").write_bytes(kaldi.alignments(wrong))
    with pytest.raises(InputError) as error:
        import_kaldi(experiment, out)
    assert [fault.split(".gz: ")[1] for fault in error.value.faults] == [
        "a: transition-id 99 in frame 1; the model has 1 to 10",
        "b: no path through the model's HMMs: an alignment of another model?",
        "c: no frame is aligned",
    ]
    assert not out.exists()


def test_an_utterance_of_two_jobs(experiment: Path, kaldi: Any, out: Path) -> None:
    (experiment / "ali/ali.2.gz").write_bytes(kaldi.alignments({"spk-1": [10]}))
    with pytest.raises(InputError, match="spk-1: aligned in two jobs"):
        import_kaldi(experiment, out)


def test_all_faults_of_all_files_together(experiment: Path, kaldi: Any, out: Path) -> None:
    (experiment / "final.mdl").write_bytes((experiment / "final.mdl").read_bytes()[:-20])
    (experiment / "tree").write_bytes(b"tree")
    (experiment / "lang/phones.txt").write_text("SIL 1\nA\n")
    with pytest.raises(InputError) as error:
        import_kaldi(experiment, out)
    said = "\n".join(error.value.faults)
    for part in ("final.mdl: byte ", "tree: byte 0: expected ContextDependency", "phones.txt:2: A"):
        assert part in said
    assert not out.exists()


def rewrite(name: str, change: Callable[[Any], bytes]) -> Callable[[Path, Any], None]:
    def spoil(folder: Path, kaldi: Any) -> None:
        (folder / name).write_bytes(change(kaldi))

    return spoil


def remove(name: str) -> Callable[[Path, Any], None]:
    def spoil(folder: Path, kaldi: Any) -> None:
        (folder / name).unlink()

    return spoil


SPOILT: list[tuple[Callable[[Path, Any], None], str]] = [
    (remove("tree"), r"tree: no such file; expected a Kaldi experiment"),
    (remove("lang/phones.txt"), r"no phones\.txt in it; name Kaldi's lang folder by --lang"),
    (remove("ali/ali.2.gz"), r"ali: no ali\.2\.gz of 2 jobs"),
    (rewrite("ali/num_jobs", lambda k: b"many"), r"num_jobs: 'many' is no number"),
    (rewrite("lang/phones.txt", lambda k: b"SIL 1\nA 2\n"), r"no phone has number 3"),
    (
        rewrite("final.mdl", lambda k: k.mark + k.transitions() + k.gmms(4)),
        r"final\.mdl: 4 GMMs of 5 pdfs",
    ),
    (
        rewrite("final.mdl", lambda k: k.mark + k.transitions(k.STATES[:4]) + k.gmms(4)),
        r"input label 10; the model has transition-ids 1 to 8",
    ),
    (
        rewrite("final.mdl", lambda k: k.mark + k.transitions() + k.tokens("<Other>")),
        r"<Other> behind the transition model; expected a GMM or a network",
    ),
    (
        rewrite("tree", lambda k: k.tree().replace(
            k.tokens("CE") + k.ints(3), k.tokens("CE") + k.ints(4))),
        r"tree: not the tree of .*final\.mdl: phone 2, HMM state 0: pdfs \[2, 3\] in the model, "
        r"\[2, 4\] in the tree",
    ),
    (
        rewrite("lang/topo", lambda k: type(k)(binary=False).topology().replace(
            b"<PdfClass> 1", b"<PdfClass> 0")),
        r"topo: other phones or HMM states than the model's",
    ),
    (
        rewrite("ali/final.mdl", lambda k: k.mark + k.transitions(k.STATES[:4])),
        r"ali/final\.mdl: transition-ids of another tree",
    ),
    (rewrite("graph/HCLG.fst", lambda k: b"no graph"), r"HCLG\.fst: not a graph"),
    (rewrite("ali/frame_subsampling_factor", lambda k: b"x"), r"subsampling_factor: 'x' is no"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_fault_is_named_and_leaves_nothing(
    experiment: Path, kaldi: Any, out: Path, spoil: Callable[[Path, Any], None], said: str
) -> None:
    import_kaldi(experiment, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    spoil(experiment, kaldi)
    with pytest.raises(InputError, match=said):
        import_kaldi(experiment, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def network(folder: Path, kaldi: Any, states: Any = None) -> None:
    data = kaldi.mark + kaldi.transitions(*([states] if states else []))
    (folder / "final.mdl").write_bytes(data + kaldi.tokens("<Nnet3>") + b"anything")


def test_networks_that_were_trained_on_frames_are_taken(
    experiment: Path, kaldi: Any, out: Path
) -> None:
    network(experiment, kaldi)
    import_kaldi(experiment, out)
    assert read_manifest(out).info["model"] == "nnet3"


def test_a_transition_model_alone_will_do(experiment: Path, kaldi: Any, out: Path) -> None:
    end = b"" if kaldi.binary else b"\n"
    (experiment / "final.mdl").write_bytes(kaldi.mark + kaldi.transitions() + end)
    import_kaldi(experiment, out)
    assert read_manifest(out).info["model"] == "transitions"


def test_chain_models_are_refused_with_the_reason(experiment: Path, kaldi: Any, out: Path) -> None:
    network(experiment, kaldi)
    (experiment / "den.fst").write_bytes(b"")
    with pytest.raises(InputError, match=r"a chain model.*not posteriors.*--unnormalised softmax"):
        import_kaldi(experiment, out)
    import_kaldi(experiment, out, unnormalised="softmax")
    assert read_manifest(out).info["model"] == "chain"
    assert read_manifest(out).config["unnormalised"] == "softmax"


def test_chain_models_are_known_by_their_topology(kaldi: Any, tmp_path: Path) -> None:
    """Self-loops with pdfs of their own, as in Kaldi since 2018, and no other file of training."""
    folder = tmp_path / "chain"
    folder.mkdir()
    states = ((1, 0, 0, 1), (1, 1, 1, 2), (2, 0, 2, 3), (3, 0, 4, 4))
    network(folder, kaldi, states)
    leaf, ask = kaldi.tokens("CE"), kaldi.tokens("SE")

    def split(key: int, values: list[int], yes: bytes, no: bytes) -> bytes:
        return bytes(ask + kaldi.ints(key) + kaldi.int_vector(values) + kaldi.tokens("{")
                     + yes + no + kaldi.tokens("}"))  # fmt: skip

    pdf = [leaf + kaldi.ints(number) for number in range(5)]
    silence = split(-1, [0], pdf[0], split(-1, [1], pdf[1], pdf[2]))
    others = split(0, [2], split(-1, [0], pdf[2], pdf[3]), pdf[4])
    tree = kaldi.tokens("ContextDependency") + kaldi.ints(1, 0) + kaldi.tokens("ToPdf")
    tree += split(0, [1], silence, others) + kaldi.tokens("EndContextDependency")
    (folder / "tree").write_bytes(kaldi.mark + tree)
    (folder / "phones.txt").write_text(kaldi.PHONES)
    with pytest.raises(InputError) as error:
        import_kaldi(folder, tmp_path / "out")
    (fault,) = error.value.faults
    assert "a chain model" in fault
    import_kaldi(folder, tmp_path / "out", unnormalised="softmax")
    assert len(LabelSet.load(tmp_path / "out/labels.json")) == 5


def test_the_real_experiment(shared_data: Path, out: Path) -> None:
    real = shared_data / "kaldi" / "an4_tri1"
    if not real.is_dir():
        pytest.skip("the real Kaldi experiment is not here")
    import_kaldi(real, out)
    archive = Archive.read(out / "ali.scp")
    expected = read_table(real / "golden/ali-to-pdf.25.txt")
    for utt, pdfs in expected.items():
        assert archive[utt].tolist() == [int(pdf) for pdf in pdfs.split()]
    labels = LabelSet.load(out / "labels.json")
    assert len(labels) == int((real / "graph/num_pdfs").read_text())
    assert labels.names[0] == "SIL_0.0"
    counts = np.bincount(np.concatenate([archive[utt] for utt in archive]))
    prior = np.maximum(counts / counts.sum(), 0.01 / len(counts))
    np.testing.assert_allclose(np.exp(log_prior(out)), prior / prior.sum(), rtol=1e-4)
