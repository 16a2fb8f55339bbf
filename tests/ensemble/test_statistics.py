import math

import pytest
import torch
from torch import Tensor

from asr_kd.ensemble.average import average
from asr_kd.ensemble.codec import Keep, make_codec
from asr_kd.ensemble.statistics import Statistics


def test_probabilities_that_16_bits_round_to_nothing_leave_the_divergence_finite() -> None:
    log_probs = -torch.linspace(103.968, 103.972, 64)[None]
    log_probs[0, 0] = 0.0
    codec = make_codec(Keep.parse("all"), 64)
    targets = codec.decode(codec.encode(log_probs))
    assert bool(((log_probs.exp() > 0) & (targets.dense(64) == 0)).any())
    statistics = Statistics()
    statistics.add([log_probs], 1.0, log_probs, targets)
    assert math.isfinite(statistics.kl)
    assert statistics.kl < 1e-6


def path(labels: str, sure: float = 0.9) -> Tensor:
    """Log-posteriors (T,3) that say blank (-), a or b at each frame."""
    probs = torch.full((len(labels), 3), (1 - sure) / 2)
    probs[range(len(labels)), ["-ab".index(label) for label in labels]] = sure
    return probs.log()


def of_paths(*paths: Tensor) -> dict[str, float]:
    total = Statistics()
    for frames in ([0, 1, 2], [3, 4, 5, 6]):  # two utterances add up
        each = [log_post[frames] for log_post in paths]
        one = Statistics()
        one.add_paths(each, average(each))
        total = Statistics.merged([total, one])
    return total.summary(1)


def test_spikes_of_teachers_that_agree_are_kept() -> None:
    found = of_paths(path("-a-aa-b"), path("-a-aa-b", 0.8))
    assert found["blank_share"] == found["teacher_blank_share"] == pytest.approx(3 / 7)
    assert found["spike_disagreement"] == found["spikes_lost"] == 0
    assert found["tokens_kept"] == 1


def test_spikes_at_different_frames_are_lost() -> None:
    # All say "a", then "a b"; of the first "a" two of three agree on the frame.
    found = of_paths(path("-a-aa-b"), path("-a-a--b"), path("a--a-b-"))
    assert found["teacher_blank_share"] == pytest.approx((3 + 4 + 4) / 21)
    assert found["blank_share"] == pytest.approx(4 / 7)
    # Of ten spikes: the first "a" and the "b" of the third, the second frame of the first's "a".
    assert found["spike_disagreement"] == found["spikes_lost"] == pytest.approx(3 / 10)
    assert found["tokens_kept"] == pytest.approx(3 / 3)
    # No two agree.
    found = of_paths(path("a---a-b"), path("-a-a-b-"), path("--aab--"))
    assert found["tokens_kept"] == pytest.approx(1 / 3)
    other = of_paths(path("-a-aaa-"), path("-a-bbb-", 0.8))
    assert (other["spikes_lost"], other["tokens_kept"]) == (0, 1)
    assert other["spike_disagreement"] == pytest.approx(3 / 8)


def test_frames_of_other_labels_have_no_blank() -> None:
    assert "blank_share" not in Statistics().summary(1)
