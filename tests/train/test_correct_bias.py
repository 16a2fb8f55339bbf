"""A label that the training never met is given back by its bias; the report says what came out."""

import json
from dataclasses import replace
from typing import Any

import pytest

from asr_kd.artefact import read_manifest
from asr_kd.data.directory import DataDir
from asr_kd.decode.evaluate import evaluate
from asr_kd.distill.clusters import Clusters
from asr_kd.distill.combine import combine_specialists
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import write_priors
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.trained_on import read_trained_on
from asr_kd.train import correct_bias as room
from asr_kd.train.config import FramesConfig
from asr_kd.train.correct_bias import Correction, chosen_labels, correct_bias
from asr_kd.train.stage import train


@pytest.fixture
def model(corpus: Any) -> Any:
    """A student that learnt nothing of s0 (its bias was pushed down) and the other labels well."""
    out = corpus.root / "exp"
    config = corpus.config(epochs=12, frames=FramesConfig(exclude=("s0",)))
    train(corpus.inputs, config, out)
    return out


def counted(corpus: Any, name: str) -> dict[str, Any]:
    out = corpus.root / f"eval_{name}"
    evaluate([str(corpus.root / name)], corpus.inputs.dev, corpus.inputs.dev_ali, out)
    content: dict[str, Any] = json.loads((out / "frames.json").read_text())
    return content


@pytest.mark.parametrize("each", [False, True])
def test_what_the_report_says_is_what_the_corrected_model_does(
    corpus: Any, model: Any, each: bool
) -> None:
    dev, ali, out = corpus.inputs.dev, corpus.inputs.dev_ali, corpus.root / "corrected"
    labels = ("s0", "s[34]") if each else ("s0",)
    correct_bias(model, Correction(labels, each), dev, ali, out)
    report = json.loads((out / "CORRECTION.json").read_text())
    assert list(report["offsets"]) == (["s0", "s3", "s4"] if each else ["s0"])
    assert report["offsets"]["s0"] > 0
    for side, name in (("before", "exp"), ("after", "corrected")):
        found = counted(corpus, name)
        own = [found["by_label"][label] for label in report["offsets"]]
        frames, errors = (sum(column) for column in zip(*own, strict=True))
        assert report[side]["all"]["frames"] == found["num_frames"]
        assert report[side]["all"]["errors"] == found["errors"]
        assert report[side]["all"]["cross_entropy"] == pytest.approx(found["cross_entropy"])
        assert report[side]["chosen"]["frames"] == frames
        assert report[side]["chosen"]["errors"] == errors
        assert report[side]["others"]["errors"] == found["errors"] - errors
    assert report["after"]["all"]["errors"] < report["before"]["all"]["errors"]
    assert report["after"]["chosen"]["errors"] < report["before"]["chosen"]["errors"]
    accuracy = read_manifest(out, "correct-bias").info["dev_frame_accuracy"]
    assert accuracy == pytest.approx(counted(corpus, "corrected")["accuracy"])
    page = (out / "CORRECTION.md").read_text()
    assert f"{report['offsets']['s0']:+.2f}" in page
    assert (
        f"| {report['before']['chosen']['errors']} | {report['after']['chosen']['errors']} |"
        in page
    )


def test_only_biases_change(corpus: Any, model: Any) -> None:
    out = corpus.root / "corrected"
    correct_bias(model, Correction(("s0",)), corpus.inputs.dev, corpus.inputs.dev_ali, out)
    one, other = Checkpoint.load(model), Checkpoint.load(out)
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    differing = [name for name in ours if not ours[name].equal(theirs[name])]
    assert differing == ["output.bias"]
    assert (ours["output.bias"] != theirs["output.bias"]).tolist() == [True] + 5 * [False]
    assert (one.log_prior == other.log_prior).all()
    seen, tuned = read_trained_on(model), read_trained_on(out)
    assert seen is not None
    assert tuned == seen.union(DataDir.read(corpus.inputs.dev).utt_ids)


