"""Parts of a data directory: a share of it or folds, always of whole utterances."""

import heapq
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr_kd.data.directory import DataDir
from asr_kd.data.tables import FILES
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.io.audio import audio_info, is_pipe

By = Literal["utterance", "speaker"]


@dataclass(frozen=True)
class Fold:
    """One of several disjoint parts that make up the whole; both numbers count from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Fold":
        """Reads `2/5`.

        Raises:
            InputError: for anything else, or a fold that there is not.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        fold = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= fold.number <= fold.of or fold.of < 2:
            raise InputError(f"fold {text!r}: expected a number and how many there are, like 2/5")
        return fold

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Units:
    """What is taken whole, single utterances or all of a speaker's, in an order drawn by a seed.

    Args:
        names: an utterance's or a speaker's id (U,).
        utt_ids: the utterances of each.
        sizes: frames, or seconds where there are no features (U,).
    """

    names: list[str]
    utt_ids: list[list[str]]
    sizes: NDArray[np.float64]

    @classmethod
    def of(cls, data: DataDir, by: By, seed: int) -> "Units":
        """The units of a data directory in the seed's order, which depends on their ids only.

        The speeds of an utterance are never parted, nor those of a speaker: they say the same.

        Raises:
            InputError: where no length can be found.
        """
        groups: dict[str, list[str]] = {}
        for utt in data.utt_ids:
            name = data.utt2spk[utt] if by == "speaker" else utt
            groups.setdefault(data.original(name, utt), []).append(utt)
        groups = dict(sorted(groups.items(), key=lambda item: item[0].encode()))
        names = list(groups)
        names = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
        lengths = utterance_lengths(data)
        sizes = np.array([sum(lengths[utt] for utt in groups[name]) for name in names])
        return cls(names, [groups[name] for name in names], sizes.astype(np.float64))

    def utterances(self, units: Iterable[int]) -> list[str]:
        """The utterances of some units."""
        return [utt for unit in units for utt in self.utt_ids[unit]]

    def share_of(self, units: Iterable[int]) -> float:
        """What part of the whole some units are, 0 to 1."""
        return float(self.sizes[list(units)].sum() / self.sizes.sum())

    def take(self, share: float, first: Sequence[int] = ()) -> list[int]:
        """The fewest units that reach a share: `first`, then in the seed's order.

        A larger share with the same seed therefore holds the smaller one.
        """
        taken = list(first)
        # The tolerance lets a share that was reported be reached by the very units it was of.
        wanted = share * self.sizes.sum() * (1 - 1e-9)
        size = float(self.sizes[taken].sum())
        for unit in sorted(set(range(len(self.names))) - set(first)):
            if size >= wanted:
                break
            taken.append(unit)
            size += self.sizes[unit]
        return taken

    def fold(self, fold: Fold) -> list[int]:
        """The units of one fold; folds hold about the same number of utterances.

        Lengths play no part, so that all features of the same utterances give the same folds.
        """
        filled = [0] * fold.of
        members: list[list[int]] = [[] for _ in filled]
        for unit, utts in enumerate(self.utt_ids):
            smallest = filled.index(min(filled))
            filled[smallest] += len(utts)
            members[smallest].append(unit)
        return members[fold.number - 1]


def utterance_lengths(data: DataDir) -> Mapping[str, float]:
    """Utterance id → frames where there are features, seconds where there is sound alone.

    Raises:
        InputError: where there is neither, for archives and recordings that cannot be read, and
            for pipes, which are not run.
    """
    if data.num_frames:
        return data.num_frames
    if data.feats:
        archive = Archive(data.feats, data.path / FILES["feats"])
        return {utt: len(archive[utt]) for utt in data.utt_ids}
    speed = data.speed
    if data.segments:
        return {u: (s.end - s.start) / speed.get(u, 1.0) for u, s in data.segments.items()}
    if not data.wav:
        raise InputError(f"{data.path}: neither {FILES['feats']} nor {FILES['wav']}")
    if piped := [utt for utt, source in data.wav.items() if is_pipe(source)]:
        raise InputError(
            [f"{data.path}: {utt}: the length of a pipe is not known" for utt in piped]
        )
    return {u: audio_info(source).seconds / speed.get(u, 1.0) for u, source in data.wav.items()}


def cover(contents: Sequence[frozenset[int]], sizes: NDArray[np.float64]) -> list[int]:
    """Units that together hold whatever any unit holds, and are small: a greedy set cover.

    The next is always the one that brings the most new things for its size (at equal rates the
    earlier one); at the end those are dropped, largest first, that the others have made needless.

    Args:
        contents: what each unit holds (U,).
        sizes: what each costs (U,), above 0.

    Returns:
        The units, in the order in which they stand.
    """
    missing = set[int]().union(*contents)
    # What a unit brings only ever falls, so an old rate is an upper bound: most are never renewed.
    heap = [(-len(held) / sizes[unit], unit) for unit, held in enumerate(contents)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while missing:
        _, unit = heapq.heappop(heap)
        rate = (-len(contents[unit] & missing) / sizes[unit], unit)
        if heap and rate > heap[0]:
            heapq.heappush(heap, rate)
            continue
        chosen.append(unit)
        missing -= contents[unit]
    for unit in sorted(chosen, key=lambda unit: (-sizes[unit], unit)):
        others = set[int]().union(*(contents[other] for other in chosen if other != unit))
        if contents[unit] <= others:
            chosen.remove(unit)
    return sorted(chosen)
