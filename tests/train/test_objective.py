from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.ensemble.store import Header, ShardWriter, TargetStore, TeacherId, write_header
from asr_kd.errors import InputError
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import FrontendConfig, TdnnConfig, TdnnLayerConfig
from asr_kd.train.augment import Augment
from asr_kd.train.config import AugmentConfig, DistillConfig, MixConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, Batch, augmented_batch, plain_batch
from asr_kd.train.objective import HardLabels, OnlineTeachers, StoredTargets, take_frames
from asr_kd.train.selection import FrameSelection
from asr_kd.train.stage import train
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import Teachers


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


def output_of(logits: torch.Tensor, batch: Batch) -> StudentOutput:
    """Logits (N,V) of the counted frames, at their places."""
    whole = torch.zeros(*batch.counted.shape, logits.shape[1])
    whole[batch.counted] = logits
    return StudentOutput(whole, [])


def augmented(data: AlignedData, indices: Any, augment: Augment, counted: Any = (1,) * 6) -> Batch:
    selection = FrameSelection(np.array(counted, np.float64))
    return augmented_batch(data, indices, augment, selection, seed=0, epoch=0)


def online(corpus: Any, config: DistillConfig) -> OnlineTeachers:
    """With a teacher that is nothing in particular."""
    teachers = Teachers([save_teacher(corpus, "t", 1)], config, read(corpus))
    return OnlineTeachers(teachers, config)


def mixed_batch(data: AlignedData) -> Batch:
    config = AugmentConfig(mix=MixConfig(prob=0.7), speed=SpeedConfig(prob=1))
    augment = Augment(config, np.zeros(4, np.float32), np.ones(4, np.float32))
    return augmented(data, range(6), augment)


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
    objective = OnlineTeachers(Teachers(folders, distill, data), distill)
    batch = mixed_batch(data) if mixed else plain_batch(data, range(5))
    logits = torch.randn(int(batch.lengths.sum()), 6)
    found, count = objective(output_of(logits, batch), batch)

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
    objective = OnlineTeachers(Teachers(folders, distill, data), distill)
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
    found, count = HardLabels()(output_of(logits, batch), batch)
    target = torch.zeros_like(logits)
    for n in range(len(logits)):
        target[n, batch.pdf_ids[n]] += batch.mix_weight[n]
        target[n, batch.mixed_pdf_ids[n]] += 1 - batch.mix_weight[n]
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    torch.testing.assert_close(found, expected)
    assert int(count) == len(logits)


def test_teachers_that_do_not_fit_are_all_named(corpus: Any) -> None:
    good = save_teacher(corpus, "good", 1)
    labels = save_teacher(corpus, "labels", 2, label_set=LabelSet("hmm-states", tuple("abcdef")))
    cmvn = save_teacher(corpus, "cmvn", 3, cmvn="speaker")
    with pytest.raises(InputError) as caught:
        Teachers([good, labels, cmvn], DistillConfig(), read(corpus))
    text = "\n".join(caught.value.faults)
    assert "labels" in text
    assert "cmvn speaker" in text
    assert "cmvn global" in text
    assert str(good) not in text


def test_weights_and_draws_are_for_the_teachers_that_there_are(corpus: Any) -> None:
    with pytest.raises(InputError) as caught:
        online(corpus, DistillConfig(weights=(1.0, 2.0), teachers_per_batch=4))
    assert caught.value.faults == [
        "distill.weights: 2 weights for 1 teachers",
        "distill.teachers_per_batch is 4, of 1 teachers",
    ]


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
        Checkpoint.load(d).model(batch.feats, batch.lengths)[0][batch.counted].argmax(-1)
        for d in (teacher, student)
    )
    assert (one == other).float().mean() > 0.9


def test_targets_and_teachers_exclude_one_another(corpus: Any) -> None:
    teacher = save_teacher(corpus, "t", 1)
    inputs = replace(corpus.inputs, targets=corpus.inputs.ali, teachers=(teacher,))
    with pytest.raises(InputError, match="not from both"):
        train(inputs, corpus.config(), corpus.root / "exp")


def write_store(corpus: Any, data: AlignedData, **changes: Any) -> tuple[Path, dict[str, Any]]:
    fields = {
        "temperature": 2.0, "mean": "arithmetic", "weights": (1.0,),
        "teachers": (TeacherId(name="t", digest="d"),), "label_set": data.label_set.digest,
        "num_labels": 6, "keep": "mass=0.9,cap=4", **changes,
    }  # fmt: skip
    header = Header(**fields)
    folder = corpus.root / "targets"
    folder.mkdir()
    writer = ShardWriter(header.codec)
    torch.manual_seed(1)
    for index, utt in enumerate(data.utt_ids):
        log_probs = (2 * torch.randn(int(data.num_frames[index]), 6)).log_softmax(1)
        writer.add(utt, len(log_probs), header.codec.encode(log_probs))
    write_header(folder, header, [writer.write(folder / "targets.0.bin")])
    store = TargetStore.open(folder)
    return folder, {utt: store[utt] for utt in store}