def test_other_processes_leave_the_model_to_the_first(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus.inputs, corpus.config(epochs=1), corpus.root / "exp")
    out = corpus.root / "corrected"
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        args = (corpus.inputs.dev, corpus.inputs.dev_ali, out)
        correct_bias(corpus.root / "exp", Correction(("s0",)), *args)
        assert out.exists() == (rank == "0")


def test_a_generalist_with_specialists_is_refused_before_any_work(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    general, one, whole = (corpus.root / name for name in ("exp", "one", "whole"))
    train(corpus.inputs, corpus.config(epochs=1), general)
    checkpoint = Checkpoint.load(general)
    Clusters(checkpoint.label_set, ((0, 2, 3, 5), (1, 4))).save(corpus.root)
    special = replace(corpus.inputs, init=general, cluster=f"{corpus.root}:2")
    train(special, corpus.config(epochs=1), one)
    combine_specialists(general, [str(one)], whole)
    monkeypatch.setattr(room, "AlignedData", None)
    args = (corpus.inputs.dev, corpus.inputs.dev_ali, corpus.root / "corrected")
    with pytest.raises(InputError, match=r"whole: a generalist with specialists has no biases"):
        correct_bias(whole, Correction(("s0",)), *args)


def test_labels_that_match_nothing_are_named(corpus: Any) -> None:
    label_set = LabelSet("hmm-states", ("AH_0", "AH_1", "IY_0"))
    assert chosen_labels(("IY_*", "AH_1", "AH_1"), label_set) == [1, 2]
    with pytest.raises(InputError) as caught:
        chosen_labels(("UW_*", "AH_0", "3"), label_set)
    assert len(caught.value.faults) == 2
    assert "'UW_*' matches none of the 3 labels" in caught.value.faults[0]
    assert "'3'" in caught.value.faults[1]
    with pytest.raises(InputError, match="is all 3 labels"):
        chosen_labels(("*_?",), label_set)


def test_nothing_to_choose_by_and_other_labels(corpus: Any) -> None:
    train(corpus.inputs, corpus.config(epochs=1), corpus.root / "exp")
    more = LabelSet("hmm-states", tuple("abcdef"))
    more.save(corpus.inputs.dev_ali / "labels.json")
    write_priors(corpus.inputs.dev_ali, [1] * 6, more)
    args = (corpus.inputs.dev, corpus.inputs.dev_ali, corpus.root / "corrected")
    with pytest.raises(InputError, match="label sets differ"):
        correct_bias(corpus.root / "exp", Correction(("s0",)), *args)
    assert not (corpus.root / "corrected").exists()


def test_a_label_without_a_dev_frame(corpus: Any) -> None:
    names = ("s0", "s1", "s2", "s3", "s4", "s5", "never", "ever")
    for ali in (corpus.inputs.ali, corpus.inputs.dev_ali):
        label_set = LabelSet("hmm-states", names)
        label_set.save(ali / "labels.json")
        write_priors(ali, [1] * 8, label_set)
    train(corpus.inputs, corpus.config(epochs=1), corpus.root / "exp")
    args = (corpus.inputs.dev, corpus.inputs.dev_ali, corpus.root / "corrected")
    with pytest.raises(InputError, match=r"no dev frame .* of the labels never, ever"):
        correct_bias(corpus.root / "exp", Correction(("*ever",)), *args)
    with pytest.raises(InputError, match=r"of the labels never$"):
        correct_bias(corpus.root / "exp", Correction(("s0", "never"), each=True), *args)
    correct_bias(corpus.root / "exp", Correction(("s0", "never")), *args)


def test_of_many_processes_one_works(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train(corpus.inputs, corpus.config(epochs=1), corpus.root / "exp")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    args = (corpus.inputs.dev, corpus.inputs.dev_ali, corpus.root / "corrected")
    correct_bias(corpus.root / "exp", Correction(("s0",)), *args)
    assert not list(corpus.root.glob("*corrected*"))
