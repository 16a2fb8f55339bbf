"""Reference and hypotheses joined by utterance id without mercy, or what they have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asr_kd.errors import InputError
from asr_kd.score.text import Text

REFERENCE = ""
"""The reference's key in the names that `join` takes; no system is called so."""
_SILENT = " (without words: the id alone, in a ctm the line `WAVEFORM CHANNEL 0 0 @`)"


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
        systems = dict.fromkeys([*self.missing, *self.extra])
        counts = [
            f"{system}: {len(self.missing.get(system, ())):,} missing, "
            f"{len(self.extra.get(system, ())):,} without a reference"
            for system in systems
        ]
        return (
            f"PARTIAL: {self.scored:,} of {self.of:,} reference utterances are scored, those that "
            f"every system has ({'; '.join(counts)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: scored, of, and numbers of missing and extra utterances by system."""
        return {
            "scored": self.scored,
            "of": self.of,
            "missing": {system: len(ids) for system, ids in self.missing.items()},
            "extra": {system: len(ids) for system, ids in self.extra.items()},
        }


@dataclass(frozen=True)
class Joined:
    """Reference and hypotheses over the same utterances, in the order of the reference.

    Attributes:
        ref: reference words.
        hyps: system → hypothesis words.
        partial: what is left out; None where nothing is.
    """

    ref: Text
    hyps: dict[str, Text]
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
    called = {REFERENCE: "the reference", **{name: name for name in hyps}, **(names or {})}
    if not ref:
        raise InputError(f"{called[REFERENCE]}: no utterances")
    if strange := _strangers(ref, hyps, called):
        raise InputError(strange)
    missing = {name: sorted(ref.keys() - hyp.keys()) for name, hyp in hyps.items()}
    extra = {name: sorted(hyp.keys() - ref.keys()) for name, hyp in hyps.items()}
    lacking = set[str]().union(*missing.values())
    kept = [utt_id for utt_id in ref if utt_id not in lacking]
    if not kept:
        raise InputError(f"{called[REFERENCE]}: none of its utterances is in every hypothesis file")
    found = Partial(
        len(kept),
        len(ref),
        {name: ids for name, ids in missing.items() if ids},
        {name: ids for name, ids in extra.items() if ids},
    )
    incomplete = bool(found.missing or found.extra)
    if incomplete and not partial:
        raise InputError(_faults(found, called))
    return Joined(
        {utt_id: ref[utt_id] for utt_id in kept},
        {name: {utt_id: hyp[utt_id] for utt_id in kept} for name, hyp in hyps.items()},
        found if incomplete else None,
    )


def _strangers(ref: Text, hyps: Mapping[str, Text], called: Mapping[str, str]) -> list[str]:
    """A fault for each file that shares no utterance with the reference, rather than each id."""
    faults = []
    for name, hyp in hyps.items():
        if not hyp:
            faults.append(f"{called[name]}: no utterances")
        elif ref.keys().isdisjoint(hyp):
            why = "other ids"
            folded = {utt_id.casefold() for utt_id in ref}
            if not folded.isdisjoint(utt_id.casefold() for utt_id in hyp):
                why = "ids differ in capital and small letters"
            faults.append(
                f"{called[name]}: no utterance in common with {called[REFERENCE]}, {why}: "
                f"{min(hyp)!r} here, {min(ref)!r} there"
            )
    return faults


def _faults(found: Partial, called: Mapping[str, str]) -> list[str]:
    """Counts first, since long lists are cut; then every utterance."""
    reference = called[REFERENCE]
    faults = [
        f"{called[name]}: {len(found.missing.get(name, ())):,} of the {found.of:,} utterances of "
        f"{reference} missing, {len(found.extra.get(name, ())):,} without a reference; complete "
        f"it{_SILENT if name in found.missing else ''}, or score the {found.scored:,} that all "
        f"have with --partial"
        for name in dict.fromkeys([*found.missing, *found.extra])
    ]
    for name, ids in found.missing.items():
        faults += [f"{called[name]}: {u}: no hypothesis (it is in {reference})" for u in ids]
    for name, ids in found.extra.items():
        faults += [f"{called[name]}: {u}: no reference (it is not in {reference})" for u in ids]
    return faults
