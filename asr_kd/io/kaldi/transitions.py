"""Kaldi's transition model: what a transition-id means.

A transition-state is a (phone, HMM state, pdf) triple that the tree allows; its transitions, those
of the topology, have the numbers that alignments and HCLG are made of, from 1 on.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.topology import NO_PDF, HmmTopology, read_topology


@dataclass(frozen=True)
class TransitionModel:
    """Topology, transition-states and probabilities.

    Attributes:
        topology: the HMMs.
        states: (S, 4) phone, HMM state, pdf of leaving, pdf of staying; row i is
            transition-state i + 1.
        log_probs: (N + 1,) natural log of each transition-id's probability; entry 0 is unused.
    """

    topology: HmmTopology
    states: NDArray[np.int32]
    log_probs: NDArray[np.float32]

    @cached_property
    def num_pdfs(self) -> int:
        """V, the pdfs."""
        return int(self.states[:, 2:].max()) + 1

    @property
    def num_transition_ids(self) -> int:
        """N; ids are 1 to N."""
        return len(self.log_probs) - 1

    @cached_property
    def _transitions(self) -> NDArray[np.int64]:
        """(N + 1, 2): row of `states` and next HMM state of each transition-id."""
        rows = [(0, -1)]
        for row, (phone, hmm_state, _, _) in enumerate(self.states.tolist()):
            to_states = self.topology.states(phone)[hmm_state].transitions
            rows += [(row, to) for to, _ in to_states]
        return np.array(rows, np.int64)

    @cached_property
    def state_of(self) -> NDArray[np.int64]:
        """(N + 1,) row of `states` of each transition-id."""
        return self._transitions[:, 0]

    @cached_property
    def target_of(self) -> NDArray[np.int64]:
        """(N + 1,) HMM state to which each transition-id leads."""
        return self._transitions[:, 1]

    @cached_property
    def phone_of(self) -> NDArray[np.int32]:
        """(N + 1,) phone of each transition-id."""
        return self.states[self.state_of, 0]

    @cached_property
    def is_loop(self) -> NDArray[np.bool_]:
        """(N + 1,) whether a transition-id stays in its state."""
        return self.target_of == self.states[self.state_of, 1]

    @cached_property
    def is_last(self) -> NDArray[np.bool_]:
        """(N + 1,) whether a transition-id leaves its phone."""
        ends = {p: len(self.topology.states(p)) - 1 for p in self.topology.entry_of}
        return self.target_of == np.array([ends[p] for p in self.phone_of.tolist()])

    @cached_property
    def pdf_of(self) -> NDArray[np.int32]:
        """(N + 1,) pdf-id that each transition-id emits by."""
        forward, loop = self.states[self.state_of, 2], self.states[self.state_of, 3]
        return np.where(self.is_loop, loop, forward)

    def same_transition_ids(self, other: "TransitionModel") -> bool:
        """Whether transition-ids mean the same in another model; probabilities may differ."""
        return (
            np.array_equal(self.states, other.states)
            and self.num_transition_ids == other.num_transition_ids
            and np.array_equal(self.target_of, other.target_of)
        )


def read_transition_model(reader: KaldiReader) -> TransitionModel:
    """Reads `<TransitionModel> ... </TransitionModel>`, with which every final.mdl begins.

    Raises:
        InputError: with file and byte, for another format and for what does not fit together.
    """
    reader.expect("<TransitionModel>")
    topology = read_topology(reader)
    kind = reader.expect("<Triples>", "<Tuples>")
    width = 3 if kind == "<Triples>" else 4
    rows = [
        [reader.integer() for _ in range(width)]
        for _ in range(reader.count(width * (5 if reader.binary else 2)))
    ]
    reader.expect(kind.replace("<", "</"))
    states = np.array(rows, np.int64).reshape(len(rows), width)
    if width == 3:
        states = np.concatenate([states, states[:, 2:]], axis=1)
    _check_states(reader, topology, states)
    reader.expect("<LogProbs>")
    log_probs = reader.vector()
    reader.expect("</LogProbs>")
    reader.expect("</TransitionModel>")
    model = TransitionModel(topology, states.astype(np.int32), log_probs)
    if len(log_probs) != len(model._transitions):
        reader.fail(
            f"{len(log_probs) - 1} probabilities for {len(model._transitions) - 1} transition-ids"
        )
    if not (log_probs[1:] <= 1e-3).all():
        reader.fail("a transition probability is above 1 or no number")
    return model


def _check_states(reader: KaldiReader, topology: HmmTopology, states: NDArray[np.int64]) -> None:
    if not len(states):
        reader.fail("a transition model without states")
    for number, (phone, hmm_state, forward, loop) in enumerate(states.tolist(), start=1):
        where = f"transition-state {number}: "
        if phone not in topology.entry_of:
            reader.fail(f"{where}phone {phone} is not in the topology")
        hmm = topology.states(phone)
        if not 0 <= hmm_state < len(hmm) - 1 or hmm[hmm_state].pdf_class == NO_PDF:
            reader.fail(f"{where}phone {phone} has no emitting state {hmm_state}")
        # No model has more pdfs than transition-states; a damaged number must not become a size.
        if not 0 <= min(forward, loop) <= max(forward, loop) < 2 * len(states):
            reader.fail(f"{where}pdfs {forward} and {loop} of {len(states)} states")
