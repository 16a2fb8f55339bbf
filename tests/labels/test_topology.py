from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.labels.topology import Topology, left_to_right, silence

TOPOLOGY = Topology({"SIL": silence(5), "AH": left_to_right(3), "B": left_to_right(1)})


def test_pdf_ids_and_names() -> None:
    assert TOPOLOGY.first_pdf == {"SIL": 0, "AH": 5, "B": 8}
    names = TOPOLOGY.label_set().names
    assert names[5:] == ("AH_0", "AH_1", "AH_2", "B_0")
    assert len(names) == 9


@pytest.mark.parametrize(("states", "frames"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3), (7, 3)])
def test_shortest_way_through_silence(states: int, frames: int) -> None:
    # From four states on: the first, one of the inner ones, the last.
    assert silence(states).min_frames == frames
    assert left_to_right(states).min_frames == states


@pytest.mark.parametrize("states", range(1, 7))
def test_probabilities_sum_to_one(states: int) -> None:
    for hmm in (silence(states), left_to_right(states)):
        for row in hmm.transitions:
            assert sum(prob for _, prob in row) == pytest.approx(1)


def test_trained_probabilities_follow_the_counts() -> None:
    # AH_0 stays 300 times and goes on 100 times; B_0 is left for another phone or for itself.
    steps = {(5, 5): 30_000, (5, 6): 10_000, (8, 8): 20_000, (8, 0): 10_000, (8, -1): 10_000}
    trained = TOPOLOGY.trained(steps)
    assert dict(trained.hmms["AH"].transitions[0]) == pytest.approx({0: 0.75, 1: 0.25}, abs=1e-3)
    assert dict(trained.hmms["B"].transitions[0]) == pytest.approx({0: 0.5, 1: 0.5}, abs=1e-3)
    # A state without counts keeps what it had; the label set is the same.
    assert trained.hmms["SIL"] == TOPOLOGY.hmms["SIL"]
    assert trained.label_set() == TOPOLOGY.label_set()


def test_step_back_to_the_first_state_leaves_the_phone() -> None:
    # AH AH: from the last state to the first one is another AH, not a transition inside.
    trained = TOPOLOGY.trained({(7, 5): 1000, (7, 7): 1000})
    assert dict(trained.hmms["AH"].transitions[2]) == pytest.approx({2: 0.5, 3: 0.5}, abs=0.01)


def test_file_round_trip(tmp_path: Path) -> None:
    TOPOLOGY.save(tmp_path / "topo.json")
    assert Topology.load(tmp_path / "topo.json") == TOPOLOGY


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("0.75", "0.5"), "no distribution"),
        (("topology/1", "topology/9"), "expected 'asr_kd.topology/1'"),
        (('"phones"', '"phone"'), "not an HMM topology"),
        (("\n", "\n}", 1), "not an HMM topology"),
    ],
)
def test_damage(tmp_path: Path, change: tuple, what: str) -> None:
    path = tmp_path / "topo.json"
    TOPOLOGY.save(path)
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=what):
        Topology.load(path)


def test_phone_without_way_out(tmp_path: Path) -> None:
    path = tmp_path / "topo.json"
    path.write_text('{"format": "asr_kd.topology/1", "phones": {"A": [[[0, 1.0]]]}}')
    with pytest.raises(InputError, match="no way leads out"):
        Topology.load(path)
