"""The objective of token sequences against the enumeration of all paths, alone and in batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from asr_kd.distill.nbest_lists import Entry
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.train.config import CtcConfig, DistillConfig, NbestConfig
from asr_kd.train.dataset import AlignedData, Batch, plain_batch
from asr_kd.train.labels import FrameRate
from asr_kd.train.nbest import NbestTargets
from asr_kd.train.sequence import TokenSequences
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import TeacherOutput, Teachers

MODEL = TdnnConfig(
    layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=24),), dropout=0.0,
    subsampling={"factor": 2, "width": 24},
)  # fmt: skip
OUTPUTS = (5, 3, 4, 1)
TOKENS = ([1, 1, 2], [3], [], [2])
ALIGNED = ([1, 0, 1, 2, 2], [0, 3, 3], [0, 0, 0, 0], [2])


def planted_batch(device: torch.device) -> Batch:
    """Four utterances whose features nobody looks at; 9 stands on padding."""
    tokens = torch.tensor([[*x, 9, 9, 9][:3] for x in TOKENS])
    outputs = torch.tensor(OUTPUTS)
    return Batch(
        utt_ids=["a", "b", "c", "d"], feats=torch.zeros(4, 5, 1), lengths=outputs, outputs=outputs,
        counted=torch.arange(5) < outputs[:, None], pdf_ids=torch.tensor(sum(ALIGNED, [])),
        tokens=tokens, token_lengths=torch.tensor([len(x) for x in TOKENS]),
        mixed_pdf_ids=None, mix_weight=None, source=[np.arange(n) for n in OUTPUTS],
    ).to(device)  # fmt: skip


class Planted:
    """A guide that says what it is told to."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, member: int, batch: Batch) -> TeacherOutput:
        return TeacherOutput(self.logits, {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frame_weight", [0.0, 2.0])
def test_ctc_with_a_guide_is_that_of_all_paths(
    enumerated: Any, device: torch.device, dtype: torch.dtype, frame_weight: float
) -> None:
    torch.manual_seed(0)
    logits = (2 * torch.randn(4, 5, 4, dtype=dtype)).to(device).requires_grad_()
    theirs = torch.randn(4, 5, 4).to(device)
    weights = CtcConfig(weight=0.5, guide_weight=3.0, frame_weight=frame_weight)
    guide: Any = Planted(theirs)
    found, count = TokenSequences(weights, guide)(StudentOutput(logits, []), planted_batch(device))
    expected, spikes = logits.new_zeros(()), 0
    for row, guiding, tokens, labels in zip(logits, theirs.tolist(), TOKENS, ALIGNED, strict=True):
        expected = expected - 0.5 * enumerated(row[: len(labels)], tokens)
        for frame, scores, label in zip(row, guiding, labels, strict=False):
            post = frame.exp() / frame.exp().sum()
            expected = expected - frame_weight * post[label].log()
            if (spike := scores.index(max(scores))) != 0:
                expected, spikes = expected - 3.0 * post[spike], spikes + 1
    assert 0 < spikes < sum(OUTPUTS)
    assert count == sum(OUTPUTS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0, check_dtype=False)
    ours, reference = (torch.autograd.grad(loss, logits)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)
    assert not ours[1, 3:].any()  # on padding


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lists_on_disk_are_weighed_against_all_paths(
    spoken: Any, write_lists: Any, enumerated: Any, device: torch.device, dtype: torch.dtype
) -> None:
    """One frame for ten of the features: few enough for all paths, too few for some lists."""
    data = AlignedData(spoken.inputs.data, spoken.inputs.ali, "global", rate=FrameRate(10))
    planted = [(-0.25, (1, 2)), (-1.5, (3,)), (-0.75, ()), (-2.0, (4, 4))]
    lists = {
        utt: [Entry(score, (score,), tokens) for score, tokens in planted[k % 2 : k % 4 + 2]]
        for k, utt in enumerate(data.utt_ids)
    }
    folder = write_lists(spoken.root / "lists", lists)
    targets = NbestTargets(folder, NbestConfig(weight=3.0, scale=0.5), data)
    chosen = [k for k in range(len(data)) if data.num_outputs[k] <= 4]
    batch = plain_batch(data, chosen).to(device)
    assert len(set(batch.outputs.tolist())) > 1
    torch.manual_seed(0)
    logits = (2 * torch.randn(*batch.counted.shape, 5, dtype=dtype)).to(device).requires_grad_()
    objective = TokenSequences(CtcConfig(weight=0.5), lists=targets)
    found, count = objective(StudentOutput(logits, []), batch)
    expected, left_out = logits.new_zeros(()), 0
    for k, row, frames in zip(chosen, logits, batch.outputs.tolist(), strict=True):
        expected = expected - 0.5 * enumerated(row[:frames], data.tokens(k).tolist())
        each = [(e.score, enumerated(row[:frames], e.tokens)) for e in lists[data.utt_ids[k]]]
        fitting = [
            (np.exp(0.5 * score), log_prob) for score, log_prob in each if log_prob.isfinite()
        ]
        left_out += len(each) - len(fitting)
        for share, log_prob in fitting:
            expected = expected - 3.0 * share / sum(s for s, _ in fitting) * log_prob
    assert left_out > 0
    assert count == batch.outputs.sum()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-6, check_dtype=False)
    ours, reference = (torch.autograd.grad(loss, logits)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


def read(spoken: Any) -> AlignedData:
    return AlignedData(spoken.inputs.data, spoken.root / "late", "global", rate=FrameRate(2))


def guide_of(spoken: Any, data: AlignedData) -> Teachers:
    """A network with random weights that spikes at some frames."""
    folder: Path = spoken.root / "guide"
    folder.mkdir()
    torch.manual_seed(1)
    network = build_model(MODEL, data.input_dim, 5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    Checkpoint(network, data.label_set, data.spec, "global", np.zeros(5, np.float32)).save(folder)
    return Teachers([folder], DistillConfig(), data)


def test_a_guide_hears_what_the_student_hears(spoken: Any) -> None:
    data = read(spoken)
    batch = plain_batch(data, [4, 13, 7, 0])
    assert batch.token_lengths.tolist() == [len(data.tokens(k)) for k in (4, 13, 7, 0)]
    assert len(data.tokens(0)) == 0
    assert batch.outputs.tolist() == [-(-n // 2) for n in batch.lengths.tolist()]
    guide = guide_of(spoken, data)
    theirs, _ = guide.models[0](batch.feats, batch.lengths)
    planted: Any = Planted(theirs.detach())
    output = StudentOutput(torch.randn(*batch.counted.shape, 5), [])
    weights = CtcConfig(guide_weight=3.0)
    found, _ = TokenSequences(weights, guide)(output, batch)
    torch.testing.assert_close(found, TokenSequences(weights, planted)(output, batch)[0])
    assert found < TokenSequences(weights)(output, batch)[0]


@pytest.mark.parametrize("beside", ["nothing", "guide", "frames", "lists", "all"])
def test_a_batch_is_a_stack_of_its_utterances(
    spoken: Any, write_lists: Any, spoken_lists: Any, device: torch.device, beside: str
) -> None:
    """Loss and gradient of the parameters, padding and all."""
    data = read(spoken)
    torch.manual_seed(0)
    network = build_model(MODEL, data.input_dim, 5).double().to(device)
    config = CtcConfig(weight=0.5, frame_weight=0.7 * (beside in ("frames", "all")))
    guide = guide_of(spoken, data) if beside in ("guide", "all") else None
    lists = None
    if beside in ("lists", "all"):
        folder = write_lists(spoken.root / "lists", spoken_lists(data))
        lists = NbestTargets(folder, NbestConfig(weight=2.0), data)
    objective = TokenSequences(config, guide, lists)
    objective.to(device)

    def run(indices: list[int]) -> tuple[float, int, Tensor]:
        network.zero_grad()
        batch = plain_batch(data, indices).to(device)
        logits, outputs = network(batch.feats.double(), batch.lengths)
        assert outputs.tolist() == batch.outputs.tolist()
        loss, count = objective(StudentOutput(logits, []), batch)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        return loss.item(), int(count), gradient

    loss, count, gradient = run([4, 0, 11, 22])
    losses, counts, gradients = zip(*[run([k]) for k in (4, 0, 11, 22)], strict=True)
    assert loss == pytest.approx(sum(losses), rel=1e-5)
    assert count == sum(counts)
    torch.testing.assert_close(gradient, sum(gradients), atol=1e-4, rtol=1e-4)
