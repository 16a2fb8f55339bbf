"""Training on teachers' n-best lists: the loss, data without transcripts, what does not fit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from asr_kd.artefact import read_manifest
from asr_kd.distill.nbest_lists import Entry
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.train import loop
from asr_kd.train.config import AugmentConfig, CtcConfig, DistillConfig, NbestConfig, SpeedConfig
from asr_kd.train.dataset import AlignedData, plain_batch
from asr_kd.train.labels import FrameRate
from asr_kd.train.nbest import NbestTargets
from asr_kd.train.objective import OnlineTeachers
from asr_kd.train.sequence import TokenSequences
from asr_kd.train.stage import train
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import Teachers

MODEL = TdnnConfig(
    layers=(TdnnLayerConfig(offsets=(-1, 0, 1), width=24),), dropout=0.0,
    subsampling={"factor": 2, "width": 24},
)  # fmt: skip


def config(spoken: Any, **values: Any) -> Any:
    return spoken.config(**{"model": MODEL, "epochs": 1, **values})


def read(spoken: Any) -> AlignedData:
    return AlignedData(spoken.inputs.data, spoken.inputs.ali, "global", rate=FrameRate(2))


def test_lists_stand_beside_soft_targets(spoken: Any, write_lists: Any, spoken_lists: Any) -> None:
    train(spoken.inputs, config(spoken), spoken.root / "teacher")
    data = read(spoken)
    folder = write_lists(spoken.root / "lists", spoken_lists(data))
    hard = TokenSequences(CtcConfig(weight=0.0), None, NbestTargets(folder, NbestConfig(), data))
    teachers = Teachers([spoken.root / "teacher"], DistillConfig(), data)
    batch = plain_batch(data, [4, 13])
    output = StudentOutput(torch.randn(*batch.counted.shape, 5), [])
    both, count = OnlineTeachers(teachers, DistillConfig(hard_weight=0.25), hard)(output, batch)
    soft, frames = OnlineTeachers(teachers, DistillConfig(hard_weight=0.0), hard)(output, batch)
    torch.testing.assert_close(both, soft + 0.25 * hard(output, batch)[0])
    assert count == frames == hard(output, batch)[1]
    inputs = replace(spoken.inputs, teachers=(spoken.root / "teacher",), nbest=folder)
    train(inputs, config(spoken), spoken.root / "student")
    assert "nbest" in read_manifest(spoken.root / "student").inputs


def test_data_without_transcripts_learn_from_lists_alone(
    spoken: Any, write_lists: Any, spoken_lists: Any
) -> None:
    folder = write_lists(spoken.root / "lists", spoken_lists(read(spoken)))
    inputs = replace(spoken.inputs, ali=None, nbest=folder)
    out = spoken.root / "exp"
    settings = config(
        spoken, epochs=25, learning_rate=0.01, ctc=CtcConfig(weight=0.0),
        nbest=NbestConfig(scale=3.0),
    )  # fmt: skip
    train(inputs, settings, out)
    assert read_manifest(out, "train").info["dev_token_error_rate"] < 0.1  # of blanks alone 1


def test_a_killed_training_goes_on_with_the_same_bits(
    spoken: Any, write_lists: Any, spoken_lists: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = write_lists(spoken.root / "lists", spoken_lists(read(spoken)))
    inputs = replace(spoken.inputs, ali=None, nbest=lists)
    settings = config(
        spoken, epochs=2, save_every=2, augment=AugmentConfig(speed=SpeedConfig(prob=0.5)),
        model=MODEL.model_copy(update={"dropout": 0.2}), ctc=CtcConfig(weight=0.0),
    )  # fmt: skip
    train(inputs, settings, spoken.root / "whole")
    step, taken = loop.Trainer._step, []

    def dying_step(self: loop.Trainer, *args: Any) -> tuple[float, float]:
        taken.append((self.progress.epoch, self.progress.batch))
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(loop.Trainer, "_step", dying_step)
    with pytest.raises(KeyboardInterrupt):
        train(inputs, settings, spoken.root / "cut")
    assert not (spoken.root / "cut").exists()
    train(inputs, settings, spoken.root / "cut")
    assert taken.count((0, 0)) == 1  # what was done is not done again
    weights = [load_file(spoken.root / x / "last" / "model.safetensors") for x in ("whole", "cut")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    infos = [read_manifest(spoken.root / name).info for name in ("whole", "cut")]
    for name in ("best_epoch", "dev_token_error_rate", "dev_ctc_loss"):
        assert infos[0][name] == infos[1][name]


def test_sequences_that_do_not_fit_leave_the_rest(
    spoken: Any, write_lists: Any, spoken_lists: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data = read(spoken)
    utt, frames = data.utt_ids[2], int(data.num_outputs[2])
    long = (1, 2) * frames
    lists = spoken_lists(data)
    just, beyond = Entry(-2.0, (-2.0,), long[:frames]), Entry(-1.0, (-1.0,), (1, 1, *long)[:frames])
    lists[utt] = [beyond, just]
    folder = write_lists(spoken.root / "lists", lists)
    tokens, lengths, weights = NbestTargets(folder, NbestConfig(), data).batch([utt])
    assert (tokens[0].tolist(), lengths.tolist()) == ([list(just.tokens)], [[frames]])
    assert weights.tolist() == [[1.0]]
    assert f"subsampling by 2 are left out, in 1 of 30 lists: {utt}: 1 of 2" in caplog.text
    fast = NbestTargets(folder, NbestConfig(), data, 1.1).batch([utt, data.utt_ids[4]])
    assert fast[2].tolist()[0] == [0.0, 0.0]
    assert sum(fast[2].tolist()[1]) == pytest.approx(1.0)
    speed = AugmentConfig(speed=SpeedConfig(prob=1.0))
    train(replace(spoken.inputs, nbest=folder), config(spoken, augment=speed), spoken.root / "exp")


def test_what_is_asked_in_vain(spoken: Any, write_lists: Any, spoken_lists: Any) -> None:
    def refused(settings: Any, **inputs: Any) -> str:
        with pytest.raises(InputError) as caught:
            train(replace(spoken.inputs, **inputs), settings, spoken.root / "refused")
        assert not (spoken.root / "refused").exists()
        return str(caught.value)

    data = read(spoken)
    lists = spoken_lists(data)
    good = write_lists(spoken.root / "good", lists)
    other = LabelSet("ctc-char", ("<blank>", "a", "b", "c", "e"))
    wrong = write_lists(spoken.root / "wrong", lists, other)
    few = write_lists(spoken.root / "few", {u: lists[u] for u in data.utt_ids[3:]})
    assert "label 4 is 'd'" in refused(config(spoken), nbest=wrong)
    message = refused(config(spoken), nbest=few)
    assert f"no list of {data.utt_ids[2]}" in message
    assert "dump-nbest --data" in message
    assert "give --nbest LISTS" in refused(config(spoken, nbest=NbestConfig(scale=0.5)))
    unlabelled = refused(config(spoken), ali=None, nbest=good)
    assert "ctc.weight is 1, and there are no tokens" in unlabelled
    assert "--teacher or --nbest" in refused(config(spoken, ctc=CtcConfig(weight=0)), ali=None)
    train(spoken.inputs, config(spoken), spoken.root / "teacher")
    soft = config(spoken, distill=DistillConfig(hard_weight=0.0))
    message = refused(soft, teachers=(spoken.root / "teacher",), nbest=good)
    assert "--guide and --nbest do nothing" in message
    slower = config(spoken, model=TdnnConfig())
    message = refused(slower, guide=spoken.root / "teacher", nbest=wrong)
    assert "frame rates differ" in message
    assert "label 4 is 'd'" in message
