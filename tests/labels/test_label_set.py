import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet

NAMES = st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True)


@given(st.text(), NAMES)
def test_round_trip(kind: str, names: list[str]) -> None:
    labels = LabelSet(kind, tuple(names))
    again = LabelSet.from_dict(json.loads(json.dumps(labels.to_dict())))
    assert again == labels
    assert again.digest == labels.digest
    assert len(again) == len(names)


@given(NAMES, NAMES)
def test_digest_tells_sets_apart(names: list[str], others: list[str]) -> None:
    ours, theirs = LabelSet("k", tuple(names)), LabelSet("k", tuple(others))
    assert (ours.digest == theirs.digest) == (names == others)
    assert ours.digest != LabelSet("another kind", tuple(names)).digest


def test_other_set_is_refused_with_both_shown() -> None:
    ours, theirs = LabelSet("hmm-states", ("A_0", "B_0")), LabelSet("hmm-states", ("A_0", "C_0"))
    ours.require_same(LabelSet("hmm-states", ("A_0", "B_0")), "a", "b")
    with pytest.raises(InputError) as error:
        ours.require_same(theirs, "exp/model", "ali/train")
    message = str(error.value)
    assert ours.digest[:12] in message
    assert theirs.digest[:12] in message
    assert "label 1 is 'B_0' in exp/model but 'C_0' in ali/train" in message


def test_longer_set_is_refused_with_its_first_extra_name() -> None:
    with pytest.raises(InputError, match="label 1 is 'B' in theirs only"):
        LabelSet("k", ("A",)).require_same(LabelSet("k", ("A", "B")), "ours", "theirs")


def test_file_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    labels = LabelSet("hmm-states", ("A_0", "Ä_1"))
    labels.save(path)
    assert LabelSet.load(path) == labels
    path.write_text(path.read_text().replace("A_0", "B_0"))
    with pytest.raises(InputError, match=f"{path}: damaged"):
        LabelSet.load(path)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"format": "asr_kd.labels/1", "names": "ab"}'])
def test_what_is_no_label_set(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(InputError, match=str(path)):
        LabelSet.load(path)


def test_missing_file_and_doubled_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        LabelSet.load(tmp_path / "labels.json")
    with pytest.raises(InputError, match="not unique: a"):
        LabelSet("k", ("a", "b", "a"))
    with pytest.raises(InputError, match="at least one"):
        LabelSet("k", ())


def test_messages_show_the_first_names_and_how_many_more() -> None:
    labels = LabelSet("tied-states", tuple(f"A_{k}" for k in range(3000)))
    assert labels.shown([2, 7]) == "A_2, A_7"
    assert labels.shown(range(20)).endswith("A_18, A_19")
    assert labels.shown(range(3000)).endswith("A_18, A_19 and 2980 more")
