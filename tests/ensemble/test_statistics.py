import math

import torch

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
