"""Token sequences that do not fit, and what is asked of them in vain."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.train.config import (
    AugmentConfig,
    CtcConfig,
    DistillConfig,
    FramesConfig,
    MixConfig,
    SpeedConfig,
)
from asr_kd.train.dataset import AlignedData
from asr_kd.train.labels import FrameRate
from asr_kd.train.stage import train

RATE = FrameRate(2)
MODEL = TdnnConfig(
    layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=24),), dropout=0.0,
    subsampling={"factor": 2, "width": 24},
)  # fmt: skip


def config(spoken: Any, **values: Any) -> Any:
    return spoken.config(**{"model": MODEL, "epochs": 1, **values})


def read(spoken: Any, folder: str = "tokens") -> AlignedData:
    return AlignedData(spoken.inputs.data, spoken.root / folder, "global", rate=RATE)


def refused(spoken: Any, settings: Any = None, **inputs: Any) -> list[str]:
    out = spoken.root / "refused"
    with pytest.raises(InputError) as caught:
        train(replace(spoken.inputs, **inputs), settings or config(spoken), out)
    assert not out.exists()
    return caught.value.faults


def retoken(spoken: Any, changes: dict[str, Any]) -> None:
    archive = Archive.read(spoken.inputs.ali / "tokens.scp")
    with ArkWriter(spoken.inputs.ali / "changed.ark") as writer:
        for utt in archive:
            writer.write(utt, np.asarray(changes.get(utt, archive[utt]), np.int32))
    write_table(spoken.inputs.ali / "tokens.scp", writer.scp)


def test_more_tokens_than_frames_are_counted_and_named(
    spoken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lengths = {u: int(n) for u, n in read_table(spoken.inputs.data / "utt2num_frames").items()}
    tight, beyond = sorted(lengths)[2], sorted(lengths)[5]
    frames = {utt: (lengths[utt] + 1) // 2 for utt in (tight, beyond)}
    changes = {utt: np.resize([1, 2], frames[utt]) for utt in frames}
    changes[beyond][-1] = changes[beyond][-2]  # a blank must stand between them
    retoken(spoken, changes)
    out = spoken.root / "exp"
    train(spoken.inputs, config(spoken), out)
    assert "1 of 30 utterances left out, more tokens than frames after subsampling by 2" in (
        caplog.text
    )
    why = f"{frames[beyond]} tokens need {frames[beyond] + 1} frames, there are {frames[beyond]}"
    assert f"{beyond}: {why}" in caplog.text
    assert (out / "left_out.txt").read_text() == f"{beyond} {why}\n"
    seen = (out / "trained_on.txt").read_text().split()
    assert beyond not in seen
    assert len(seen) == 29
    # At its fastest the other one does not fit either, and 30 copies of it leave nothing.
    fast = AugmentConfig(speed=SpeedConfig(prob=0.1, low=0.9, high=1.1))
    caplog.clear()
    train(spoken.inputs, config(spoken, augment=fast), spoken.root / "fast")
    assert "2 of 30 utterances left out" in caplog.text
    assert "at speed 1.1" in caplog.text
    retoken(spoken, {utt: [1, 1] * n for utt, n in lengths.items()})
    faults = refused(spoken)
    assert "30 of 30 utterances left out" in faults[0]
    assert len(faults) == 31
    assert all(utt in fault for utt, fault in zip(sorted(lengths), faults[1:], strict=True))


def test_tokens_outside_of_the_label_set_and_utterances_without_any(
    spoken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scp = spoken.inputs.ali / "tokens.scp"
    one, other, *_, last = sorted(read_table(scp))
    retoken(spoken, {one: [3, 0], other: [5]})
    assert [utt in fault for utt, fault in zip((one, other), refused(spoken), strict=True)] == [
        True, True,
    ]  # fmt: skip
    retoken(spoken, {one: [3], other: [4]})
    write_table(scp, {utt: x for utt, x in read_table(scp).items() if utt != last})
    caplog.clear()
    train(spoken.inputs, config(spoken), spoken.root / "exp")
    assert f"1 of 30 utterances skipped, which {spoken.inputs.ali} does not have: {last}" in (
        caplog.text
    )
    write_table(scp, {f"other-{utt}": x for utt, x in read_table(scp).items()})
    (fault,) = refused(spoken)
    assert "has tokens for none of the 30" in fault


def test_an_alignment_of_another_rate_and_one_that_is_missing(spoken: Any) -> None:
    hybrid = config(spoken, ctc=CtcConfig(frame_weight=1.0))
    assert "has no ali.scp: align" in refused(spoken, hybrid)[0]
    unspoken = spoken.root / "dev_late"
    (unspoken / "tokens.scp").unlink()
    (fault,) = refused(spoken, dev_ali=unspoken)
    assert f"{unspoken} has no tokens.scp" in fault
    late = spoken.root / "late"
    faults = refused(spoken, config(spoken, model=MODEL.model_copy(update={
        "subsampling": MODEL.subsampling.model_copy(update={"factor": 3})
    })), ali=late)  # fmt: skip
    assert len(faults) == 30
    assert "model.subsampling=3 makes of the" in faults[0]
    train(replace(spoken.inputs, ali=late), hybrid, spoken.root / "exp")
    prior = np.exp(Checkpoint.load(spoken.root / "exp").log_prior)
    archive = Archive.read(late / "ali.scp")
    counts = np.bincount(np.concatenate([archive[utt] for utt in archive]))
    np.testing.assert_allclose(prior, counts / counts.sum(), rtol=1e-5)


def test_what_would_do_nothing_or_cannot_be_is_refused(spoken: Any, corpus: Any) -> None:
    train(spoken.inputs, config(spoken), spoken.root / "model")
    guide = {"guide": spoken.root / "model"}
    student = {"teachers": (spoken.root / "model",)}
    soft = DistillConfig(hard_weight=0.0)
    mixed = AugmentConfig(mix=MixConfig(prob=0.5))
    for values, inputs, said in (
        ({"ctc": CtcConfig(weight=0.0)}, {}, "nothing is left to learn"),
        ({"ctc": CtcConfig(guide_weight=2.0)}, {}, "give --guide MODEL"),
        ({"augment": mixed}, {}, "augment.mix"),
        ({"frames": FramesConfig(exclude=("a",))}, {}, "frames.only and frames.exclude"),
        ({"distill": soft}, student | guide, "ctc.*, --guide and --nbest do nothing"),
        ({"model": TdnnConfig()}, guide, "frame rates differ"),
        ({"model": TdnnConfig()}, student, "model.subsampling=2, the student 1"),
        ({"distill": soft}, student | guide | {"ali": None}, f"{spoken.inputs.data} has none (-)"),
        ({"cmvn": "utterance"}, guide, f"model has cmvn global; {spoken.inputs.data} has cmvn utt"),
    ):
        (fault,) = refused(spoken, config(spoken, **values), **inputs)
        assert said in fault
    # What chooses among epochs does something whatever is learnt.
    chosen = config(spoken, distill=soft, ctc=CtcConfig(criterion="ctc-loss"), epochs=1)
    train(replace(spoken.inputs, **student), chosen, spoken.root / "student")
    # A folder of HMM states
    by_loss = CtcConfig(criterion="ctc-loss")
    with pytest.raises(InputError, match="criterion chooses by token sequences"):
        train(corpus.inputs, corpus.config(ctc=by_loss), corpus.root / "exp")
    with pytest.raises(InputError) as caught:
        train(replace(corpus.inputs, **guide), corpus.config(), corpus.root / "exp")
    assert any("has no tokens.scp" in fault for fault in caught.value.faults)
    assert any("label sets differ" in fault for fault in caught.value.faults) is False
    LabelSet("hmm-states", tuple("abcde")).save(spoken.inputs.ali / "labels.json")
    assert "without a blank" in refused(spoken)[0]


def test_an_empty_utterance_is_named(spoken: Any) -> None:
    table = spoken.inputs.data / "utt2num_frames"
    lengths = read_table(table)
    empty = sorted(lengths)[4]
    write_table(table, lengths | {empty: "0"})
    (fault,) = refused(spoken)
    assert empty in fault
    assert "'0'" in fault


def test_archives_and_bundles_teach_by_what_is_stored_of_them(spoken: Any) -> None:
    names = [Path(name) for name in ("ark:post.scp=labels.json", "bundle:BASE=units")]
    faults = refused(spoken, teachers=(names[0], spoken.inputs.data), guide=names[1])
    assert [fault.split(": only")[0] for fault in faults] == [str(name) for name in names]
    for fault in faults:
        assert "asr-kd dump-targets (for train --targets), or dump-nbest" in fault
