"""From a generalist to a student of generalist and specialists, by the verbs' own functions."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from asr_kd.decode.evaluate import evaluate
from asr_kd.distill.cluster_labels import Source, cluster_labels
from asr_kd.distill.combine import combine_specialists
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.ensemble.teachers import NetworkTeacher
from asr_kd.errors import InputError
from asr_kd.train.stage import train


def test_generalist_and_specialists_are_a_teacher_like_any_other(corpus: Any) -> None:
    root, inputs = corpus.root, corpus.inputs
    train(inputs, corpus.config(epochs=2, learning_rate=0.005), root / "general")
    cluster_labels(
        Source(str(root / "general"), inputs.data, inputs.ali, device="cpu"), 2, root / "clusters"
    )
    specialists = []
    for number, rest in ((1, "dustbin"), (2, "soft")):
        name = root / f"specialist{number}"
        cluster = f"{root}/clusters:{number}"
        config = corpus.config(epochs=2, learning_rate=0.01, specialist={"rest": rest})
        train(replace(inputs, init=root / "general", cluster=cluster), config, name)
        specialists.append(f"{name}={cluster}" if rest == "soft" else str(name))
    combine_specialists(root / "general", specialists, root / "all")

    for name in ("general", "all"):
        evaluate([str(root / name)], inputs.dev, inputs.dev_ali, root / f"eval_{name}")
    alone, together = (
        json.loads((root / f"eval_{name}" / "frames.json").read_text())
        for name in ("general", "all")
    )
    assert together["num_params"] > 2 * alone["num_params"]
    assert together["cross_entropy"] < alone["cross_entropy"]  # the task is half learnt, on purpose

    dump_targets(Dump((str(root / "all"), str(root / "general")), inputs.data), root / "targets")
    assert len(TargetStore.open(root / "targets")) == 24
    train(replace(inputs, targets=root / "targets"), corpus.config(epochs=1), root / "student")
    on_line = replace(inputs, teachers=(root / "all",))
    train(on_line, corpus.config(epochs=1), root / "student_on_line")

    teacher = NetworkTeacher(root / "all", inputs.dev)
    utts = sorted(teacher.utt_ids)
    for utt, row in zip(utts, teacher.log_posts(utts), strict=True):
        assert np.allclose(row.exp().sum(1), 1, atol=1e-5), utt
        assert np.allclose(row.exp(), teacher.log_posts([utt])[0].exp(), atol=1e-5), utt


def test_a_generalist_with_specialists_is_no_start(corpus: Any) -> None:
    root, inputs = corpus.root, corpus.inputs
    train(inputs, corpus.config(epochs=1), root / "general")
    cluster_labels(Source(str(root / "general"), inputs.data, device="cpu"), 2, root / "clusters")
    special = replace(inputs, init=root / "general", cluster=f"{root}/clusters:1")
    train(special, corpus.config(epochs=1), root / "one")
    combine_specialists(root / "general", [str(root / "one")], root / "all")
    with pytest.raises(InputError, match="output"):
        train(replace(inputs, init=root / "all"), corpus.config(), root / "out")
    with pytest.raises(InputError, match="take the generalist's"):
        config = corpus.config(init={"layers": "first"})
        train(replace(inputs, init=root / "all"), config, root / "out")
