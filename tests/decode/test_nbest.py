import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.artefact import read_manifest
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.decode import decode
from asr_kd.decode.nbest import (
    Candidate,
    Keep,
    describe_lists,
    errors_of,
    read_nbest,
    write_nbest,
)
from asr_kd.errors import InputError
from asr_kd.score.normalise import NONE, normaliser

TEXT = {"s-1": "a b", "s-2": "a a", "t-1": "a", "t-2": "b a"}
COSTS = st.floats(-1e4, 1e4).map(lambda x: round(x, 4))
WORDS = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)
LISTS = st.dictionaries(
    WORDS,
    st.lists(
        st.builds(Candidate, st.lists(WORDS, max_size=4).map(tuple), COSTS, COSTS),
        min_size=1, max_size=4, unique_by=lambda one: one.words,
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(lists=LISTS)
def test_lists_come_back(
    tmp_path_factory: pytest.TempPathFactory, lists: dict[str, list[Candidate]]
) -> None:
    path = tmp_path_factory.mktemp("lists") / "nbest"
    write_nbest(path, lists)
    assert read_nbest(path) == lists


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("u-1 3 1 2 A", ":3: expected an utterance, the number 2"),
        ("u-1 2 1", ":3: expected an utterance, the number 2"),
        ("u-1 2 x 2 A", ":3: 'x' or '2' is not a number"),
        ("u-1 2 nan 2 A", ":3: nan or 2 is no cost"),
        ("u-1 2 1 2 A  B", ":3: more than one space"),
        ("u-1 2 1 2 A", "u-1: the same words twice"),
        ("u-0 2 1 2 B", ":3: u-0 has lines further up"),
        ("", ":3: expected an utterance, the number 1"),
    ],
)
def test_faults_of_lists_with_their_lines(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "nbest"
    path.write_text(f"u-0 1 0 0\nu-1 1 1.5 -2 A\n{line}\n")
    with pytest.raises(InputError) as error:
        read_nbest(path)
    assert fault in str(error.value)
    with pytest.raises(InputError, match="decode with --nbest N"):
        read_nbest(tmp_path / "none")


def test_the_oracle_takes_the_best_of_each_list() -> None:
    lists = {
        "u-1": [Candidate(("A",), 0, 0), Candidate(("A", "B"), 1, 0)],
        "u-2": [Candidate(("B",), 0, 0), Candidate((), 1, 0)],
    }
    ref = {"u-1": ["A", "B"], "u-2": ["A", "A"], "u-3": ["C"]}
    assert [e.errors for e in errors_of(lists, ref, NONE)["u-1"]] == [1, 0]
    facts = describe_lists(lists, ref, NONE)
    assert (facts["oracle"]["errors"], facts["oracle"]["words"]) == (2, 4)
    assert facts["mean_length"] == 2
    loud = {utt_id: [word.upper() for word in words] for utt_id, words in ref.items()}
    assert [e.errors for e in errors_of(lists, loud, normaliser("plain"))["u-1"]] == [1, 0]
    assert "oracle" not in describe_lists(lists, {}, NONE)


def test_decoding_keeps_lists(toy: Any, tmp_path: Path) -> None:
    logits = {u: toy.logits_of(toy.spelled(t)) for u, t in TEXT.items()}
    logits["s-2"] = toy.undecided("a a", margin=6.0)
    logits["t-2"] = toy.logits_of(toy.spelled("b a")[:1])  # no path ends within one frame
    data = toy.data("data", logits, TEXT)
    config = DecodeConfig(
        scales=Scales(acoustic_scale=0.5, insertion_penalty=0.25), beam=40, shard_size=3
    )
    out, plain = tmp_path / "out", tmp_path / "plain"
    decode([str(toy.model)], data, toy.graph, plain, config)
    decode([str(toy.model)], data, toy.graph, out, config, keep=Keep(4, 30.0))
    assert (out / "hyp").read_text() == (plain / "hyp").read_text()
    lists = read_nbest(out / "nbest")
    every = tmp_path / "every"
    decode([str(toy.model)], data, toy.graph, every, config, keep=Keep(1000, 30.0))
    there = read_nbest(every / "nbest")
    assert [len(found) > 4 for found in there.values()] == [True, True, True, False]
    for utt_id, found in there.items():
        # As many as were asked for, where there are more; of those of equal costs any.
        costs = [0.5 * one.acoustic + one.graph + 0.25 * len(one.words) for one in found[:4]]
        ours = [0.5 * one.acoustic + one.graph + 0.25 * len(one.words) for one in lists[utt_id]]
        assert ours == pytest.approx(costs, abs=1e-3)
    hyp = dict(line.partition(" ")[::2] for line in (out / "hyp").read_text().splitlines())
    assert {utt_id: " ".join(found[0].words) for utt_id, found in lists.items()} == hyp
    assert [len(lists[utt_id]) for utt_id in ("s-1", "t-2")] == [4, 1]
    # Costs of words apart from penalties, acoustic ones without their scale.
    for one in lists["s-2"]:
        assert one.graph == pytest.approx(len(one.words) * math.log(2), abs=1e-3)
    by_words = {one.words: one for one in lists["s-2"]}
    long, short = by_words["a", "a"], by_words[("a",)]
    assert short.acoustic - long.acoustic == pytest.approx(6.0, abs=1e-2)
    ranks = [0.5 * one.acoustic + one.graph + 0.25 * len(one.words) for one in lists["s-2"]]
    assert ranks == sorted(ranks)
    manifest = read_manifest(out, "decode")
    assert manifest.config["nbest"] == {"n": 4, "lattice_beam": 30.0}
    assert manifest.info["nbest"]["oracle"]["errors"] == 1  # of the partial path alone
    assert "nbest" not in read_manifest(plain, "decode").config
    assert (out / "partial.txt").read_text() == "t-2\n"