@pytest.mark.parametrize("speed", [0.0, 1.0])
@pytest.mark.parametrize("counted", [(1,) * 6, (1, 0, 0, 1, 0.5, 0)])
def test_stored_targets_follow_the_frames(corpus: Any, speed: float, counted: Any) -> None:
    data = read(corpus)
    folder, targets = write_store(corpus, data)
    objective = StoredTargets(folder, DistillConfig(temperature=2.0, hard_weight=0.3), data)
    config = AugmentConfig(speed=SpeedConfig(prob=speed, low=0.7, high=1.4))
    augment = Augment(config, np.zeros(4, np.float32), np.ones(4, np.float32))
    batch = augmented(data, [4, 1, 8], augment, counted)
    logits = torch.randn(len(batch.pdf_ids), 6, requires_grad=True)
    found, count = objective(output_of(logits, batch), batch)
    found.backward()
    assert int(count) == len(logits)

    # One frame after the other.
    plain = logits.detach().clone().requires_grad_()
    expected = torch.zeros(())
    n = 0
    for row, utt in enumerate(batch.utt_ids):
        stored = targets[utt]
        for frame in batch.source[row].tolist():
            part = slice(int(stored.indptr[frame]), int(stored.indptr[frame + 1]))
            log_post = (plain[n] / 2).log_softmax(0)
            kept = stored.labels[part]
            others = torch.ones(6, dtype=torch.bool)
            others[kept] = False
            soft = -(stored.probs[part] * log_post[kept]).sum()
            soft = soft - stored.left[frame] * log_post[others].logsumexp(0)
            hard = -plain[n].log_softmax(0)[batch.pdf_ids[n]]
            expected = expected + 4 * soft + 0.3 * hard
            n += 1
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(logits.grad, plain.grad, rtol=1e-3, atol=1e-4)


def test_a_store_that_does_not_fit_names_everything(corpus: Any) -> None:
    data = read(corpus)
    folder, _ = write_store(corpus, data, mean="geometric", label_set="0" * 64)
    index = read_table(folder / "index.txt")
    missing = index.pop(data.utt_ids[3])
    other = data.utt_ids[5]
    shard, frame, length, entry, entries = index[other].split()
    index[other] = f"{shard} {frame} {int(length) - 1} {entry} {entries}"
    write_table(folder / "index.txt", index)
    assert missing
    with pytest.raises(InputError) as caught:
        StoredTargets(folder, DistillConfig(temperature=5.0, weights=(1.0, 2.0)), data)
    text = "\n".join(caught.value.faults)
    assert "temperature 2" in text
    assert "configured for 5" in text
    assert "geometric" in text
    assert "weights are (1.0,), the student expects (1.0, 2.0)" in text
    assert "digest 000000000000" in text
    assert f"no targets for {data.utt_ids[3]}" in text
    assert f"{other}: targets of {int(length) - 1} frames, features of {length}" in text
    assert len(caught.value.faults) == 6


