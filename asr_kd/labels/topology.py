"""HMM topology: the states of each phone and the transitions between them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import HMM_STATES, LabelSet

_FORMAT = "asr_kd.topology/1"
_SELF_LOOP = 0.75  # a state lasts 4 frames of 10 ms before anything is learnt
_PSEUDO_COUNTS = 10.0  # weight of the probabilities before training, in frames per state


@dataclass(frozen=True)
class Hmm:
    """The states of one phone.

    Attributes:
        transitions: for each state (next state, probability) pairs; the next state
            `num_states` leaves the phone. A phone is entered at state 0.
    """

    transitions: tuple[tuple[tuple[int, float], ...], ...]

    @property
    def num_states(self) -> int:
        """Number of emitting states."""
        return len(self.transitions)

    @property
    def min_frames(self) -> int:
        """Frames of the shortest way through."""
        reached = {0}
        for frames in range(1, self.num_states + 1):
            reached = {to for state in reached for to, _ in self.transitions[state]}
            if self.num_states in reached:
                return frames
        raise ValueError("no way leads out of its states")


def left_to_right(num_states: int) -> Hmm:
    """Every state in turn, each as long as it likes."""
    return Hmm(tuple(((i, _SELF_LOOP), (i + 1, 1 - _SELF_LOOP)) for i in range(num_states)))


def silence(num_states: int) -> Hmm:
    """First and last state in their places, those between in any order.

    Kaldi's topology of silence: its inner states model noises that come in any order. Up to three
    states it is left to right.
    """
    if num_states <= 3:
        return left_to_right(num_states)
    last = num_states - 1
    inner = range(1, last)
    to_inner = [(0, *inner), *((*inner, last) for _ in inner)]
    uniform = (tuple((to, 1 / len(row)) for to in row) for row in to_inner)
    return Hmm((*uniform, ((last, _SELF_LOOP), (num_states, 1 - _SELF_LOOP))))


@dataclass(frozen=True)
class Topology:
    """The HMMs of all phones. State s of a phone is pdf-id `first_pdf[phone] + s`.

    Attributes:
        hmms: phone → HMM; their order gives the pdf-ids.
        first_pdf: phone → pdf-id of its state 0.
    """

    hmms: Mapping[str, Hmm]
    first_pdf: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        first_pdf, next_pdf = {}, 0
        for phone, hmm in self.hmms.items():
            first_pdf[phone] = next_pdf
            next_pdf += hmm.num_states
        object.__setattr__(self, "first_pdf", first_pdf)

    def label_set(self) -> LabelSet:
        """One label for each state, named phone_state."""
        names = (f"{p}_{s}" for p, hmm in self.hmms.items() for s in range(hmm.num_states))
        return LabelSet(HMM_STATES, tuple(names))

    def trained(self, steps: Mapping[tuple[int, int], int]) -> "Topology":
        """The same states with transition probabilities counted from alignments.

        Args:
            steps: (pdf-id, pdf-id of the next frame, or -1 at an utterance's end) → count. A step
                that is no transition inside the phone leaves it.
        """
        followers: dict[int, dict[int, int]] = {}
        for (a, b), n in steps.items():
            followers.setdefault(a, {})[b] = n
        hmms = {}
        for phone, hmm in self.hmms.items():
            first = self.first_pdf[phone]
            rows = []
            for state, row in enumerate(hmm.transitions):
                seen = followers.get(first + state, {})
                inside = {to: seen.get(first + to, 0) for to, _ in row if to < hmm.num_states}
                leaving = sum(seen.values()) - sum(inside.values())
                counts = [
                    inside.get(to, leaving if to == hmm.num_states else 0) + _PSEUDO_COUNTS * prob
                    for to, prob in row
                ]
                total = sum(counts)
                rows.append(tuple((to, n / total) for (to, _), n in zip(row, counts, strict=True)))
            hmms[phone] = Hmm(tuple(rows))
        return Topology(hmms)

    def save(self, path: Path) -> None:
        """Writes `topo.json`, atomically."""
        phones = {phone: hmm.transitions for phone, hmm in self.hmms.items()}
        write_text(path, json.dumps({"format": _FORMAT, "phones": phones}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Topology":
        """Reads `topo.json`.

        Raises:
            InputError: if it is missing or damaged, or if probabilities of a state do not sum to 1.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            if stored["format"] != _FORMAT:
                raise ValueError(f"format {stored['format']!r}, expected {_FORMAT!r}")
            hmms = {phone: _hmm(phone, rows) for phone, rows in stored["phones"].items()}
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; expected an HMM topology") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not an HMM topology: {error}") from None
        return cls(hmms)


def _hmm(phone: str, rows: Sequence[Sequence[Sequence[float]]]) -> Hmm:
    transitions = tuple(tuple((int(to), float(prob)) for to, prob in row) for row in rows)
    for state, row in enumerate(transitions):
        total = sum(prob for _, prob in row)
        if abs(total - 1) > 1e-4 or any(not 0 <= to <= len(rows) or p <= 0 for to, p in row):
            raise ValueError(f"state {state} of {phone}: transitions {row} are no distribution")
    hmm = Hmm(transitions)
    _ = hmm.min_frames  # fails if the phone cannot be left
    return hmm
