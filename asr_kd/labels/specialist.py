"""The labels of a specialist: some of a generalist's, and one dustbin for all others.

The dustbin's name holds the digest of the generalist's label set, so that a specialist's labels
say by themselves whose specialist it is.
"""

from collections.abc import Sequence

from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet

KIND = "specialist"
_SHOWN = 5


def specialist_labels(generalist: LabelSet, special: Sequence[int]) -> LabelSet:
    """The label set of a specialist; the dustbin is its last label.

    Args:
        generalist: the V labels.
        special: indices of the special ones; they keep names and order.
    """
    names = [generalist.names[i] for i in sorted(special)]
    return LabelSet(KIND, (*names, dustbin(generalist)))


def dustbin(generalist: LabelSet) -> str:
    """The name of the dustbin of this generalist's specialists."""
    return f"<rest of {generalist.digest[:12]}>"


def is_specialist(label_set: LabelSet) -> bool:
    """Whether a label set is one that `specialist_labels` made."""
    return label_set.kind == KIND


def special_labels(
    specialist: LabelSet, generalist: LabelSet, ours: str, theirs: str
) -> tuple[int, ...]:
    """The generalist's indices of a specialist's labels, all but the dustbin, in order.

    Args:
        specialist: what `specialist_labels` made of the generalist's labels.
        generalist: the V labels.
        ours: where the specialist comes from, for messages.
        theirs: where the generalist comes from.

    Raises:
        InputError: for a specialist of another generalist, with names and digests.
    """
    *names, rest = specialist.names
    unknown = [name for name in names if name not in generalist.names]
    faults = []
    if rest != dustbin(generalist):
        faults.append(
            f"{ours}: a specialist of another generalist: its dustbin is {rest}, that of {theirs} "
            f"would be {dustbin(generalist)}"
        )
    if unknown:
        shown = ", ".join(unknown[:_SHOWN]) + (", ..." if len(unknown) > _SHOWN else "")
        faults.append(f"{ours}: {len(unknown)} labels that {theirs} does not have: {shown}")
    if faults:
        raise InputError(faults)
    place = {name: i for i, name in enumerate(generalist.names)}
    return tuple(place[name] for name in names)
