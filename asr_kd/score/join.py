"""Reference and hypotheses joined by utterance id without mercy, or what they have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_kd.score.text import Text

REFERENCE = ""
"""The reference's key in the names that `join` takes; no system is called so."""


@dataclass(frozen=True)
class Partial:
    """What a partial score leaves out.

    Attributes:
        scored: utterances that the reference and every system have; only these are scored.
        of: utterances of the reference.
        missing: system → utterances of the reference that it lacks, sorted; no empty entries.
        extra: system → its utterances that the reference lacks, sorted; no empty entries.
    """

    scored: int
    of: int
    missing: dict[str, list[str]]
    extra: dict[str, list[str]]

    def describe(self) -> str:
        """One line for people, beginning with PARTIAL, with all counts."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: scored, of, and numbers of missing and extra utterances by system."""
        raise NotImplementedError


@dataclass(frozen=True)
class Joined:
    """Reference and hypotheses over the same utterances, in the order of the reference.

    Attributes:
        ref: reference words.
        hyps: system → hypothesis words.
        partial: what is left out; None where nothing is.
    """

    ref: dict[str, list[str]]
    hyps: dict[str, dict[str, list[str]]]
    partial: Partial | None


def join(
    ref: Text,
    hyps: Mapping[str, Text],
    names: Mapping[str, str] | None = None,
    partial: bool = False,
) -> Joined:
    """Joins a reference and hypotheses by utterance id.

    An utterance that was not decoded is a fault; one decoded to no words is not (its words are
    deletions).

    Args:
        ref: reference words.
        hyps: system → hypothesis words.
        names: system → what errors call it (its file), `REFERENCE` → the reference's file; a
            system without an entry is called by its own name.
        partial: score the utterances that the reference and all systems have, rather than refuse.

    Raises:
        InputError: a reference without utterances; without `partial` every missing and extra
            utterance of every system; with it, nothing in common.
    """
    raise NotImplementedError
