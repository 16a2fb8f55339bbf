"""Kaldi's HMM topology: the states of each phone, and which of them share a distribution."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from asr_kd.io.kaldi.stream import KaldiReader

NO_PDF = -1


@dataclass(frozen=True)
class HmmState:
    """A state.

    Attributes:
        pdf_class: of the transitions that leave it; -1 for a state that emits nothing.
        loop_class: of its self-loop; another one only in chain models.
        transitions: (next state, initial probability) pairs.
    """

    pdf_class: int
    loop_class: int
    transitions: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class HmmTopology:
    """The states of all phones.

    Attributes:
        entries: lists of states; the last state of each is where the phone is left.
        entry_of: phone → its entry's index.
    """

    entries: tuple[tuple[HmmState, ...], ...]
    entry_of: Mapping[int, int]

    def states(self, phone: int) -> tuple[HmmState, ...]:
        """The states of a phone."""
        return self.entries[self.entry_of[phone]]

    @cached_property
    def is_hmm(self) -> bool:
        """Whether a state emits by one distribution; false for the topology of chain models."""
        return all(s.pdf_class == s.loop_class for entry in self.entries for s in entry)

    @cached_property
    def all_emit(self) -> bool:
        """Whether every state but the last emits."""
        return all(s.pdf_class != NO_PDF for entry in self.entries for s in entry[:-1])


def read_topology(reader: KaldiReader) -> HmmTopology:
    """Reads `<Topology> ... </Topology>`.

    Raises:
        InputError: with file and byte, for another format and for what is no topology.
    """
    reader.expect("<Topology>")
    topology = _read_binary(reader) if reader.binary else _read_text(reader)
    if not topology.entries or set(topology.entry_of.values()) != set(range(len(topology.entries))):
        reader.fail("a topology in which not every entry has a phone")
    for entry in topology.entries:
        _check(reader, entry)
    return topology


def _read_binary(reader: KaldiReader) -> HmmTopology:
    phones, indices = reader.integers().tolist(), reader.integers().tolist()
    # Newer Kaldi writes -1 first where self-loops have pdf-classes of their own.
    start = reader.position
    own_loops = reader.integer() == -1
    if not own_loops:
        reader.position = start
    entries = []
    for _ in range(reader.count(5)):
        states = []
        for _ in range(reader.count(10)):
            pdf_class = reader.integer()
            loop_class = reader.integer() if own_loops else pdf_class
            pairs = [(reader.integer(), reader.number()) for _ in range(reader.count(10))]
            states.append(HmmState(pdf_class, loop_class, tuple(pairs)))
        entries.append(tuple(states))
    reader.expect("</Topology>")
    if wrong := [p for p in phones if not 0 < p < len(indices)]:
        reader.fail(f"phone {wrong[0]} has no entry")
    return HmmTopology(tuple(entries), {phone: indices[phone] for phone in phones})


def _read_text(reader: KaldiReader) -> HmmTopology:
    entries: list[tuple[HmmState, ...]] = []
    entry_of: dict[int, int] = {}
    while reader.expect("<TopologyEntry>", "</Topology>") == "<TopologyEntry>":
        reader.expect("<ForPhones>")
        while reader.peek() != "</ForPhones>":
            phone = reader.integer()
            if phone <= 0 or phone in entry_of:
                reader.fail(f"phone {phone} is not positive, or has an entry already")
            entry_of[phone] = len(entries)
        reader.expect("</ForPhones>")
        states: list[HmmState] = []
        while reader.expect("<State>", "</TopologyEntry>") == "<State>":
            if (number := reader.integer()) != len(states):
                reader.fail(f"state {number}, expected {len(states)}")
            states.append(_read_text_state(reader))
        entries.append(tuple(states))
    return HmmTopology(tuple(entries), entry_of)


def _read_text_state(reader: KaldiReader) -> HmmState:
    pdf_class = loop_class = NO_PDF
    token = reader.peek()
    if token == "<PdfClass>":
        reader.token()
        pdf_class = loop_class = reader.integer()
    elif token == "<ForwardPdfClass>":
        reader.token()
        pdf_class = reader.integer()
        reader.expect("<SelfLoopPdfClass>")
        loop_class = reader.integer()
    pairs = []
    while reader.expect("<Transition>", "</State>") == "<Transition>":
        pairs.append((reader.integer(), reader.number()))
    return HmmState(pdf_class, loop_class, tuple(pairs))


def _check(reader: KaldiReader, entry: tuple[HmmState, ...]) -> None:
    last = len(entry) - 1
    if last < 1 or entry[last].transitions or entry[last].pdf_class != NO_PDF:
        reader.fail("a topology entry without a last state that emits nothing and is not left")
    for number, state in enumerate(entry[:last]):
        targets = [to for to, _ in state.transitions]
        if not targets or len(set(targets)) < len(targets):
            reader.fail(f"state {number} has no transition, or two to the same state")
        if wrong := [to for to in targets if not 0 <= to <= last]:
            reader.fail(f"state {number} leads to state {wrong[0]} of {last + 1}")
        if min(state.pdf_class, state.loop_class) < NO_PDF:
            reader.fail(f"state {number} has pdf-class {state.pdf_class}")
        if state.pdf_class == NO_PDF and number in targets:
            reader.fail(f"state {number} emits nothing and has a self-loop")
    if all(state.pdf_class == NO_PDF for state in entry):
        reader.fail("a topology entry that emits nothing")
