"""Oversampling and its correction, the dustbin's first row, and soft targets of the rest."""

import math

import numpy as np
import pytest
import torch

from asr_kd.distill.specialist import keep_chances, narrow_output, rest_offset, rest_targets
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import BlstmConfig, TdnnConfig, VggConfig

SPECIAL = torch.tensor([True, False, False, True, False, True])


@pytest.mark.parametrize(
    ("num_special", "num_rest", "share"),
    [(100, 900, 0.5), (900, 100, 0.5), (300, 700, 0.3), (10, 5000, 0.8)],
)
def test_kept_frames_are_special_in_the_wished_share(
    num_special: int, num_rest: int, share: float
) -> None:
    special, rest = keep_chances(num_special, num_rest, share)
    assert max(special, rest) == pytest.approx(1)  # as many frames as can be
    kept = num_special * special
    assert kept / (kept + num_rest * rest) == pytest.approx(share)


@pytest.mark.parametrize("sizes", [(50, 150, 600, 200), (600, 150, 50, 200)])
def test_the_offset_recovers_true_posteriors(sizes: tuple[int, ...]) -> None:
    # Four classes of normal distributions; 0 and 1 are special, 2 and 3 the dustbin. Of thinned
    # out frames, Bayes' posterior is known; the offset has to lead back to that of all frames.
    prior = np.array(sizes) / sum(sizes)
    x = np.linspace(-4, 4, 50)[:, None]
    joint = prior * np.exp(-0.5 * (x - np.array([-1.0, 0.0, 0.5, 2.0])) ** 2)
    chances = keep_chances(sizes[0] + sizes[1], sizes[2] + sizes[3], 0.5)

    def as_specialist(joint: np.ndarray) -> np.ndarray:
        three = np.column_stack([joint[:, :2], joint[:, 2:].sum(1)])
        return three / three.sum(1, keepdims=True)

    trained = np.log(as_specialist(joint * np.repeat(chances, 2)))
    trained[:, -1] += rest_offset(*chances)
    corrected = np.exp(trained) / np.exp(trained).sum(1, keepdims=True)
    assert np.allclose(corrected, as_specialist(joint))


def test_the_dustbins_logit_is_raised_by_the_log_of_the_oversampling() -> None:
    special, rest = keep_chances(100, 900, 0.5)
    assert rest_offset(special, rest) == pytest.approx(math.log(9))


@pytest.mark.parametrize(
    "config",
    [
        TdnnConfig(stride=3, dropout=0.3),
        BlstmConfig(width=7),
        VggConfig(depth=11, width_multiplier=1 / 32),
    ],
)
def test_special_rows_stay_and_the_dustbin_is_near_the_rest(
    config: TdnnConfig | BlstmConfig | VggConfig,
) -> None:
    torch.manual_seed(0)
    generalist = build_model(config, 5, 6).eval()
    utterances = [torch.randn(n, 5) for n in (40, 31, 60)]
    weight, bias = narrow_output(generalist, SPECIAL, utterances)
    specialist = build_model(config, 5, 4).eval()
    state = generalist.state_dict() | {"output.weight": weight, "output.bias": bias}
    specialist.load_state_dict(state)
    feats, lengths = torch.randn(2, 32, 5), torch.tensor([32, 17])
    ours, theirs = logits(specialist, feats, lengths), logits(generalist, feats, lengths)
    assert torch.allclose(ours[:, :3], theirs[:, SPECIAL], atol=1e-5)
    wanted = theirs[:, ~SPECIAL].logsumexp(1)
    error = (ours[:, 3] - wanted).square().mean()
    assert error < 0.5 * wanted.var()  # a row of zeros with the right mean has an error of 1
    assert abs(float((ours[:, 3] - wanted).mean())) < 0.1


@torch.no_grad()
def logits(model: AcousticModel, feats: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    out, _ = model(feats, lengths)
    return torch.cat([row[:n] for row, n in zip(out, lengths.tolist(), strict=True)])


def test_the_dustbin_is_exact_where_it_can_be() -> None:
    # One label that is not special: its own row is the best one.
    torch.manual_seed(0)
    generalist = build_model(TdnnConfig(stride=2), 5, 6).eval()
    special = torch.tensor([True, True, True, True, False, True])
    weight, bias = narrow_output(generalist, special, [torch.randn(200, 5) for _ in range(3)])
    row = weight.unflatten(0, (2, 6))[:, -1]
    feats = torch.randn(1, 50, 5)
    hidden = []
    generalist.output.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0][0]))
    theirs = generalist(feats, torch.tensor([50]))[0][0, :, 4]
    ours = (hidden[0] @ row.T + bias.view(2, 6)[:, -1]).flatten()
    assert torch.allclose(ours, theirs, atol=2e-2)


def test_rest_targets() -> None:
    log_post = torch.randn(5, 6).log_softmax(1)
    pdf_ids = torch.tensor([0, 1, 3, 4, 2])
    targets = rest_targets(log_post, pdf_ids, SPECIAL)
    assert torch.equal(targets[0], torch.tensor([1.0, 0, 0, 0, 0, 0]))
    assert torch.equal(targets[2], torch.tensor([0, 0, 0, 1.0, 0, 0]))
    for n in (1, 3, 4):
        p = log_post[n].exp()
        p[SPECIAL] = 0
        assert torch.allclose(targets[n], p / p.sum())


def test_soft_targets_of_the_rest_are_corrected_by_the_same_offset() -> None:
    # What a specialist of all labels learns, if the generalist's posteriors are the true ones.
    true = torch.distributions.Dirichlet(torch.ones(6)).sample((7,)).double()
    special_chance, rest_chance = 1.0, 0.2
    learnt = torch.zeros_like(true)
    for label in range(6):
        pdf_ids = torch.full((7,), label)
        chance = special_chance if SPECIAL[label] else rest_chance
        learnt += chance * true[:, label : label + 1] * rest_targets(true.log(), pdf_ids, SPECIAL)
    offset = rest_offset(special_chance, rest_chance)
    corrected = (learnt.log() + offset * (~SPECIAL)).softmax(1)
    assert torch.allclose(corrected, true)
