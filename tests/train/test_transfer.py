"""Transfer sets: without transcripts, and without some labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.align.subset import Part, make_subset
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import log_prior, write_priors
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.train.config import (
    AugmentConfig,
    DistillConfig,
    FramesConfig,
    HintConfig,
    MixConfig,
    NoiseConfig,
    SpeedConfig,
)
from asr_kd.train.dataset import AlignedData
from asr_kd.train.stage import train

SOFT = DistillConfig(temperature=2, hard_weight=0)


@pytest.fixture
def teacher(corpus: Any) -> Path:
    out: Path = corpus.root / "teacher"
    train(corpus.inputs, corpus.config(epochs=3), out)
    return out


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (Checkpoint.load(folder).model.state_dict() for folder in (one, other))
    return all(tensor.equal(theirs[name]) for name, tensor in ours.items())


def refused(corpus: Any, config: Any, **inputs: Any) -> list[str]:
    out = corpus.root / "refused"
    with pytest.raises(InputError) as caught:
        train(replace(corpus.inputs, **inputs), config, out)
    assert not out.exists()
    return caught.value.faults


def test_a_student_of_data_without_transcripts_and_alignment(corpus: Any, teacher: Path) -> None:
    data = corpus.inputs.data
    tables = {"feats.0.ark", "feats.scp", "feature.json", "utt2num_frames", "utt2spk"}
    assert {file.name for file in data.iterdir()} == tables  # nothing says what was spoken
    dump_targets(Dump((str(teacher),), data, (2.0,)), corpus.root / "targets")
    augment = AugmentConfig(speed=SpeedConfig(prob=0.5), noise=NoiseConfig(prob=0.5))
    config = corpus.config(epochs=2, distill=SOFT, augment=augment)
    inputs = replace(corpus.inputs, targets=corpus.root / "targets")
    train(inputs, config, corpus.root / "labelled")
    train(replace(inputs, ali=None), config, corpus.root / "unlabelled")
    # Without a hard part the labels play no part at all.
    assert same_weights(corpus.root / "labelled", corpus.root / "unlabelled")
    prior = Checkpoint.load(corpus.root / "unlabelled").log_prior
    np.testing.assert_allclose(prior, log_prior(corpus.inputs.dev_ali))


def test_a_student_of_teachers_on_line_without_alignment(corpus: Any, teacher: Path) -> None:
    augment = AugmentConfig(mix=MixConfig(prob=0.5))
    config = corpus.config(epochs=2, distill=SOFT, augment=augment)
    inputs = replace(corpus.inputs, teachers=(teacher,))
    train(inputs, config, corpus.root / "labelled")
    train(replace(inputs, ali=None), config, corpus.root / "unlabelled")
    assert same_weights(corpus.root / "labelled", corpus.root / "unlabelled")


def test_all_utterances_are_taken_with_a_label_that_is_none(corpus: Any) -> None:
    data = AlignedData(corpus.inputs.data, corpus.inputs.dev_ali, "global", labelled=False)
    aligned = AlignedData(corpus.inputs.data, corpus.inputs.ali, "global")
    assert data.utt_ids == aligned.utt_ids
    assert data.num_frames.tolist() == aligned.num_frames.tolist()
    assert {int(label) for k in range(len(data)) for label in data.pdf_ids(k)} == {-1}
    (corpus.inputs.data / "utt2num_frames").unlink()
    uncounted = AlignedData(corpus.inputs.data, corpus.inputs.dev_ali, "global", labelled=False)
    assert uncounted.num_frames.tolist() == aligned.num_frames.tolist()


def test_what_needs_labels_is_refused_without(corpus: Any, teacher: Path) -> None:
    (fault,) = refused(corpus, corpus.config(), ali=None)
    assert "only --targets, --teacher or --nbest" in fault
    config = corpus.config(frames=FramesConfig(exclude=("s0",)))
    first, second = refused(corpus, config, ali=None, teachers=(teacher,))
    assert "distill.hard_weight is 0.5" in first
    assert "frames.only and frames.exclude choose by label" in second


def test_hints_alone_need_no_labels(corpus: Any, teacher: Path) -> None:
    hints = (HintConfig(student="layers.1", teacher="layers.1"),)
    distill = DistillConfig(hints=hints, soft_weight=0.0, hard_weight=0.0)
    config = corpus.config(epochs=1, distill=distill)
    inputs = replace(corpus.inputs, teachers=(teacher,))
    train(inputs, config, corpus.root / "labelled")
    train(replace(inputs, ali=None), config, corpus.root / "unlabelled")
    assert same_weights(corpus.root / "labelled", corpus.root / "unlabelled")


def test_no_frame_is_left(corpus: Any) -> None:
    for ali in (corpus.inputs.ali, corpus.inputs.dev_ali):
        label_set = LabelSet("hmm-states", (*(f"s{k}" for k in range(6)), "never", "ever"))
        label_set.save(ali / "labels.json")
        write_priors(ali, [1] * 8, label_set)
    (fault,) = refused(corpus, corpus.config(frames=FramesConfig(only=("*ever",))))
    assert fault.startswith(str(corpus.inputs.ali))
    assert fault.endswith("never, ever")


def test_labels_left_out_of_a_transfer_set(corpus: Any, teacher: Path) -> None:
    """Soft targets tell of a label that no counted frame has; one-hot labels cannot."""
    inputs = replace(corpus.inputs, teachers=(teacher,))
    frames = FramesConfig(exclude=("s0",))
    soft = DistillConfig(temperature=4, hard_weight=0)
    config = corpus.config(epochs=12, frames=frames, distill=soft)
    train(inputs, config, corpus.root / "soft")
    train(corpus.inputs, corpus.config(epochs=12, frames=frames), corpus.root / "hard")
    dev = AlignedData(corpus.inputs.dev, corpus.inputs.dev_ali, "global")

    @torch.no_grad()
    def mean_log_post(folder: Path) -> float:
        model = Checkpoint.load(folder).model
        found = []
        for k in range(len(dev)):
            feats = torch.tensor(dev.feats(k))[None]
            logits, _ = model(feats, torch.tensor([feats.shape[1]]))
            found.append(logits[0].log_softmax(1)[dev.pdf_ids(k) == 0, 0])
        return float(torch.cat(found).mean())

    assert mean_log_post(corpus.root / "soft") > mean_log_post(corpus.root / "hard") + 1


def test_a_part_of_the_data_takes_the_whole_alignment_and_store(
    corpus: Any, teacher: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dump_targets(Dump((str(teacher),), corpus.inputs.data), corpus.root / "targets")
    part = corpus.root / "part"
    make_subset(corpus.inputs.data, Part(share=0.2), part, corpus.inputs.ali)
    inputs = replace(corpus.inputs, data=part, targets=corpus.root / "targets")
    train(inputs, corpus.config(epochs=1), corpus.root / "student")
    assert "skipped" not in caplog.text
