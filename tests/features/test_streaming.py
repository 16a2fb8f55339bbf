"""Sound in pieces has the features of the whole, and has them no later than it can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.features.extract import extract
from asr_kd.features.spec import FeatureSpec
from asr_kd.features.streaming import FeatureStream

RATE = 8000
# Each with the samples behind a frame's first that it waits for.
CASES = [
    (FeatureSpec(sample_rate=RATE, num_mel=6), 200),
    (FeatureSpec(sample_rate=RATE, num_mel=6, use_energy=True, snip_edges=False), 200),
    (FeatureSpec(sample_rate=RATE, num_mel=6, kind="mfcc", num_ceps=4), 200),
    (FeatureSpec(sample_rate=RATE, num_mel=6, frame_length_ms=10, frame_shift_ms=25), 80),
    (FeatureSpec(sample_rate=RATE, num_mel=6, kind="librosa", n_fft=256), 160),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_pieces_give_what_the_whole_gives(number: int, data: st.DataObject) -> None:
    spec, wait = CASES[number]
    num_samples = data.draw(st.integers(0, 4000))
    cuts = sorted(data.draw(st.lists(st.integers(0, num_samples), max_size=12)))
    silent_end = data.draw(st.booleans())
    samples = np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32)
    stream, out = FeatureStream(spec), []
    for k, (begin, end) in enumerate(zip([0, *cuts], [*cuts, num_samples], strict=True)):
        out.append(stream.push(samples[begin:end], last=k == len(cuts) and not silent_end))
        assert sum(map(len, out)) >= (end - wait) // spec.shift + 1
    if silent_end:
        out.append(stream.push(samples[:0], last=True))
    whole = extract(samples, spec)
    np.testing.assert_allclose(np.concatenate(out), whole, rtol=0, atol=1e-4)


def test_what_is_kept_does_not_grow() -> None:
    for spec, wait in CASES:
        stream = FeatureStream(spec)
        for _ in range(50):
            stream.push(np.zeros(777, np.float32))
        assert len(stream._kept) <= 2 * wait + 777


def test_noise_of_the_whole_is_refused() -> None:
    with pytest.raises(InputError, match=r"dither 1: its noise is drawn for the whole"):
        FeatureStream(FeatureSpec(dither=1.0))
