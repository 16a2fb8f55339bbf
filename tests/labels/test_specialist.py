import pytest

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.specialist import is_specialist, special_labels, specialist_labels

GENERALIST = LabelSet("hmm-states", ("A_0", "A_1", "B_0", "B_1", "C_0"))


def test_a_specialists_labels_say_whose_they_are() -> None:
    labels = specialist_labels(GENERALIST, [3, 1])
    assert labels.names == ("A_1", "B_1", f"<rest of {GENERALIST.digest[:12]}>")
    assert is_specialist(labels)
    assert not is_specialist(GENERALIST)
    assert special_labels(labels, GENERALIST, "spec", "general") == (1, 3)


def test_specialists_of_another_generalist_are_refused_with_names() -> None:
    other = LabelSet("hmm-states", ("A_0", "A_1", "B_0", "X_0", "X_1"))
    with pytest.raises(InputError) as refused:
        special_labels(specialist_labels(other, [0, 3, 4]), GENERALIST, "exp/spec", "exp/general")
    text = str(refused.value)
    assert other.digest[:12] in text
    assert GENERALIST.digest[:12] in text
    assert "exp/spec: 2 labels that exp/general does not have: X_0, X_1" in text
