"""The labels that a model's outputs stand for, and the proof that two artefacts mean the same."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text

HMM_STATES = "hmm-states"
CTC = "ctc-"
"""How the kinds of CTC's label sets begin; label 0 is then the blank."""
_FORMAT = "asr_kd.labels/1"
_SHOWN = 20


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of V labels; label i is column i of every score matrix.

    Nothing outside `labels`, `search` and `align` asks what a label is: tied states or CTC tokens
    are another `kind` with other names.

    Attributes:
        kind: what the labels are, such as `hmm-states`.
        names: one name per label, all different, such as `AH_0`.
        digest: SHA-256 over kind and names; equal digests mean interchangeable scores.

    Raises:
        InputError: if there is no label, or if names are not unique.
    """

    kind: str
    names: tuple[str, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names:
            raise InputError("a label set needs at least one label")
        if len(set(self.names)) != len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise InputError(f"label names are not unique: {', '.join(twice)}")
        content = json.dumps([self.kind, *self.names], ensure_ascii=False)
        object.__setattr__(self, "digest", hashlib.sha256(content.encode()).hexdigest())

    def __len__(self) -> int:
        """V, the number of labels."""
        return len(self.names)

    @property
    def is_ctc(self) -> bool:
        """Whether label 0 is CTC's blank and the others are tokens."""
        return self.kind.startswith(CTC)

    def shown(self, labels: Iterable[int]) -> str:
        """Names of some labels for a message, which thousands of tied states would fill."""
        names = [self.names[label] for label in labels]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(names[:_SHOWN]) + more

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "format": _FORMAT,
            "kind": self.kind,
            "digest": self.digest,
            "names": list(self.names),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], source: str = "label set") -> "LabelSet":
        """Reads what `to_dict` made.

        Args:
            stored: the parsed JSON.
            source: where it came from, for messages.

        Raises:
            InputError: for another format, or names that do not give the stored digest.
        """
        kind, names = stored.get("kind"), stored.get("names")
        if (
            stored.get("format") != _FORMAT
            or not isinstance(kind, str)
            or not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
        ):
            raise InputError(
                f"{source}: not a label set; expected format {_FORMAT!r}, a kind and a list of "
                f"names (format here: {stored.get('format')!r})"
            )
        labels = cls(kind, tuple(names))
        if stored.get("digest") != labels.digest:
            raise InputError(
                f"{source}: damaged: its {len(labels)} names give digest {labels.digest[:12]}, "
                f"stored is {str(stored.get('digest'))[:12]}"
            )
        return labels

    def save(self, path: Path) -> None:
        """Writes the set as JSON, atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "LabelSet":
        """Reads `labels.json`.

        Raises:
            InputError: naming the file if it is missing, damaged or no label set.
        """
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; expected a label set") from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}") from None
        if not isinstance(stored, dict):
            raise InputError(f"{path}: not a label set but a JSON {type(stored).__name__}")
        return cls.from_dict(stored, str(path))

    def require_same(self, other: "LabelSet", ours: str, theirs: str) -> None:
        """Refuses another label set.

        Args:
            other: what this set is held against.
            ours: where this set came from, for the message.
            theirs: where the other came from.

        Raises:
            InputError: with both digests, both sizes and the first names that differ.
        """
        if self.digest == other.digest:
            return
        faults = [
            f"label sets differ: {ours} has {self._summary()}, {theirs} has {other._summary()}",
        ]
        pairs = zip(self.names, other.names, strict=False)
        differing = [(i, a, b) for i, (a, b) in enumerate(pairs) if a != b]
        faults += [
            f"label {i} is {a!r} in {ours} but {b!r} in {theirs}" for i, a, b in differing[:3]
        ]
        if not differing and len(self) != len(other):
            longer, name = (self, ours) if len(self) > len(other) else (other, theirs)
            shorter = min(len(self), len(other))
            faults.append(f"label {shorter} is {longer.names[shorter]!r} in {name} only")
        raise InputError(
            [
                *faults,
                "use artefacts made with one language folder (prepare-lang), "
                "or one folder of units (train-units)",
            ]
        )

    def _summary(self) -> str:
        return f"{len(self)} {self.kind} (digest {self.digest[:12]})"
