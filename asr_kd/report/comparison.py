"""What is compared: systems over the utterances of one test set."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.report.sources import Source
from asr_kd.score.alignment import Alignments, Method
from asr_kd.score.join import Partial
from asr_kd.score.normalise import NONE, Normaliser, normaliser, read_normaliser
from asr_kd.score.text import Text


@dataclass(frozen=True)
class Scoring:
    """How words are compared.

    Attributes:
        normaliser: what is done to both sides before.
        alignment: method of `score.alignment.align`.
        partial: score the utterances that the reference and all systems have, refuse none.
        frames: whether frame accuracies are read; not where systems have other labels.
    """

    normaliser: Normaliser = NONE
    alignment: Method = "levenshtein"
    partial: bool = False
    frames: bool = True


def normaliser_of(sources: Sequence[Source], wanted: str | None) -> Normaliser:
    """What is done to words before they are compared.

    Args:
        sources: the systems.
        wanted: name, or a file of rules; None for that of the folders of `decode`, which have one
            where their models spell units of normalised text, and `none` without such folders.

    Raises:
        InputError: for an unknown one, or folders that differ.
    """
    if wanted is not None:
        return normaliser(wanted)
    found = {s.path: read_normaliser(s.path) for s in sources if s.kind == "decode"}
    kinds = {one.digest: (path, one) for path, one in found.items()}
    if len(kinds) > 1:
        told = "; ".join(f"{path}: {one.describe()}" for path, one in kinds.values())
        raise InputError(f"words were normalised in several ways: {told}; give --normaliser")
    return next(iter(found.values()), NONE)


@dataclass(frozen=True, eq=False)
class Decoding:
    """One system's hypotheses of one test set.

    Attributes:
        role: its row in the table.
        seed: the seed of training it belongs to, or None where it is the same for all seeds.
        source: where it comes from.
        hyp: normalised words, in the order of the comparison's reference.
        alignments: of the reference with `hyp`.
        characters: (N, 2) character errors, and characters of the reference.
        changed: words that the normaliser changed.
        frames: utterance id → (frames, correct frames); empty where none were measured.
    """

    role: str
    seed: str | None
    source: Source
    hyp: Text
    alignments: Alignments
    characters: NDArray[np.int64]
    changed: int
    frames: dict[str, tuple[int, int]]

    @property
    def path(self) -> Path:
        """The folder or file that the user named."""
        return self.source.path

    @property
    def info(self) -> dict[str, Any]:
        """What is known of it: params, rtf, partial, utterances of a decode folder."""
        return self.source.info

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(N, 4) correct words, substitutions, deletions, insertions of each utterance."""
        return self.alignments.counts()


@dataclass(frozen=True, eq=False)
class Comparison:
    """Systems over the same utterances.

    Attributes:
        name: the test set's.
        ref: normalised words of N utterances.
        ref_source: the reference's file.
        ref_changed: words of it that the normaliser changed.
        decodings: in the order given.
        utt2spk: speaker of each utterance; None where speakers are not known.
        partial: what was left out; None where nothing was.
    """

    name: str
    ref: Text
    ref_source: str
    ref_changed: int
    decodings: list[Decoding]
    utt2spk: dict[str, str] | None
    partial: Partial | None

    @property
    def roles(self) -> list[str]:
        """The rows, in the order they were first named."""
        return list(dict.fromkeys(decoding.role for decoding in self.decodings))

    @property
    def seeds(self) -> list[str]:
        """Seeds of training, sorted; empty where none was named."""
        return sorted({d.seed for d in self.decodings if d.seed is not None})

    @property
    def counted(self) -> tuple[int, int]:
        """Utterances that were scored, and those of the reference: less where it is PARTIAL."""
        if self.partial is None:
            return len(self.ref), len(self.ref)
        return self.partial.scored, self.partial.of

    @cached_property
    def speakers(self) -> int:
        """How many there are; 0 where they are not known."""
        return len(set((self.utt2spk or {}).values()))

    @cached_property
    def block_of(self) -> Sequence[Hashable]:
        """What the bootstrap draws, of each utterance: its speaker if there are two, or itself."""
        if self.utt2spk is not None and self.speakers > 1:
            return [self.utt2spk[utt_id] for utt_id in self.ref]
        return list(self.ref)

    @property
    def blocks(self) -> str:
        """What `block_of` names: "speakers" or "utterances"."""
        return "speakers" if self.speakers > 1 else "utterances"

    def of(self, role: str) -> list[Decoding]:
        """The decodings of one role."""
        return [decoding for decoding in self.decodings if decoding.role == role]
