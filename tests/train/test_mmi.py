"""Training against a decoding graph: what is summed, learnt, kept and refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kaldifst
import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.config import config_dict, load_config
from asr_kd.distill.mmi import Paths, mmi_loss
from asr_kd.errors import InputError
from asr_kd.io.kaldi.fst import write_fst
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import DnnConfig, FrontendConfig
from asr_kd.score.wer import count_errors, total
from asr_kd.search.arrays import Pieces
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.denominator import Denominator
from asr_kd.train import loop
from asr_kd.train.config import (
    AugmentConfig,
    FramesConfig,
    MaskConfig,
    MixConfig,
    MmiConfig,
    SpeedConfig,
    TrainConfig,
)
from asr_kd.train.dataset import AlignedData, plain_batch
from asr_kd.train.mmi import WithMmi
from asr_kd.train.objective import HardLabels
from asr_kd.train.stage import train
from asr_kd.train.student import StudentOutput

INF = float("inf")
MMI = MmiConfig(weight=0.5, acoustic_scale=0.7, prior_scale=0.9, tolerance=1)


def write_graph(folder: Path, arcs: Any, finals: list[float], label_set: LabelSet) -> Path:
    """Arcs (from, to, label + 1 or 0, word, cost)."""
    pieces = Pieces()
    for source, target, label, word, cost in arcs:
        pieces.add(source, label, word, cost, target)
    folder.mkdir()
    write_fst(folder / "HCLG.fst", pieces.arrays(0, np.array(finals, np.float32)))
    label_set.save(folder / "labels.json")
    return folder


def any_labels(corpus: Any, name: str, fewest: int = 1, label_set: LabelSet | None = None) -> Path:
    """Every sequence of `fewest` labels and more, the labels of unlike costs."""
    label_set = label_set or LabelSet.load(corpus.inputs.ali / "labels.json")
    labels = range(len(label_set))
    arcs = [(s, s + 1, k + 1, 0, 0.25 * k) for s in range(fewest) for k in labels]
    arcs += [(fewest, fewest, k + 1, 0, 0.5 + 0.25 * k) for k in labels]
    return write_graph(corpus.root / name, arcs, [INF] * fewest + [0.5], label_set)


def test_the_sum_of_both_losses_and_what_chooses(corpus: Any) -> None:
    graph = any_labels(corpus, "graph")
    config = corpus.config(mmi=MMI, epochs=6)
    train(replace(corpus.inputs, graph=graph), config, corpus.root / "exp")
    data = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    batch = plain_batch(data, [4, 13, 0])
    torch.manual_seed(0)
    output = StudentOutput(torch.randn(*batch.counted.shape, 6), [])
    objective = WithMmi.open(graph, HardLabels(), config, data, data)
    found, count = objective(output, batch)
    hard, frames = HardLabels()(output, batch)
    prior = torch.from_numpy(log_prior(corpus.inputs.ali))
    paths = Paths(Denominator.read(graph, data.label_set, "x"), torch.device("cpu"))
    mmi, _ = mmi_loss(
        output.logits, batch.lengths, batch.pdf_ids, paths, prior, 0.7, 0.9, tolerance=1
    )
    assert mmi > 1
    torch.testing.assert_close(found, hard + 0.5 * mmi, check_dtype=False)
    assert count == frames
    # The checkpoint is that of the least MMI on the dev set.
    info = read_manifest(corpus.root / "exp").info
    lines = map(json.loads, (corpus.root / "exp" / "log.jsonl").read_text().splitlines())
    epochs = [line for line in lines if "epoch" in line]
    best = min(epochs, key=lambda line: line["dev_mmi_loss"])
    assert info["best_epoch"] == best["epoch"]
    assert info["dev_mmi_loss"] == best["dev_mmi_loss"]
    assert info["dev_frame_accuracy"] == best["dev_frame_accuracy"]
    checkpoint = Checkpoint.load(corpus.root / "exp")
    dev = AlignedData(corpus.inputs.dev, corpus.inputs.dev_ali, "global")
    batch = plain_batch(dev, range(len(dev)))
    with torch.no_grad():
        logits, _ = checkpoint.model.eval()(batch.feats, batch.lengths)
        loss, count = objective.loss(logits, batch)
    assert float(loss / count) == pytest.approx(info["dev_mmi_loss"], rel=1e-4)


def test_words_that_frames_alone_do_not_tell(words: Any) -> None:
    """One unit of one layer must choose what it looks at: frames want silence, the search words."""
    corpus, spoken = words
    arcs = [(0, 1, 1, 0, 0.0), (1, 0, 2, 0, 0.0)]
    for word in (2, 3):
        first = 2 * word - 2
        arcs += [(0, first, word + 1, word, 0.7), (first, first + 1, word + 1, 0, 0.0),
                 (first + 1, 0, word + 1, 0, 0.0)]  # fmt: skip
    dev = AlignedData(corpus.inputs.dev, corpus.inputs.dev_ali, "global")
    graph = write_graph(corpus.root / "graph", arcs, [0.0] + [INF] * 5, dev.label_set)
    decoder = GraphDecoder(kaldifst.StdVectorFst.read(str(graph / "HCLG.fst")), 4)
    wrong = {}
    for name, mmi in (
        ("frames", MmiConfig()),
        ("words", MmiConfig(weight=20, acoustic_scale=1, tolerance=0)),
    ):
        config = corpus.config(
            model=DnnConfig(num_layers=1, width=1, frontend=FrontendConfig()),
            epochs=25, learning_rate=0.02, mmi=mmi,
        )  # fmt: skip
        inputs = replace(corpus.inputs, graph=graph if mmi.weight else None)
        train(inputs, config, corpus.root / name)
        checkpoint = Checkpoint.load(corpus.root / name)
        ref, hyp = {}, {}
        for k, utt in enumerate(dev.utt_ids):
            feats = torch.tensor(dev.feats(k))[None]
            with torch.no_grad():
                logits, _ = checkpoint.model.eval()(feats, torch.tensor([feats.shape[1]]))
            scores = logits[0].log_softmax(1).numpy() - checkpoint.log_prior
            ref[utt] = [str(word) for word in spoken[utt]]
            hyp[utt] = [str(word) for word in decoder.decode(scores).words]
        wrong[name] = total(count_errors(ref, hyp).values()).errors
    assert wrong["frames"] > 3 * wrong["words"]  # of 60


def test_a_killed_training_goes_on_with_the_same_bits(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = replace(corpus.inputs, graph=any_labels(corpus, "graph", fewest=3))
    augment = AugmentConfig(speed=SpeedConfig(prob=0.7), mask=MaskConfig(prob=0.5))
    config = corpus.config(mmi=MMI, save_every=2, augment=augment)
    train(inputs, config, corpus.root / "whole")
    step = loop.Trainer._step

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        if self.progress.epoch == 1 and self.progress.batch == 3:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, config, corpus.root / "cut")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(inputs, config, corpus.root / "cut")
    for part in ("", "last"):
        digests = {Checkpoint.load(corpus.root / x / part).digest for x in ("whole", "cut")}
        assert len(digests) == 1
    infos = [read_manifest(corpus.root / name).info for name in ("whole", "cut")]
    assert infos[0]["dev_mmi_loss"] == infos[1]["dev_mmi_loss"]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(corpus: Any) -> None:
    """Batches of one row leave a process none."""
    graph = any_labels(corpus, "graph")
    i, losses, dev = corpus.inputs, [], []
    for processes in (1, 2):
        out = corpus.root / f"of-{processes}"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        main = corpus.root / "main.py"
        main.write_text("from asr_kd.cli.main import main\nmain()\n")
        command = [
            sys.executable, *launcher[: 5 * (processes - 1)], main, "train", i.data, i.ali,
            "--dev", i.dev, "--dev-ali", i.dev_ali, "--out", out, "--graph", graph,
            "accelerator=cpu", "log_every=1", "max_frames=90", "epochs=2", "warmup_steps=10",
            "model={kind: tdnn, dropout: 0.0, layers: [{offsets: [-2, 0, 2], width: 24}]}",
            "mmi.weight=2", "mmi.acoustic_scale=0.5", "augment.speed.prob=0.5",
        ]  # fmt: skip
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
        curve = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in curve if "loss" in line])
        dev.append([line["dev_mmi_loss"] for line in curve if "epoch" in line])
    assert len(losses[0]) == len(losses[1]) >= 25
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-4
    assert dev[0] == pytest.approx(dev[1], abs=1e-3)


def refused(corpus: Any, graph: Path | None, config: TrainConfig, **inputs: Any) -> list[str]:
    out = corpus.root / "refused"
    with pytest.raises(InputError) as caught:
        train(replace(corpus.inputs, graph=graph, **inputs), config, out)
    assert not out.exists()
    return caught.value.faults


def test_what_does_not_go_together(corpus: Any) -> None:
    graph = any_labels(corpus, "graph")
    (fault,) = refused(corpus, None, corpus.config(mmi=MMI))
    assert "give it by --graph" in fault
    (fault,) = refused(corpus, graph, corpus.config())
    assert "mmi.weight is 0" in fault
    mixed = corpus.config(mmi=MMI, augment=AugmentConfig(mix=MixConfig(prob=0.5)))
    (fault,) = refused(corpus, graph, mixed)
    assert "augment.mix" in fault
    (fault,) = refused(corpus, graph, corpus.config(mmi=MMI, frames=FramesConfig(only=("s1",))))
    assert "frames.only and frames.exclude" in fault
    assert any("alignment can tell" in x for x in refused(
        corpus, graph, corpus.config(mmi=MMI), ali=None
    ))  # fmt: skip
    assert any("--cluster" in x and "--graph" in x for x in refused(
        corpus, graph, corpus.config(mmi=MMI), cluster=f"{corpus.root}:0", ali=None
    ))  # fmt: skip
    others = any_labels(corpus, "others", label_set=LabelSet("hmm-states", tuple("abcdef")))
    faults = refused(corpus, others, corpus.config(mmi=MMI))
    assert "label sets differ" in faults[0]
    assert str(others) in faults[0]


def test_token_sequences_have_no_place_in_it(spoken: Any) -> None:
    graph = any_labels(spoken, "graph")
    (fault,) = refused(spoken, graph, spoken.config(mmi=MMI))
    assert "labels of frames" in fault


def test_utterances_that_the_graph_cannot_be_as_short_as_are_named(corpus: Any) -> None:
    data = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    lengths = dict(zip(data.utt_ids, data.num_frames.tolist(), strict=True))
    shortest = min(lengths, key=lambda utt: lengths[utt])
    least = lengths[shortest]
    graph = any_labels(corpus, "long", fewest=least)
    fast = AugmentConfig(speed=SpeedConfig(prob=0.1, low=1.0, high=1.02))
    faults = refused(corpus, graph, corpus.config(mmi=MMI, augment=fast))
    assert [
        f"{graph}: has no path of {least - 1} frames (drawn by augment.speed) for {shortest}"
    ] == [x for x in faults if shortest in x]
    graph = any_labels(corpus, "longer", fewest=least + 1)
    fault = next(x for x in refused(corpus, graph, corpus.config(mmi=MMI)) if shortest in x)
    assert f"{graph}: has no path of {least} frames for {shortest}" in fault


def test_alignments_that_are_no_paths(corpus: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Named where some are none; refused where all are."""
    data = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    zeros = write_graph(corpus.root / "zeros", [(0, 0, 1, 0, 0.0)], [0.0], data.label_set)
    (fault,) = refused(corpus, zeros, corpus.config(mmi=MMI))
    assert "of 24 alignments" in fault
    assert "none is a path" in fault
    first = [int(data.pdf_ids(k)[0]) for k in range(len(data))]
    begins = [(0, 1, first[0] + 1, 0, 0.0), *((1, 1, k + 1, 0, 0.0) for k in range(6))]
    some = write_graph(corpus.root / "some", begins, [INF, 0.0], data.label_set)
    config = corpus.config(mmi=MMI.model_copy(update={"tolerance": 0}), epochs=1)
    train(replace(corpus.inputs, graph=some), config, corpus.root / "exp")
    missing = [utt for utt, label in zip(data.utt_ids, first, strict=True) if label != first[0]]
    assert f"{len(missing)} of 24 alignments" in caplog.text
    assert missing[0] in caplog.text


def test_what_was_trained_without_it_stays_up_to_date() -> None:
    assert "mmi" not in config_dict(load_config(TrainConfig, None, []))
    found = config_dict(load_config(TrainConfig, None, ["mmi.weight=2"]))["mmi"]
    assert found == {"weight": 2.0, "acoustic_scale": 0.2, "prior_scale": 1.0, "tolerance": 2}