def test_a_store_of_another_frame_rate_is_one_fault(corpus: Any) -> None:
    data = read(corpus)
    folder, _ = write_store(corpus, data)
    data.subsampling, data.num_outputs = 2, -(-data.num_frames // 2)
    with pytest.raises(
        InputError, match=r"one in 1 frames of .* one in 2: set .*factor=1"
    ) as caught:
        StoredTargets(folder, DistillConfig(temperature=2.0), data)
    assert len(caught.value.faults) == 1


def test_a_student_trains_on_a_store_but_not_on_mixes(corpus: Any) -> None:
    folder, _ = write_store(corpus, read(corpus))
    inputs = replace(corpus.inputs, targets=folder)
    distill = DistillConfig(temperature=2.0)
    plain = corpus.config(distill=distill, epochs=1)
    train(inputs, plain, corpus.root / "exp")
    assert "targets" in read_manifest(corpus.root / "exp").inputs
    mixing = corpus.config(distill=distill, augment=AugmentConfig(mix=MixConfig(prob=0.1)))
    with pytest.raises(InputError, match="no store knows a mix"):
        train(inputs, mixing, corpus.root / "other")
    for_teachers = corpus.config(distill=DistillConfig(temperature=2.0, teachers_per_batch=1))
    with pytest.raises(InputError, match="teachers_per_batch is for teachers on line"):
        train(inputs, for_teachers, corpus.root / "other")
    with pytest.raises(InputError, match="not a soft-target store"):
        train(replace(inputs, targets=corpus.inputs.ali), plain, corpus.root / "other")


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


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_logits_are_matched_without_their_means(corpus: Any, stored: bool, mixed: bool) -> None:
    data = read(corpus)
    distill = DistillConfig(temperature=2.0, hard_weight=0.3, soft_weight=0.7, loss="logits")
    batch = mixed_batch(data) if mixed else plain_batch(data, range(4))
    objective: StoredTargets | OnlineTeachers
    if stored:
        folder, targets = write_store(corpus, data, keep="all")
        objective = StoredTargets(folder, distill, data)
        probs = [targets[u].dense(6)[s] for u, s in zip(batch.utt_ids, batch.source, strict=True)]
        log_q = torch.cat(probs).log()
    else:
        folders = [save_teacher(corpus, f"t{k}", k) for k in (1, 2)]
        objective = OnlineTeachers(Teachers(folders, distill, data), distill)
        models = [Checkpoint.load(folder).model for folder in folders]
        each = [m(batch.feats, batch.lengths)[0][batch.counted] / 2 for m in models]
        log_q = ((each[0].softmax(1) + each[1].softmax(1)) / 2).log().detach()
    logits = torch.randn(len(batch.pdf_ids), 6)
    output = output_of(logits, batch)
    found, count = objective(output, batch)
    expected = 0.3 * float(HardLabels()(output, batch)[0])
    for z, v in zip(logits, 2 * log_q, strict=True):
        expected += 0.7 * float((z - z.mean() - v + v.mean()).square().sum()) / 2 / 6
    assert int(count) == len(logits)
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_logits_are_not_matched_with_a_part_of_them(corpus: Any) -> None:
    data = read(corpus)
    folder, _ = write_store(corpus, data)
    config = corpus.config(
        distill={"temperature": 2.0, "loss": "logits", "essence": {"floor": 0.1}}
    )
    with pytest.raises(InputError) as caught:
        train(replace(corpus.inputs, targets=folder), config, corpus.root / "exp")
    essence, truncated = caught.value.faults
    assert "distill.essence is for the loss cross-entropy" in essence
    assert f"{folder}: keeps mass=0.9,cap=4 of each frame" in truncated
    assert "--keep all" in truncated
    assert not list(corpus.root.glob("*exp*"))
    with pytest.raises(InputError, match=r"distill\.essence"):
        online(corpus, config.distill)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("rest", ["bucket", "renormalise"])
def test_the_essence_of_the_targets(corpus: Any, stored: bool, rest: Any) -> None:
    data = read(corpus)
    distill = DistillConfig(
        temperature=2.0, soft_weight=0.5, essence={"mass": 0.8, "floor": 0.15, "rest": rest}
    )
    batch = plain_batch(data, range(3))
    objective: StoredTargets | OnlineTeachers
    if stored:
        folder, targets = write_store(corpus, data)
        objective = StoredTargets(folder, distill, data)
        q = torch.cat([targets[utt].dense(6) for utt in batch.utt_ids])
    else:
        folder = save_teacher(corpus, "t", 1)
        objective = OnlineTeachers(Teachers([folder], distill, data), distill)
        theirs = Checkpoint.load(folder).model(batch.feats, batch.lengths)[0][batch.counted]
        q = (theirs / 2).softmax(1).detach()
    logits = torch.randn(len(batch.pdf_ids), 6)
    found, _ = objective(output_of(logits, batch), batch)
    expected = 0.0
    for n, z in enumerate(logits):
        p, kept = (z / 2).softmax(0), list[int]()
        for v in q[n].argsort(descending=True).tolist():
            held = float(q[n, kept].sum())
            if kept and (held >= 0.8 or q[n, v] < 0.15):
                break
            kept.append(v)
        held = float(q[n, kept].sum())
        others = [v for v in range(6) if v not in kept]
        soft = -float((q[n, kept] * p[kept].log()).sum())
        if rest == "renormalise":
            soft /= held
        elif others:
            soft -= (1 - held) * float(p[others].sum().log())
        expected += 0.5 * 4 * soft - 0.5 * float(z.log_softmax(0)[batch.pdf_ids[n]])
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_without_a_soft_part_only_the_labels_count(corpus: Any) -> None:
    data = read(corpus)
    batch = plain_batch(data, range(3))
    output = output_of(torch.randn(len(batch.pdf_ids), 6), batch)
    config = corpus.config(distill=DistillConfig(soft_weight=0.0, hard_weight=0.25))
    objective = online(corpus, config.distill)
    hard, count = HardLabels()(output, batch)
    torch.testing.assert_close(objective(output, batch), (0.25 * hard, count))


@pytest.mark.parametrize("labelled", [True, False])
def test_no_weight_is_no_loss_and_no_gradient_but_a_count(corpus: Any, labelled: bool) -> None:
    data = read(corpus)
    if not labelled:
        data = AlignedData(corpus.inputs.data, corpus.inputs.dev_ali, "global", labelled=False)
    objective = online(corpus, DistillConfig(soft_weight=0.0, hard_weight=0.0))
    batch = plain_batch(data, [3, 0])
    leaf = torch.randn(*batch.counted.shape, 6).requires_grad_()
    total, count = objective(StudentOutput(leaf, []), batch)
    total.backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == 0.0
    assert int(count) == int(batch.lengths.sum())
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_what_the_teachers_put_out_goes_with_the_batch(corpus: Any) -> None:
    data = read(corpus)
    teachers = Teachers([save_teacher(corpus, "t", 1)], DistillConfig(), data)
    batch = plain_batch(data, [0, 1])
    assert teachers(0, batch) is teachers(0, batch)
    other = plain_batch(data, [2])
    logits = teachers(0, other).logits
    del batch  # the former batch takes nothing of the present one's along
    assert teachers(0, other).logits is logits
    del other
    assert not teachers._outputs
