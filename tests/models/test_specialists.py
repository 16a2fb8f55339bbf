"""A generalist and its specialists as one model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import (
    BlstmConfig,
    DnnConfig,
    MemberConfig,
    SpecialistsConfig,
    TdnnConfig,
)
from asr_kd.models.specialists import Specialists

TDNN = TdnnConfig(dropout=0.2, stride=2)
CONFIG = SpecialistsConfig(
    generalist=TDNN,
    members=(
        MemberConfig(model=TDNN, labels=(1, 3), dustbin=True),
        MemberConfig(model=BlstmConfig(width=6), labels=(0, 2, 5), dustbin=True),
        MemberConfig(model=TDNN, labels=(2, 4), dustbin=False),
    ),
    num_active=2,
)
LENGTHS = torch.tensor([9, 23, 1, 16])


def combined(config: SpecialistsConfig = CONFIG) -> Specialists:
    torch.manual_seed(0)
    model = build_model(config, input_dim=5, num_labels=6).eval()
    assert isinstance(model, Specialists)
    for parts in (model.generalist, *model.specialists):
        nn.init.normal_(parts.output.weight, std=0.3)  # posteriors that differ from frame to frame
    return model


@torch.no_grad()
def test_each_frame_is_the_minimum_over_its_active_specialists() -> None:
    model = combined()
    feats = torch.randn(1, 12, 5)
    lengths = torch.tensor([12])
    joined = model(feats, lengths)[0][0]
    parts = [part(feats, lengths)[0][0].double().softmax(-1)
             for part in (model.generalist, *model.specialists)]  # fmt: skip
    numbers = set()
    for t in range(12):
        top = set(parts[0][t].topk(2).indices.tolist())
        members = []
        for member, p in zip(CONFIG.members, parts[1:], strict=True):
            if top & set(member.labels) and member.dustbin:
                members.append((list(member.labels), p[t]))
            elif top & set(member.labels):
                members.append((list(range(6)), torch.cat([p[t], torch.zeros(1)])))
        numbers.add(len(members))
        q = joined[t].double().exp()
        assert q.sum() == pytest.approx(1, abs=1e-5)
        lowest = objective(q, parts[0][t], members)
        generator = torch.Generator().manual_seed(t)
        for scale in (0.01, 0.1, 1.0):  # nowhere around it is lower
            noise = scale * torch.randn(40, 6, generator=generator, dtype=torch.double)
            for other in (joined[t].double() + noise).softmax(-1):
                assert objective(other, parts[0][t], members) >= lowest - 1e-5
    assert len(numbers) > 1


def objective(q: Tensor, p_g: Tensor, members: list[tuple[list[int], Tensor]]) -> float:
    """KL(p_g, q) + Σ_m KL(p_m, q); a p_m ends with the mass of all labels that are not its own."""
    total = float((p_g * (p_g / q).log()).sum())
    for labels, p in members:
        rest = [i for i in range(len(q)) if i not in labels]
        summed = torch.cat([q[labels], q[rest].sum()[None]])
        total += float((torch.xlogy(p, p) - torch.xlogy(p, summed)).sum())
    return total


@torch.no_grad()
def test_frames_without_a_specialist_are_the_generalists() -> None:
    config = CONFIG.model_copy(update={"members": CONFIG.members[:1], "num_active": 1})
    model = combined(config)
    feats = torch.randn(4, 23, 5)
    joined, _ = model(feats, LENGTHS)
    alone = model.generalist(feats, LENGTHS)[0].log_softmax(-1)
    theirs = torch.isin(alone.argmax(-1), torch.tensor([1, 3]))
    valid = torch.arange(23)[None] < LENGTHS[:, None]
    assert torch.allclose(joined[valid & ~theirs], alone[valid & ~theirs], atol=1e-6)
    changed = (joined - alone).abs().amax(-1) > 1e-3
    assert (valid & theirs).any()
    assert changed[valid & theirs].all()
    assert (valid & ~theirs).any()


@pytest.mark.parametrize("rubbish", [0.0, float("nan")])
def test_batch_is_stack_of_singles(rubbish: float) -> None:
    model = combined()
    feats = torch.randn(4, 23, 5)
    for row, length in enumerate(LENGTHS):
        feats[row, length:] = rubbish
    joined, lengths = model(feats, LENGTHS)
    assert torch.equal(lengths, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _ = model(feats[row : row + 1, :length], LENGTHS[row : row + 1])
        assert torch.allclose(joined[row, :length].exp(), alone[0].exp(), atol=1e-5)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    model = build_model(CONFIG, 4, 6).eval()
    labels = LabelSet("hmm-states", tuple(f"s{k}" for k in range(6)))
    prior = np.full(6, -np.log(6), np.float32)
    saved = Checkpoint(model, labels, FeatureSpec(kind="external"), "speaker", prior)
    saved.save(tmp_path)
    loaded = Checkpoint.load(tmp_path)
    assert loaded.model.config == CONFIG
    assert loaded.digest == saved.digest
    feats = torch.randn(2, 23, 4)
    lengths = torch.tensor([23, 20])
    with torch.no_grad():
        assert torch.equal(loaded.model(feats, lengths)[0], saved.model(feats, lengths)[0])
    sizes = [
        build_model(config, 4, num_labels).num_params
        for config, num_labels in [(TDNN, 6), (TDNN, 3), (BlstmConfig(width=6), 4), (TDNN, 6)]
    ]
    assert loaded.model.num_params == sum(sizes)


def test_no_gradient_and_no_bias_of_its_own() -> None:
    model = combined()
    assert not model(torch.randn(1, 5, 5), torch.tensor([5]))[0].requires_grad
    with pytest.raises(InputError, match="generalist"):
        model.shift_logits(torch.zeros(6))
    with pytest.raises(InputError, match="generalist"):
        model.blocks()


def test_half_precision_gives_single_precision() -> None:
    config = SpecialistsConfig(
        generalist=DnnConfig(num_layers=1, width=8),
        members=(MemberConfig(model=DnnConfig(num_layers=1, width=8), labels=(0, 1, 2, 3, 4, 5),
                              dustbin=False),),
    )  # fmt: skip
    model = combined(config)
    feats, lengths = torch.randn(1, 7, 5), torch.tensor([7])
    exact, _ = model(feats, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        halved, _ = model(feats, lengths)
    assert halved.dtype == torch.float32
    assert torch.allclose(exact, halved, atol=0.3)
