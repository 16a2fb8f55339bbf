"""Shares and folds of planted units."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.data.directory import DataDir
from asr_kd.data.subset import Fold, Units, cover, utterance_lengths
from asr_kd.errors import InputError


def speakers(utterances: list[int], num_frames: int = 10) -> DataDir:
    """A directory whose speaker k has so many utterances."""
    utt2spk = {f"s{k:02d}-{i:02d}": f"s{k:02d}" for k, n in enumerate(utterances) for i in range(n)}
    frames = dict.fromkeys(utt2spk, num_frames)
    return DataDir(Path("data"), utt2spk=utt2spk, num_frames=frames)


@given(
    utterances=st.lists(st.integers(1, 6), min_size=3, max_size=12),
    number=st.integers(2, 3),
    seed=st.integers(0, 5),
)
def test_folds_are_disjoint_whole_speakers_of_even_numbers(
    utterances: list[int], number: int, seed: int
) -> None:
    units = Units.of(speakers(utterances), "speaker", seed)
    folds = [units.fold(Fold(k, number)) for k in range(1, number + 1)]
    assert sorted(unit for fold in folds for unit in fold) == list(range(len(utterances)))
    counts = [len(units.utterances(fold)) for fold in folds]
    assert min(counts) > 0
    # To the smallest fold each time: two folds differ by one speaker at most.
    assert max(counts) - min(counts) <= max(utterances)


def test_folds_depend_on_ids_and_seed_alone() -> None:
    data = speakers([3, 1, 4, 1, 5, 2])
    longer = speakers([3, 1, 4, 1, 5, 2], num_frames=77)
    first, second = (
        [set(Units.of(d, "speaker", 1).utterances(Units.of(d, "speaker", 1).fold(Fold(k, 3))))
         for k in (1, 2, 3)]
        for d in (data, longer)
    )  # fmt: skip
    assert first == second
    other = Units.of(data, "speaker", 2)
    assert first != [set(other.utterances(other.fold(Fold(k, 3)))) for k in (1, 2, 3)]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/1", "1", "a/b", "1/3/5", "-1/3"])
def test_a_fold_that_there_is_not(text: str) -> None:
    with pytest.raises(InputError, match="like 2/5"):
        Fold.parse(text)


def test_a_share_is_reached_and_by_no_unit_too_many() -> None:
    data = speakers([1] * 40)
    frames = {utt: 1 + k for k, utt in enumerate(data.utt_ids)}
    units = Units.of(DataDir(data.path, utt2spk=data.utt2spk, num_frames=frames), "utterance", 3)
    former: list[int] = []
    for share in (0.01, 0.1, 0.35, 0.9, 1.0):
        taken = units.take(share)
        assert units.share_of(taken) >= share - 1e-9 > units.share_of(taken[:-1])
        assert taken[: len(former)] == former  # larger shares hold the smaller ones
        assert units.take(units.share_of(taken)) == taken  # what is reported can be given
        former = taken
    assert sorted(former) == list(range(40))


def test_a_share_is_filled_up_from_a_given_start() -> None:
    units = Units.of(speakers([1] * 10), "utterance", 0)
    assert units.take(0.5, [7, 3]) == [7, 3, 0, 1, 2]
    assert units.take(0.1, [7, 3]) == [7, 3]


def test_a_whole_speaker_is_one_unit() -> None:
    units = Units.of(speakers([4, 4, 4]), "speaker", 0)
    taken = units.utterances(units.take(0.1))
    assert len(taken) == 4
    assert len({utt.split("-")[0] for utt in taken}) == 1


def test_lengths_in_seconds_where_there_is_sound_alone(tmp_path: Path) -> None:
    wav = {}
    for utt, samples in (("a-1", 8000), ("a-2", 4000)):
        wav[utt] = str(tmp_path / f"{utt}.wav")
        soundfile.write(wav[utt], np.zeros(samples, np.float32), 8000)
    data = DataDir(tmp_path, utt2spk=dict.fromkeys(wav, "a"), wav=wav)
    assert utterance_lengths(data) == {"a-1": 1.0, "a-2": 0.5}


def test_neither_features_nor_sound() -> None:
    with pytest.raises(InputError, match=r"neither feats\.scp nor wav\.scp"):
        utterance_lengths(DataDir(Path("data"), utt2spk={"a": "a"}))


def test_the_planted_cover_is_found() -> None:
    # The small one has what only it has; the second and third are cheaper together than the large.
    contents = [frozenset(range(9)), frozenset({0, 1, 2, 3}), frozenset({4, 5, 6, 7, 8}),
                frozenset({9}), frozenset()]  # fmt: skip
    sizes = np.array([100.0, 20, 20, 1, 1])
    assert cover(contents, sizes) == [1, 2, 3]


def test_a_choice_that_others_make_needless_is_dropped() -> None:
    # Greedy takes {1,2,3} first; the two others, both needed, hold all of it.
    contents = [frozenset({1, 2, 3}), frozenset({1, 2, 7}), frozenset({3, 8})]
    assert cover(contents, np.array([3.0, 4.0, 4.0])) == [1, 2]


@given(
    contents=st.lists(st.frozensets(st.integers(0, 5), max_size=4), min_size=1, max_size=7),
    seed=st.integers(0, 100),
)
def test_a_cover_holds_all_and_is_near_the_smallest(
    contents: list[frozenset[int]], seed: int
) -> None:
    sizes = np.random.default_rng(seed).integers(1, 20, len(contents)).astype(float)
    everything = frozenset().union(*contents)
    chosen = cover(contents, sizes)
    assert frozenset().union(*(contents[u] for u in chosen)) == everything
    for unit in chosen:  # none of them is needless
        others = frozenset().union(*(contents[u] for u in chosen if u != unit))
        assert not contents[unit] <= others
    smallest = min(
        sizes[list(units)].sum()
        for n in range(len(contents) + 1)
        for units in combinations(range(len(contents)), n)
        if frozenset().union(*(contents[u] for u in units)) == everything
    )
    harmonic = sum(1 / k for k in range(1, 5))  # the greedy choice's bound for sets of 4
    assert sizes[chosen].sum() <= harmonic * smallest + 1e-9
