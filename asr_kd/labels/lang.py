"""The language folder: symbol tables, lexicon, topology and label set that belong together."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.lexicon import EPSILON, SENTENCE_END, SENTENCE_START, Lexicon
from asr_kd.labels.topology import Topology, left_to_right, silence
from asr_kd.labels.tying import TREE, Tying

_FORMAT = "asr_kd.lang/1"


@dataclass(frozen=True)
class Lang:
    """Words, phones and states of a language.

    Attributes:
        lexicon: pronunciations.
        topology: HMM of each phone. `dataclasses.replace` it for trained transitions.
        oov: the word that stands for words outside the lexicon; None where there is none.
        silence_prob: probability of silence before, between and after words.
        tying: pdfs of the states of phones in context; None where each state has one.
    """

    lexicon: Lexicon
    topology: Topology
    oov: str | None
    silence_prob: float
    tying: Tying | None = None

    @classmethod
    def build(
        cls, lexicon: Lexicon, states: int, silence_states: int, oov: str, silence_prob: float
    ) -> "Lang":
        """A language of context-independent phones.

        Args:
            lexicon: pronunciations.
            states: HMM states of a phone.
            silence_states: HMM states of a silence phone.
            oov: word for unknown words, used where the lexicon has it.
            silence_prob: probability of optional silence.
        """
        hmms = {phone: silence(silence_states) for phone in lexicon.silence_phones}
        hmms |= {phone: left_to_right(states) for phone in lexicon.nonsilence_phones}
        known = oov if oov in lexicon.words else None
        return cls(lexicon, Topology(hmms), known, silence_prob)

    @cached_property
    def label_set(self) -> LabelSet:
        """One label for each HMM state, or for each leaf of its trees."""
        if self.tying is not None:
            return self.tying.label_set(self.topology)
        return self.topology.label_set()

    def pdf_id(self, left: str | None, phone: str, right: str | None, state: int) -> int:
        """The label of a state of a phone between two others; None is the utterance's edge."""
        if self.tying is not None:
            return self.tying.pdf_id(left, phone, right, state)
        return self.topology.first_pdf[phone] + state

    @cached_property
    def monophone_label(self) -> NDArray[np.int32]:
        """(V,) for each label the one of its phone and state in `topology.label_set()`."""
        if self.tying is not None:
            return self.tying.monophone_label
        return np.arange(len(self.label_set), dtype=np.int32)

    def trained(self, steps: Mapping[tuple[int, int], int]) -> Topology:
        """The topology with transition probabilities counted from alignments.

        Those of a phone's state are shared by all its contexts. From one context to another a state
        is left.

        Args:
            steps: (label, label of the next frame, or -1 at an utterance's end) → count.
        """
        label = self.monophone_label.tolist()
        shared: Counter[tuple[int, int]] = Counter()
        for (a, b), n in steps.items():
            leaves = b < 0 or (a != b and label[a] == label[b])
            shared[label[a], -1 if leaves else label[b]] += n
        return self.topology.trained(shared)

    @cached_property
    def words(self) -> dict[str, int]:
        """Word → number; <eps> is 0, then the lexicon's words, #0, <s>, </s>."""
        symbols = [EPSILON, *self.lexicon.words, "#0", SENTENCE_START, SENTENCE_END]
        return {symbol: number for number, symbol in enumerate(symbols)}

    @cached_property
    def num_disambiguation(self) -> int:
        """How many symbols #0, #1, … phones.txt has: back-off, homophones, silence."""
        return 2 + max(self.lexicon.disambiguation())

    @cached_property
    def phones(self) -> dict[str, int]:
        """Phone → number; <eps> is 0, then phones in the order of pdf-ids, then #0, #1, …"""
        extra = [f"#{k}" for k in range(self.num_disambiguation)]
        return {s: n for n, s in enumerate([EPSILON, *self.topology.hmms, *extra])}

    @cached_property
    def _min_frames(self) -> dict[int, int]:
        phones = {phone: hmm.min_frames for phone, hmm in self.topology.hmms.items()}
        shortest: dict[int, int] = {}
        for p in self.lexicon.pronunciations:
            word, frames = self.words[p.word], sum(phones[phone] for phone in p.phones)
            shortest[word] = min(frames, shortest.get(word, frames))
        return shortest

    def min_frames(self, word_ids: list[int]) -> int:
        """Frames of the shortest path through the states of a transcript."""
        return sum(self._min_frames[word] for word in word_ids)

    def encode(self, text: Mapping[str, str], source: str) -> dict[str, list[int]]:
        """Transcripts as word numbers; a word outside the lexicon becomes `oov`.

        Args:
            text: utterance id → words.
            source: where the text came from, for messages.

        Raises:
            InputError: where there is no `oov`: every word outside the lexicon, with its utterance.
        """
        speakable = self.lexicon.words
        known = {word: self.words[word] for word in speakable}
        unknown = self.words[self.oov] if self.oov is not None else None
        faults, encoded = [], {}
        for utt_id, words in text.items():
            numbers = [known.get(word, unknown) for word in words.split()]
            encoded[utt_id] = [number for number in numbers if number is not None]
            if len(encoded[utt_id]) < len(numbers):
                missing = dict.fromkeys(w for w in words.split() if w not in known)
                faults += [
                    f"{source}: {utt_id}: {word!r} is not in the lexicon" for word in missing
                ]
        if faults:
            hint = "add the words to the lexicon, or an entry <UNK> that stands for all of them"
            raise InputError([*faults, hint])
        return encoded

    def write(self, folder: Path) -> None:
        """Writes all but the FSTs."""
        folder = Path(folder)
        self.lexicon.write(folder)
        self.topology.save(folder / "topo.json")
        if self.tying is not None:
            self.tying.save(folder / TREE)
        self.label_set.save(folder / "labels.json")
        for name, symbols in (("words.txt", self.words), ("phones.txt", self.phones)):
            write_text(folder / name, "".join(f"{s} {n}\n" for s, n in symbols.items()))
        options = {"format": _FORMAT, "oov": self.oov, "silence_prob": self.silence_prob}
        write_text(folder / "lang.json", json.dumps(options, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Lang":
        """Reads a language folder.

        Raises:
            InputError: if it is none, or if its files do not belong together.
        """
        folder = Path(folder)
        try:
            options = json.loads((folder / "lang.json").read_text(encoding="utf-8"))
            oov, silence_prob = options["oov"], float(options["silence_prob"])
        except FileNotFoundError:
            raise InputError(
                f"{folder}: not a language folder: no lang.json; make one by `asr-kd prepare-lang`"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / 'lang.json'}: damaged ({error}); make it again") from None
        tying = Tying.load(folder / TREE) if (folder / TREE).exists() else None
        topology = Topology.load(folder / "topo.json")
        lang = cls(Lexicon.read(folder), topology, oov, silence_prob, tying)
        lang.label_set.require_same(
            LabelSet.load(folder / "labels.json"), str(folder / "topo.json"), "its labels.json"
        )
        for name, ours in (("words.txt", lang.words), ("phones.txt", lang.phones)):
            if {s: int(n) for s, n in read_table(folder / name).items()} != ours:
                raise InputError(
                    f"{folder / name}: does not belong to this lexicon; make the folder again"
                )
        return lang
