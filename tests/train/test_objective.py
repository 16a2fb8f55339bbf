from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import FrontendConfig, TdnnConfig, TdnnLayerConfig
from asr_kd.train.augment import Augment
from asr_kd.train.config import AugmentConfig, DistillConfig, MixConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, Batch, augmented_batch, plain_batch
from asr_kd.train.objective import HardLabels, OnlineTeachers, take_frames
from asr_kd.train.stage import train


def read(corpus: Any) -> AlignedData:
    return AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")


def save_teacher(corpus: Any, name: str, seed: int, **changes: Any) -> Any:
    data = read(corpus)
    torch.manual_seed(seed)
    layers = (TdnnLayerConfig(offsets=(-1, 0, 1), width=5 + seed),)
    config = TdnnConfig(layers=layers, frontend=FrontendConfig(delta_order=seed % 2))
    model = build_model(config, data.input_dim, len(data.label_set))
    fields = {
        "model": model, "label_set": data.label_set, "spec": data.spec, "cmvn": "global",
        "log_prior": np.zeros(6, np.float32), **changes,
    }  # fmt: skip
    folder = corpus.root / name
    folder.mkdir()
    Checkpoint(**fields).save(folder)
    return folder


def mixed_batch(data: AlignedData) -> Batch:
    config = AugmentConfig(mix=MixConfig(prob=0.7), speed=SpeedConfig(prob=1))
    augment = Augment(config, np.zeros(4, np.float32), np.ones(4, np.float32))
    return augmented_batch(data, range(6), augment, seed=0, epoch=0)


@pytest.mark.parametrize(("mean", "temperature"), [("arithmetic", 2.0), ("geometric", 1.0)])
@pytest.mark.parametrize("hard_weight", [0.0, 0.5])
@pytest.mark.parametrize("mixed", [False, True])
def test_online_teachers_see_the_batch_of_the_student(
    corpus: Any, mean: Any, temperature: float, hard_weight: float, mixed: bool
) -> None:
    data = read(corpus)
    folders = [save_teacher(corpus, f"t{k}", k) for k in (1, 2, 3)]
    distill = DistillConfig(
        temperature=temperature, hard_weight=hard_weight, mean=mean, weights=(1.0, 2.0, 5.0)
    )
    objective = OnlineTeachers(folders, corpus.config(distill=distill), data)
    batch = mixed_batch(data) if mixed else plain_batch(data, range(5))
    logits = torch.randn(int(batch.lengths.sum()), 6)
    found, count = objective(logits, batch)

    # One frame after the other, one teacher after the other.
    models = [Checkpoint.load(folder).model for folder in folders]
    rows: list[torch.Tensor] = []
    for b, n in enumerate(batch.lengths.tolist()):
        alone = [m(batch.feats[b : b + 1, :n], torch.tensor([n]))[0][0] for m in models]
        posts = [(z / temperature).softmax(-1) for z in alone]
        if mean == "arithmetic":
            rows.append(sum(w * p for w, p in zip((1 / 8, 2 / 8, 5 / 8), posts, strict=True)))  # type: ignore[arg-type]
        else:
            product = posts[0] ** (1 / 8) * posts[1] ** (2 / 8) * posts[2] ** (5 / 8)
            rows.append(product / product.sum(-1, keepdim=True))
    q = torch.cat(rows).detach()
    expected = -(temperature**2) * (q * (logits / temperature).log_softmax(-1)).sum()
    share = torch.ones(len(logits)) if batch.mix_weight is None else batch.mix_weight
    second = batch.pdf_ids if batch.mixed_pdf_ids is None else batch.mixed_pdf_ids
    for n, row in enumerate(logits.log_softmax(-1)):
        hard = share[n] * row[batch.pdf_ids[n]] + (1 - share[n]) * row[second[n]]
        expected = expected - hard_weight * hard
    assert int(count) == len(logits)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_a_draw_of_teachers_for_each_batch(corpus: Any) -> None:
    data = read(corpus)
    folders = [save_teacher(corpus, f"t{k}", k) for k in (1, 2, 3)]
    distill = DistillConfig(teachers_per_batch=2)
    objective = OnlineTeachers(folders, corpus.config(distill=distill), data)
    torch.manual_seed(0)
    drawn = {tuple(sorted(objective._members())) for _ in range(50)}
    assert drawn == {(0, 1), (0, 2), (1, 2)}


