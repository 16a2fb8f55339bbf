import json
import math

import numpy as np
import pytest

from asr_kd.score.calibration import BINS, Calibration


def slow_error(confidence: list[float], correct: list[bool]) -> float:
    """Guo et al. 2017, equation 3, word by word."""
    n, error = len(confidence), 0.0
    for b in range(BINS):
        inside = [i for i, p in enumerate(confidence) if b / BINS < p <= (b + 1) / BINS]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            said = sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / n * abs(accuracy - said)
    return error


def test_planted() -> None:
    # Four frames said 0.9, three of them right; two said 0.5, both right: 4·0.15 + 2·0.5 of 6.
    found = Calibration.of([0.9] * 4 + [0.5] * 2, [True, True, True, False, True, True])
    assert found.error == pytest.approx((4 * 0.15 + 2 * 0.5) / 6)


def test_against_the_paper_s_sum() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.random(500)
    correct = rng.random(500) < confidence**2
    found = Calibration.of(confidence, correct)
    assert found.error == pytest.approx(slow_error(confidence.tolist(), correct.tolist()))


def test_who_is_right_as_often_as_he_says_has_none() -> None:
    assert Calibration.of([0.25] * 4, [True, False, False, False]).error == pytest.approx(0)
    assert Calibration.of([1.0] * 5, [True] * 5).error == 0
    assert Calibration.of([1.0] * 5, [False] * 5).error == 1


def test_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(2)
    confidence, correct = rng.random(100), rng.random(100) < 0.5
    parts = Calibration.of(confidence[:30], correct[:30]) + Calibration.of(
        confidence[30:], correct[30:]
    )
    assert parts.error == pytest.approx(Calibration.of(confidence, correct).error)
    assert parts.frames.sum() == 100


def test_edges_lie_in_the_bin_below() -> None:
    found = Calibration.of([0.0, 1 / BINS, 1.0, 1.00001], [True] * 4)
    assert found.frames[0] == 2
    assert found.frames[-1] == 2


def test_no_frames() -> None:
    assert math.isnan(Calibration.none().error)


@pytest.mark.parametrize("wrong", [math.nan, 1.1, -0.1])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Calibration.of([0.5, wrong], [True, True])


def test_json_and_back() -> None:
    found = Calibration.of([0.3, 0.8, 0.8], [True, False, True])
    back = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back.to_dict() == found.to_dict()
    assert back.error == found.error
    with pytest.raises(ValueError, match="bins"):
        Calibration.from_dict({"frames": [1], "correct": [1], "confidence": [1.0]})
    with pytest.raises(ValueError, match="has"):
        Calibration.from_dict({"frames": [1]})
