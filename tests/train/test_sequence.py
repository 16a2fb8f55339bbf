"""Training on token sequences: what is learnt, from what, and what chooses the best."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.config import config_dict
from asr_kd.ensemble.store import Header, ShardWriter, TeacherId, write_header
from asr_kd.errors import InputError
from asr_kd.labels.ctc import collapse
from asr_kd.labels.priors import log_prior
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.train import loop
from asr_kd.train.augment import Augment
from asr_kd.train.config import (
    AugmentConfig,
    CtcConfig,
    DistillConfig,
    HintConfig,
    MixConfig,
    SpeedConfig,
    TrainConfig,
)
from asr_kd.train.dataset import AlignedData, augmented_batch, output_frames, plain_batch
from asr_kd.train.evaluation import DevScore, Evaluation
from asr_kd.train.labels import FrameRate
from asr_kd.train.objective import OnlineTeachers, StoredTargets
from asr_kd.train.selection import FrameSelection
from asr_kd.train.sequence import TokenSequences
from asr_kd.train.stage import train
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import Teachers

RATE = FrameRate(2)
MODEL = TdnnConfig(
    layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=24),), dropout=0.0,
    subsampling={"factor": 2, "width": 24},
)  # fmt: skip


def config(spoken: Any, **values: Any) -> Any:
    return spoken.config(**{"model": MODEL, "epochs": 1, **values})


def read(spoken: Any, folder: str = "tokens") -> AlignedData:
    return AlignedData(spoken.inputs.data, spoken.root / folder, "global", rate=RATE)


def test_ctc_learns_and_the_best_epoch_is_kept(spoken: Any) -> None:
    out = spoken.root / "exp"
    train(spoken.inputs, config(spoken, epochs=25, learning_rate=0.01), out)
    info = read_manifest(out, "train").info
    assert info["dev_token_error_rate"] < 0.1  # of blanks alone it is 1
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    epochs = [line for line in lines if "epoch" in line]
    best = min(epochs, key=lambda line: (line["dev_token_error_rate"], line["dev_ctc_loss"]))
    assert info["best_epoch"] == best["epoch"]
    assert info["dev_ctc_loss"] == best["dev_ctc_loss"]
    checkpoint = Checkpoint.load(out)
    assert_prior_is_mean_posterior(checkpoint, read(spoken))
    assert Checkpoint.load(out / "last").log_prior.std() > 0.1
    dev = AlignedData(spoken.inputs.dev, spoken.inputs.dev_ali, "global", rate=RATE)
    evaluation = Evaluation(dev, 1000)
    sums = evaluation.sums(lambda x, n: checkpoint.model(x, n)[0], torch.device("cpu"), 0, 1)
    assert evaluation.score(sums).values["dev_ctc_loss"] == pytest.approx(info["dev_ctc_loss"])


def assert_prior_is_mean_posterior(checkpoint: Checkpoint, data: AlignedData) -> None:
    """No alignment tells of priors: they are what the model says of its training data."""
    each = []
    for i in range(len(data)):
        feats = torch.from_numpy(data.feats(i))[None]
        with torch.no_grad():
            each.append(checkpoint.model(feats, torch.tensor([feats.shape[1]]))[0][0].softmax(1))
    np.testing.assert_allclose(
        np.exp(checkpoint.log_prior), np.maximum(torch.cat(each).mean(0), 0.01 / 5), rtol=1e-3
    )


def test_the_criterion_chooses(spoken: Any) -> None:
    dev = AlignedData(spoken.inputs.dev, spoken.inputs.dev_ali, "global", rate=RATE)
    wordy, certain = [20.0, 100.0, 900.0, 1000.0], [25.0, 100.0, 500.0, 1000.0]
    for criterion, better, worse in (
        ("token-error-rate", wordy, certain),
        ("ctc-loss", certain, wordy),
    ):
        evaluation = Evaluation(dev, 1000, criterion)  # type: ignore[arg-type]
        assert evaluation.score(better).score > evaluation.score(worse).score
    values = evaluation.score(wordy).values
    assert values == {"dev_token_error_rate": 0.2, "dev_ctc_loss": 0.9}
    assert str(evaluation.score(wordy)) == "token error rate 20.00%, ctc loss 0.9000"


def test_the_loss_of_ctc_chooses_among_equal_error_rates(
    spoken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, losses = [0.5, 0.25, 0.25, 0.25, 0.5], [1.0, 3.0, 2.0, 2.5, 0.5]
    planted = [
        DevScore(-rate, {"dev_token_error_rate": rate, "dev_ctc_loss": loss})
        for rate, loss in zip(rates, losses, strict=True)
    ]
    monkeypatch.setattr(Evaluation, "score", lambda self, sums: planted.pop(0))
    train(spoken.inputs, config(spoken, epochs=5), spoken.root / "out")
    info = read_manifest(spoken.root / "out", "train").info
    assert (info["best_epoch"], info["dev_ctc_loss"]) == (3, 2.0)
    # Of frames, the earlier epoch stays, whatever is measured beside the score.
    first, second = (DevScore(0.5, {"dev_cross_entropy": loss}) for loss in (2.0, 1.0))
    assert not second.beats(first)
    assert first.beats(DevScore(-math.inf, {}))


def test_the_evaluation_hears_valid_frames_alone(spoken: Any) -> None:
    """Certain of the alignment on valid frames, and of token 1 on all padding."""
    dev = AlignedData(spoken.inputs.dev, spoken.root / "dev_late", "global", rate=RATE)

    def run(feats: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        batch = plain_batch(dev, np.argsort(dev.num_frames, kind="stable").tolist())
        assert batch.lengths.tolist() == lengths.tolist()
        best = torch.ones(batch.counted.shape, dtype=torch.long)
        best[batch.counted] = batch.pdf_ids
        return 50.0 * torch.nn.functional.one_hot(best, 5)

    sums = Evaluation(dev, 10**6).sums(run, torch.device("cpu"), 0, 1)
    num_tokens = sum(len(dev.tokens(k)) for k in range(len(dev)))
    assert sums == [0.0, num_tokens, pytest.approx(0.0, abs=1e-3), dev.num_outputs.sum()]


@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
def test_frames_of_the_model_find_their_place_on_perturbed_features(subsampling: int) -> None:
    for num_frames in range(1, 20):
        plain = output_frames(np.arange(num_frames), subsampling)
        assert plain.tolist() == list(range(-(-num_frames // subsampling)))
    for speed in (0.9, 1.1):
        source = np.floor(speed * np.arange(100) + 0.5).astype(np.int64)
        found = output_frames(source, subsampling)
        blocks = [source[k : k + subsampling] // subsampling for k in range(0, 100, subsampling)]
        assert len(found) == len(blocks)
        for place, block in zip(found, blocks, strict=True):  # where most of its frames are from
            assert (block == place).sum() == np.bincount(block).max()


def test_a_change_of_speed_takes_the_alignment_along(spoken: Any) -> None:
    data = read(spoken, "late")
    augment = Augment(
        AugmentConfig(speed=SpeedConfig(prob=1.0, low=0.5, high=0.5)),
        np.zeros(4, np.float32), np.ones(4, np.float32),
    )  # fmt: skip
    batch = augmented_batch(data, [3], augment, FrameSelection(np.ones(5)), 0, 0)
    n = int(data.num_frames[3])
    assert batch.lengths.tolist() == [2 * n]
    assert batch.outputs.tolist() == [n]
    np.testing.assert_array_equal(batch.pdf_ids, data.pdf_ids(3)[batch.source[0]])
    np.testing.assert_array_equal(batch.tokens[0], data.tokens(3))


@pytest.mark.parametrize("stored", [False, True])
def test_a_student_of_posteriors_at_the_reduced_rate(spoken: Any, stored: bool) -> None:
    train(spoken.inputs, config(spoken, seed=1), spoken.root / "teacher")
    data = read(spoken)
    settings = DistillConfig(hard_weight=0.25)
    teacher = Checkpoint.load(spoken.root / "teacher")
    hard = TokenSequences(CtcConfig())
    objective: Any
    if stored:
        objective = StoredTargets(store(spoken, teacher, data), settings, data, hard)
    else:
        teachers = Teachers([spoken.root / "teacher"], settings, data)
        objective = OnlineTeachers(teachers, settings, hard)
    augment = AugmentConfig(speed=SpeedConfig(prob=0.0 if stored else 1.0))
    batch = augmented_batch(
        data, [4, 13, 0], Augment(augment, np.zeros(4, np.float32), np.ones(4, np.float32)),
        FrameSelection(np.ones(5)), 0, 0,
    )  # fmt: skip
    torch.manual_seed(0)
    logits = torch.randn(*batch.counted.shape, 5)
    output = StudentOutput(logits, [])
    found, count = objective(output, batch)
    with torch.no_grad():
        theirs, outputs = teacher.model(batch.feats, batch.lengths)
    soft = sum(
        -(theirs[b, :n].softmax(1) * logits[b, :n].log_softmax(1)).sum()
        for b, n in enumerate(outputs.tolist())
    )
    torch.testing.assert_close(found, soft + 0.25 * hard(output, batch)[0], rtol=1e-3, atol=0)
    assert count == outputs.sum()


def test_faster_speech_loses_no_spike(spoken: Any) -> None:
    """Neither of an alignment nor of a store that has one frame for each token."""
    data = read(spoken, "late")
    sure = [
        torch.nn.functional.one_hot(torch.from_numpy(data.pdf_ids(k)).long(), 5)
        for k in range(len(data))
    ]
    log_posts = [(0.9 * x + 0.02).log() for x in sure]
    targets = StoredTargets(write_store(spoken, log_posts, data), DistillConfig(), data)
    speed = SpeedConfig(prob=1.0, low=1.0, high=1.3)
    augment = Augment(AugmentConfig(speed=speed), np.zeros(4, np.float32), np.ones(4, np.float32))
    selection = FrameSelection(np.ones(5))
    batch = augmented_batch(data, range(len(data)), augment, selection, 0, 0)
    stored = targets.targets(batch).dense(5).argmax(1)
    ends = batch.outputs.cumsum(0)[:-1]
    assert ends[-1] < 0.95 * sum(data.num_outputs)
    pairs = zip(batch.pdf_ids.tensor_split(ends), stored.tensor_split(ends), strict=True)
    for k, paths in enumerate(pairs):
        for path in paths:
            assert collapse(path.numpy()).tolist() == data.tokens(k).tolist()


def store(spoken: Any, teacher: Checkpoint, data: AlignedData) -> Path:
    """Everything that the teacher says of the training set."""
    log_posts = []
    for k in range(len(data)):
        feats = torch.tensor(data.feats(k))[None]
        with torch.no_grad():
            logits, _ = teacher.model(feats, torch.tensor([feats.shape[1]]))
        log_posts.append(logits[0].log_softmax(1))
    return write_store(spoken, log_posts, data)


def write_store(spoken: Any, log_posts: list[torch.Tensor], data: AlignedData) -> Path:
    folder: Path = spoken.root / "targets"
    folder.mkdir()
    header = Header(
        temperature=1.0, mean="arithmetic", weights=(1.0,), keep="all", num_labels=5,
        teachers=(TeacherId(name="t", digest="d"),), label_set=data.label_set.digest,
    )  # fmt: skip
    writer = ShardWriter(header.codec)
    for utt, log_post in zip(data.utt_ids, log_posts, strict=True):
        writer.add(utt, len(log_post), header.codec.encode(log_post))
    write_header(folder, header, [writer.write(folder / "targets.0.bin")])
    return folder


def test_spikes_are_where_an_alignment_or_a_guide_has_them(spoken: Any) -> None:
    """The last frame of each token is where CTC alone would not look for it."""
    data = read(spoken, "late")
    batch = plain_batch(data, range(len(data)))

    def at_the_end(name: str, ctc: CtcConfig, **inputs: Any) -> float:
        settings = config(spoken, epochs=20, learning_rate=0.01, ctc=ctc)
        train(replace(spoken.inputs, **inputs), settings, spoken.root / name)
        model = Checkpoint.load(spoken.root / name / "last").model
        with torch.no_grad():
            best = model(batch.feats, batch.lengths)[0].argmax(2)[batch.counted]
        common = (best == batch.pdf_ids) & (best > 0)
        return float(common.sum() / (batch.pdf_ids > 0).sum())

    framewise = CtcConfig(weight=0.0, frame_weight=1.0)
    alone = at_the_end("alone", CtcConfig())
    aligned = at_the_end("aligned", framewise, ali=spoken.root / "late")
    guided = at_the_end("guided", CtcConfig(guide_weight=4.0), guide=spoken.root / "aligned")
    assert alone < 0.3
    assert min(aligned, guided) > 0.65
    assert len((spoken.root / "guided" / "trained_on.txt").read_text().split()) == 30


def test_hints_behind_the_subsampling(spoken: Any) -> None:
    train(spoken.inputs, config(spoken, seed=1), spoken.root / "teacher")
    teachers = {"teachers": (spoken.root / "teacher",)}
    hint = HintConfig(student="layers.0", teacher="layers.0")
    settings = config(spoken, distill=DistillConfig(hints=(hint,)))
    train(replace(spoken.inputs, **teachers), settings, spoken.root / "student")
    before = HintConfig(student="layers.0", teacher="frontend")
    settings = config(spoken, distill=DistillConfig(hints=(before,)))
    with pytest.raises(InputError) as caught:
        train(replace(spoken.inputs, **teachers), settings, spoken.root / "refused")
    (fault,) = caught.value.faults
    assert "name layers behind the subsampling by 2" in fault


def test_a_killed_training_goes_on_with_the_same_bits(
    spoken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(spoken.inputs, config(spoken), spoken.root / "guide")
    inputs = replace(spoken.inputs, ali=spoken.root / "late", guide=spoken.root / "guide")
    settings = config(
        spoken, epochs=3, save_every=2, augment=AugmentConfig(speed=SpeedConfig(prob=0.5)),
        model=MODEL.model_copy(update={"dropout": 0.2}), ctc=CtcConfig(frame_weight=0.5),
    )  # fmt: skip
    assert inputs.by_name()["guide"] == inputs.guide  # another guide is another training
    train(inputs, settings, spoken.root / "whole")
    step = loop.Trainer._step

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        if self.progress.epoch == 1 and self.progress.batch == 3:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, settings, spoken.root / "cut")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(inputs, settings, spoken.root / "cut")
    digests = {Checkpoint.load(spoken.root / name / "last").digest for name in ("whole", "cut")}
    assert len(digests) == 1
    infos = [read_manifest(spoken.root / name).info for name in ("whole", "cut")]
    assert infos[0]["dev_ctc_loss"] == infos[1]["dev_ctc_loss"]


def test_data_without_transcripts_learn_from_a_teacher_alone(spoken: Any) -> None:
    train(spoken.inputs, config(spoken, seed=1), spoken.root / "teacher")
    inputs = replace(spoken.inputs, ali=None, teachers=(spoken.root / "teacher",))
    settings = config(
        spoken, distill=DistillConfig(hard_weight=0.0),
        augment=AugmentConfig(mix=MixConfig(prob=0.5)),
    )  # fmt: skip
    train(inputs, settings, spoken.root / "student")
    assert "dev_token_error_rate" in read_manifest(spoken.root / "student").info
    for folder in (spoken.root / "student", spoken.root / "student" / "last"):
        assert_prior_is_mean_posterior(Checkpoint.load(folder), read(spoken))
    # Where the dev set is aligned, its labels are counted.
    train(replace(inputs, dev_ali=spoken.root / "dev_late"), settings, spoken.root / "counted")
    counted = Checkpoint.load(spoken.root / "counted").log_prior
    np.testing.assert_allclose(counted, log_prior(spoken.root / "dev_late"), rtol=1e-6)


def test_what_was_trained_before_there_was_ctc_is_up_to_date() -> None:
    assert "ctc" not in config_dict(TrainConfig())
    changed = config_dict(TrainConfig(ctc=CtcConfig(weight=0.5)))
    assert changed["ctc"]["weight"] == 0.5
    assert TrainConfig(**changed).ctc.weight == 0.5


@pytest.mark.gpu
def test_token_sequences_on_the_gpu(spoken: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    train(spoken.inputs, config(spoken), spoken.root / "guide")
    inputs = replace(spoken.inputs, ali=spoken.root / "late", guide=spoken.root / "guide")
    losses = []
    for accelerator in ("cpu", "cuda"):
        out = spoken.root / accelerator
        settings = config(spoken, accelerator=accelerator, ctc=CtcConfig(frame_weight=0.5))
        train(inputs, settings, out)
        losses.append(read_manifest(out).info["dev_ctc_loss"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