def test_hard_labels_of_a_mix_are_mixed_losses(corpus: Any) -> None:
    data = read(corpus)
    batch = mixed_batch(data)
    assert batch.mix_weight is not None
    assert batch.mixed_pdf_ids is not None
    assert 0 < (batch.mix_weight < 1).sum() < len(batch.mix_weight)  # some rows are not mixed
    logits = torch.randn(len(batch.pdf_ids), 6)
    found, count = HardLabels()(logits, batch)
    target = torch.zeros_like(logits)
    for n in range(len(logits)):
        target[n, batch.pdf_ids[n]] += batch.mix_weight[n]
        target[n, batch.mixed_pdf_ids[n]] += 1 - batch.mix_weight[n]
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(found, expected)
    assert int(count) == len(logits)


def test_teachers_that_do_not_fit_are_all_named(corpus: Any) -> None:
    data = read(corpus)
    good = save_teacher(corpus, "good", 1)
    labels = save_teacher(corpus, "labels", 2, label_set=LabelSet("hmm-states", tuple("abcdef")))
    cmvn = save_teacher(corpus, "cmvn", 3, cmvn="speaker")
    config = corpus.config(distill=DistillConfig(weights=(1.0,), teachers_per_batch=4))
    with pytest.raises(InputError) as caught:
        OnlineTeachers([good, labels, cmvn], config, data)
    text = "\n".join(caught.value.faults)
    assert "labels" in text
    assert "cmvn speaker" in text
    assert "cmvn global" in text
    assert "1 weights for 3 teachers" in text
    assert "teachers_per_batch is 4, of 3" in text
    assert str(good) not in text


def test_a_student_trains_on_line(corpus: Any) -> None:
    teacher = corpus.root / "teacher"
    train(corpus.inputs, corpus.config(epochs=8, learning_rate=0.01), teacher)
    inputs = replace(corpus.inputs, teachers=(teacher, teacher))
    student = corpus.root / "student"
    config = corpus.config(
        epochs=8,
        learning_rate=0.01,
        distill=DistillConfig(hard_weight=0.0, temperature=2.0),
        augment=AugmentConfig(mix=MixConfig(prob=0.5)),
    )
    train(inputs, config, student)
    data = AlignedData(corpus.inputs.dev, corpus.inputs.dev_ali, "global")
    batch = plain_batch(data, range(len(data)))
    one, other = (
        Checkpoint.load(d).model(batch.feats, batch.lengths)[0][batch.valid].argmax(-1)
        for d in (teacher, student)
    )
    assert (one == other).float().mean() > 0.9


def test_targets_and_teachers_exclude_one_another(corpus: Any) -> None:
    teacher = save_teacher(corpus, "t", 1)
    inputs = replace(corpus.inputs, targets=corpus.inputs.ali, teachers=(teacher,))
    with pytest.raises(InputError, match="not from both"):
        train(inputs, corpus.config(), corpus.root / "exp")


def test_take_frames() -> None:
    dense = torch.rand(5, 4)
    dense[dense < 0.4] = 0
    counts = (dense > 0).sum(1)
    targets = SoftTargets(
        torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]),
        dense.nonzero()[:, 1],
        dense[dense > 0],
        1 - dense.sum(1),
    )
    rows = torch.tensor([4, 4, 0, 2, 1, 0])
    taken = take_frames(targets, rows)
    found = torch.zeros(6, 4)
    for n in range(6):
        part = slice(int(taken.indptr[n]), int(taken.indptr[n + 1]))
        found[n, taken.labels[part]] = taken.probs[part]
    torch.testing.assert_close(found, dense[rows])
    torch.testing.assert_close(taken.left, targets.left[rows])
