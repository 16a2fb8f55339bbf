"""Piece by piece a network says what it says of the whole utterance, and no later than it must."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    FrontendConfig,
    SubsamplingConfig,
    TdnnConfig,
    TdnnLayerConfig,
    VggConfig,
)
from asr_kd.models.stages import latency
from asr_kd.models.streaming import Stream

DIM, V = 8, 5
DELTAS = FrontendConfig(delta_order=2)
SPLICED = FrontendConfig(delta_order=1, left=3, right=2)
STACK3 = SubsamplingConfig(factor=3, width=10)
CONV4 = SubsamplingConfig(factor=4, kind="conv", width=10, channels=3)
CAUSAL = tuple(TdnnLayerConfig(offsets=o, width=10) for o in ((-2, -1, 0), (-4, -2, 0)))
SKEWED = tuple(TdnnLayerConfig(offsets=o, width=10) for o in ((-1, 0, 1), (2, 5), (-7, -4), (0,)))
SMALL: dict[str, Any] = {
    "num_layers": 2, "width": 12, "num_heads": 3, "feed_forward": 2, "kernel": 4, "dropout": 0.0,
}  # fmt: skip
# Each with its latency in frames of features, at most and on average, made by hand.
CASES: list[tuple[AnyModelConfig, int, float]] = [
    (DnnConfig(num_layers=2, width=10, frontend=SPLICED), 4, 4),  # deltas 2, splicing 2
    (TdnnConfig(layers=CAUSAL, dropout=0.0), 0, 0),
    (TdnnConfig(layers=CAUSAL, dropout=0.0, frontend=DELTAS), 4, 4),
    (TdnnConfig(layers=SKEWED, dropout=0.0), 6, 6),
    # The first of 3 frames waits for the others; then 1 + 5 frames of the reduced rate.
    (TdnnConfig(layers=SKEWED, dropout=0.0, subsampling=STACK3), 2 + 3 * 6, 1 + 3 * 6),
    # A block of 2 frames sees no further than its end; the second layer 5 blocks further.
    (TdnnConfig(layers=SKEWED, dropout=0.0, stride=2), 1 + 2 * 5, 0.5 + 2 * 5),
    # Convolutions see 1 and 2 frames behind the 4 that become one.
    (TdnnConfig(layers=CAUSAL, dropout=0.0, subsampling=CONV4), 3 + 3, 1.5 + 3),
    # A chunk of 2 frames of 4; the deltas' 4 frames and the convolutions' 3.
    (
        ConformerConfig(**SMALL, frontend=DELTAS, subsampling=CONV4, chunk=2, left_chunks=1),
        7 + 3 + 4, 3.5 + 3 + 4,
    ),
    (ConformerConfig(**SMALL, subsampling=STACK3, chunk=3, left_chunks=0), 8, 4),
    (ConformerConfig(**SMALL, subsampling=SubsamplingConfig(), chunk=1, left_chunks=5), 0, 0),
]  # fmt: skip


def network(config: AnyModelConfig) -> AcousticModel:
    torch.manual_seed(1)
    model = build_model(config, DIM, V)
    model.frontend.mean.normal_()
    model.frontend.std.uniform_(0.5, 2.0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


MODELS = [network(config) for config, _, _ in CASES]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda k: f"{k}-{CASES[k][0].kind}")
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_pieces_give_what_the_whole_gives(number: int, data: st.DataObject) -> None:
    model = MODELS[number]
    num_frames = data.draw(st.integers(1, 70))
    cuts = sorted(data.draw(st.lists(st.integers(0, num_frames), max_size=12)))
    silent_end = data.draw(st.booleans())
    feats = torch.randn(num_frames, DIM, dtype=torch.double)
    stream, wait = Stream(model), latency(model.stages(), 10.0).frames
    out = []
    for k, (begin, end) in enumerate(zip([0, *cuts], [*cuts, num_frames], strict=True)):
        last = k == len(cuts) and not silent_end
        out.append(stream.push(feats[begin:end], last=last))
        told = sum(map(len, out)) * model.subsampling
        assert told >= min(end - wait, num_frames)  # never later than promised
    if silent_end:
        out.append(stream.push(feats[:0], last=True))
    with torch.no_grad():
        whole = model(feats[None], torch.tensor([num_frames]))[0][0]
    torch.testing.assert_close(torch.cat(out), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda k: f"{k}-{CASES[k][0].kind}")
def test_latency(number: int) -> None:
    _, frames, mean_frames = CASES[number]
    found = latency(MODELS[number].stages(), 10.0)
    assert (found.frames, found.mean_frames) == (frames, pytest.approx(mean_frames))
    assert found.ms == 10 * frames


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda k: f"{k}-{CASES[k][0].kind}")
def test_no_frame_behind_the_latency_matters_and_the_last_one_does(number: int) -> None:
    model, (_, frames, _) = MODELS[number], CASES[number]
    period = 12 * model.subsampling  # of chunks and strides
    feats = torch.randn(1, 6 * period, DIM, dtype=torch.double)
    lengths = torch.tensor([6 * period])
    with torch.no_grad():
        before = model(feats, lengths)[0][0]
        furthest = -1
        for start in range(3 * period, 4 * period):
            changed = feats.clone()
            changed[0, start] += 1.0
            moved = (model(changed, lengths)[0][0] - before).abs().amax(1) > 1e-12
            first = int(moved.nonzero()[0]) * model.subsampling
            furthest = max(furthest, start - first)
    assert furthest == frames


def test_a_deep_conformer_forgets_what_it_no_longer_needs() -> None:
    config = ConformerConfig(**{**SMALL, "num_layers": 3}, subsampling=STACK3, chunk=2)
    stream = Stream(network(config))
    for _ in range(30):
        stream.push(torch.randn(7, DIM, dtype=torch.double))
    kept = [part._kept.shape[1] for part in stream._parts if part._kept is not None]
    assert max(kept) <= 4 * 2 + 2 * 2  # left chunks, and not yet two chunks


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BlstmConfig(width=4, num_layers=1), "a blstm cannot stream"),
        (VggConfig(depth=11, width_multiplier=1 / 32), "a vgg cannot stream"),
        (ConformerConfig(**{**SMALL, "kernel": 3}), "without model.chunk attends to the whole"),
    ],
)
def test_what_needs_the_whole_utterance_is_refused(config: AnyModelConfig, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Stream(build_model(config, DIM, V).eval())


def test_bad_pieces() -> None:
    stream = Stream(MODELS[1])
    with pytest.raises(InputError, match=r"features \(3, 9\), expected \(n, 8\)"):
        stream.push(torch.zeros(3, 9))
    with pytest.raises(InputError, match="without a frame"):
        stream.push(torch.zeros(0, 8, dtype=torch.double), last=True)
    stream.push(torch.zeros(1, 8, dtype=torch.double), last=True)
    with pytest.raises(InputError, match="has ended"):
        stream.push(torch.zeros(1, 8, dtype=torch.double))
