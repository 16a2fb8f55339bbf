"""Specialists through the training loop: which frames count, what is published, what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.distill.clusters import Clusters
from asr_kd.distill.specialist import rest_offset
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior, read_ali_labels
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train import loop
from asr_kd.train.augment import Augment
from asr_kd.train.build import build
from asr_kd.train.config import AugmentConfig, MixConfig, SpecialistConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, augmented_batch, plain_batch
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.specialist import Specialty
from asr_kd.train.stage import train


@pytest.fixture
def special(corpus: Any) -> TrainInputs:
    """A trained generalist and clusters; the inputs of a specialist of labels 1 and 4."""
    generalist = corpus.root / "generalist"
    train(corpus.inputs, corpus.config(epochs=4, learning_rate=0.01), generalist)
    (corpus.root / "clusters").mkdir()
    labels = read_ali_labels(corpus.inputs.ali)
    Clusters(labels, ((0, 2, 3, 5), (1, 4))).save(corpus.root / "clusters")
    cluster = f"{corpus.root / 'clusters'}:2"
    inputs: TrainInputs = replace(corpus.inputs, init=generalist, cluster=cluster)
    return inputs


def opened(inputs: TrainInputs, share: float = 0.5) -> tuple[Specialty, AlignedData, AlignedData]:
    assert inputs.cluster is not None
    data = AlignedData(inputs.data, inputs.ali, "global")
    dev = AlignedData(inputs.dev, inputs.dev_ali, "global")
    config = SpecialistConfig(special_share=share)
    specialty = Specialty.open(inputs.cluster, config, data, dev)
    return specialty, specialty.relabelled(data), specialty.relabelled(dev)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_the_wished_share_of_the_counted_frames_is_special(
    special: TrainInputs, share: float
) -> None:
    specialty, data, dev = opened(special, share)
    augment = Augment(AugmentConfig(speed=SpeedConfig(prob=0.5)), np.zeros(4), np.ones(4))
    labels, counted = [], []
    for epoch in range(40):
        batch = augmented_batch(
            data, range(len(data)), augment, specialty.selection, seed=0, epoch=epoch
        )
        labels.append(batch.pdf_ids)
        counted.append(batch.counted.float().mean())
        assert len(batch.pdf_ids) == int(batch.counted.sum())
        assert (batch.counted.sum(1) < batch.lengths).any()  # context is more than what counts
    assert set(torch.cat(labels).tolist()) == {0, 1, 2}
    assert float((torch.cat(labels) < 2).float().mean()) == pytest.approx(share, abs=0.03)
    assert len(set(counted)) > 1  # other frames in other epochs
    batches = [plain_batch(dev, range(len(dev)), specialty.dev_selection) for _ in range(2)]
    assert torch.equal(batches[0].counted, batches[1].counted)  # but always the same of dev
    assert float((batches[0].pdf_ids < 2).float().mean()) == pytest.approx(share, abs=0.12)


def test_draws_depend_on_seed_epoch_and_utterance_only(special: TrainInputs) -> None:
    specialty, data, _ = opened(special)
    augment = Augment(AugmentConfig(), np.zeros(4), np.ones(4))
    many = augmented_batch(data, range(10), augment, specialty.selection, seed=3, epoch=2)
    alone = augmented_batch(data, [7], augment, specialty.selection, seed=3, epoch=2)
    length = int(alone.lengths[0])
    assert torch.equal(many.counted[7, :length], alone.counted[0])
    assert not many.counted[7, length:].any()


def test_a_specialist_is_published_with_its_oversampling_undone(
    special: TrainInputs, corpus: Any
) -> None:
    out = corpus.root / "specialist"
    config = corpus.config(epochs=3, learning_rate=0.005, ema_decay=0.5)
    train(special, config, out)
    specialty, _, dev = opened(special)
    generalist = Checkpoint.load(corpus.root / "generalist")
    for folder in (out, out / "last"):
        specialist = Checkpoint.load(folder)
        assert specialist.label_set.names[:-1] == ("s1", "s4")
        assert generalist.label_set.digest[:12] in specialist.label_set.names[-1]
        prior = np.exp(log_prior(special.ali))
        assert np.allclose(
            np.exp(specialist.log_prior), [prior[1], prior[4], prior[[0, 2, 3, 5]].sum()]
        )
        # Over all dev frames, not half and half, its posteriors have the true mean.
        batch = plain_batch(dev, range(len(dev)))
        with torch.no_grad():
            probs = specialist.model(batch.feats, batch.lengths)[0][batch.counted].softmax(1)
            uncorrected = specialist.model
            uncorrected.shift_logits(-specialty.offsets)
            raw = uncorrected(batch.feats, batch.lengths)[0][batch.counted].softmax(1)
        share = float((batch.pdf_ids == 2).float().mean())
        assert abs(float(probs[:, 2].mean()) - share) < abs(float(raw[:, 2].mean()) - share)
    assert specialty.offsets.tolist()[:2] == [0, 0]
    assert specialty.offsets.tolist()[2] == pytest.approx(rest_offset(*specialty.chances))
    assert (out / "init.md").read_text().count("dustbin") == 1


def test_training_starts_from_the_generalist(special: TrainInputs, corpus: Any) -> None:
    data = AlignedData(special.data, special.ali, "global")
    dev = AlignedData(special.dev, special.dev_ali, "global")
    built = build(special, corpus.config(), data, dev)
    assert built.specialty is not None
    started = built.specialty.corrected(built.student.network).eval()
    generalist = Checkpoint.load(corpus.root / "generalist").model
    batch = plain_batch(data, range(6))
    with torch.no_grad():
        ours = started(batch.feats, batch.lengths)[0][batch.counted].softmax(1)
        theirs = generalist(batch.feats, batch.lengths)[0][batch.counted].softmax(1)
    wanted = torch.stack([theirs[:, 1], theirs[:, 4], theirs[:, [0, 2, 3, 5]].sum(1)], 1)
    assert float((ours - wanted).abs().mean()) < 0.1
    assert float((ours.argmax(1) == wanted.argmax(1)).float().mean()) > 0.9


def test_soft_targets_of_the_rest(special: TrainInputs, corpus: Any) -> None:
    out = corpus.root / "soft"
    config = corpus.config(epochs=3, learning_rate=0.005, specialist={"rest": "soft"})
    train(special, config, out)
    generalist = Checkpoint.load(corpus.root / "generalist")
    specialist = Checkpoint.load(out)
    assert specialist.label_set == generalist.label_set
    assert np.allclose(specialist.log_prior, generalist.log_prior)
    dev = AlignedData(special.dev, special.dev_ali, "global")
    batch = plain_batch(dev, range(len(dev)))
    with torch.no_grad():
        ours, theirs = (
            m.model(batch.feats, batch.lengths)[0][batch.counted].softmax(1)
            for m in (specialist, generalist)
        )
    rest = [0, 2, 3, 5]
    kept = (batch.pdf_ids != 1) & (batch.pdf_ids != 4)
    ours, theirs = ours[kept][:, rest], theirs[kept][:, rest]
    assert float((ours - theirs).abs().mean()) < 0.05  # it remembers what is not its matter


def test_a_killed_specialist_goes_on_as_if_nothing_had_happened(
    special: TrainInputs, corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = corpus.config(epochs=3, ema_decay=0.5, save_every=1)
    train(special, config, corpus.root / "whole")
    step = loop.Trainer._step

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        if self.progress.step == 7:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train(special, config, corpus.root / "killed")
    monkeypatch.setattr(loop.Trainer, "_step", step)
    train(special, config, corpus.root / "killed")
    for part in (".", "last"):
        whole, killed = (Checkpoint.load(corpus.root / k / part) for k in ("whole", "killed"))
        assert whole.digest == killed.digest


def test_contradictions_are_refused_together(special: TrainInputs, corpus: Any) -> None:
    inputs = replace(special, init=None, teachers=(corpus.root / "generalist",))
    config = corpus.config(augment=AugmentConfig(mix=MixConfig(prob=0.5)), frames={"only": ["s1"]})
    with pytest.raises(InputError) as refused:
        train(inputs, config, corpus.root / "out")
    text = str(refused.value)
    for part in ("give it by --init", "leave out --targets and --teacher", "frames.only", "mix"):
        assert part in text
    assert not (corpus.root / "out").exists()
    with pytest.raises(InputError, match="only an alignment can tell"):
        train(replace(special, ali=None), corpus.config(), corpus.root / "out")


@pytest.mark.parametrize(
    ("cluster", "fault"),
    [
        ("{root}/clusters:3", "has clusters 1 to 2"),
        ("{root}/clusters:0", "has clusters 1 to 2"),
        ("{root}/clusters", "expected a cluster as DIR:NUMBER"),
        ("{root}/nothing:1", "no such file or folder"),
    ],
)
def test_clusters_that_are_not_there(
    special: TrainInputs, corpus: Any, cluster: str, fault: str
) -> None:
    inputs = replace(special, cluster=cluster.format(root=corpus.root))
    with pytest.raises(InputError, match=fault):
        train(inputs, corpus.config(), corpus.root / "out")


def test_clusters_of_other_labels_or_without_frames(special: TrainInputs, corpus: Any) -> None:
    folder = corpus.root / "others"
    folder.mkdir()
    Clusters(LabelSet("hmm-states", tuple("abcdef")), ((0, 1), (2, 3))).save(folder)
    with pytest.raises(InputError, match="label sets differ"):
        train(replace(special, cluster=f"{folder}:1"), corpus.config(), corpus.root / "out")


def test_a_cluster_without_frames_is_refused_by_name(special: TrainInputs, corpus: Any) -> None:
    data = AlignedData(special.data, special.ali, "global")
    dev = AlignedData(special.dev, special.dev_ali, "global")
    silent = data.relabelled(data.label_set, np.array([0, 0, 2, 3, 0, 5], np.int32))
    assert special.cluster is not None
    with pytest.raises(InputError, match=r"has no frame of its labels: s1, s4"):
        Specialty.open(special.cluster, SpecialistConfig(), silent, dev)
    with pytest.raises(InputError, match=r"has no frame of its labels: s1, s4"):
        Specialty.open(special.cluster, SpecialistConfig(), data, silent)


def test_relabelled_data_leaves_the_original_alone(special: TrainInputs, tmp_path: Path) -> None:
    specialty, _, _ = opened(special)
    original = AlignedData(special.data, special.ali, "global")
    before = [original.pdf_ids(k).copy() for k in range(len(original))]
    label_set = original.label_set
    data = specialty.relabelled(original)
    table = {0: 2, 1: 0, 2: 2, 3: 2, 4: 1, 5: 2}
    for k, pdf_ids in enumerate(before):
        assert original.pdf_ids(k).tolist() == pdf_ids.tolist()
        assert data.pdf_ids(k).tolist() == [table[i] for i in pdf_ids.tolist()]
    assert original.label_set is label_set
    assert len(data.label_set) == 3
