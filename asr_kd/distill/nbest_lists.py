"""Teachers' n-best lists of tokens on disk: the output of `dump-nbest`.

`nbest.K` are text, a hypothesis a line: utterance id, its number from 1 on, the ensemble's score,
each teacher's score, tokens (labels from 1 on), single spaces between them. A score is the natural
log of the probability of the whole sequence, in as many digits as make it the same number when it
is read; −inf where a teacher cannot give it. An utterance's lines stand together, the best first;
no sequence stands twice. `nbest.json` says which teachers, how they were averaged and searched, and
the files' checksums; labels.json and the units' files say what tokens are.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from asr_kd.artefact import hash_file, read_manifest
from asr_kd.config import Config
from asr_kd.ensemble.average import Mean
from asr_kd.ensemble.store import TeacherId
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet

VERB = "dump-nbest"
HEADER = "nbest.json"
_SHOWN = 20


class Entry(NamedTuple):
    """A hypothesis.

    Attributes:
        score: natural log of the ensemble's probability of it.
        each: of the probability by each teacher.
        tokens: labels, without blanks.
    """

    score: float
    each: tuple[float, ...]
    tokens: tuple[int, ...]


Lists = Mapping[str, Sequence[Entry]]  # utterance id → hypotheses, the best first


class NbestHeader(Config):
    """What made the lists.

    Attributes:
        format: of the files.
        label_set: digest of the label set.
        teachers: M of them.
        mean: of the teachers' probabilities of a sequence.
        weights: of the teachers; they add up to 1.
        n: the longest list that was asked for.
        prefixes: that the search kept after each frame.
        shards: file → SHA-256.
    """

    format: Literal["asr_kd.nbest/1"] = "asr_kd.nbest/1"
    label_set: str
    teachers: tuple[TeacherId, ...]
    mean: Mean
    weights: tuple[float, ...]
    n: int
    prefixes: int
    shards: dict[str, str]

    def write(self, folder: Path) -> None:
        """Writes nbest.json."""
        write_text(folder / HEADER, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "NbestHeader":
        """Reads nbest.json.

        Raises:
            InputError: if it is missing or damaged.
        """
        path = Path(folder) / HEADER
        try:
            header = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{folder}: no {HEADER}; make lists by `asr-kd {VERB}`") from None
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); make the lists again") from None
        return header


def write_shard(path: Path, lists: Lists) -> str:
    """Writes lists, atomically; returns the SHA-256 of the file."""
    lines = []
    for utt_id, entries in lists.items():
        for number, entry in enumerate(entries, start=1):
            scores = [f"{score + 0.0}" for score in (entry.score, *entry.each)]
            lines.append(" ".join([utt_id, str(number), *scores, *map(str, entry.tokens)]))
    write_text(path, "".join(f"{line}\n" for line in lines))
    return hash_file(path)


def read_lists(folder: Path) -> tuple[NbestHeader, LabelSet, dict[str, list[Entry]]]:
    """Reads the output of `dump-nbest` whole.

    Raises:
        InputError: if it is none, if a file is missing or not as it was written, and for each line
            that is not as it should be.
    """
    folder = Path(folder)
    read_manifest(folder, VERB)
    header, label_set = NbestHeader.read(folder), LabelSet.load(folder / "labels.json")
    if label_set.digest != header.label_set:
        raise InputError(f"{folder}: {HEADER} and labels.json are of different label sets")
    faults: list[str] = []
    lists: dict[str, list[Entry]] = {}
    for name, digest in header.shards.items():
        path = folder / name
        if not path.is_file() or hash_file(path) != digest:
            faults.append(f"{path}: missing, or not as it was written; make the lists again")
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            utt_id, *fields = line.split(" ")
            entries = lists.setdefault(utt_id, [])
            entry = _entry(fields, 1 + len(entries), len(header.weights), len(label_set))
            if isinstance(entry, str):
                faults.append(f"{path}:{number}: {entry}")
            else:
                entries.append(entry)
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise InputError(faults[:_SHOWN] + more)
    return header, label_set, lists


def _entry(fields: Sequence[str], expected: int, teachers: int, labels: int) -> Entry | str:
    """What a line says after its utterance, or what is wrong with it."""
    if len(fields) < 2 + teachers or fields[0] != str(expected):
        return f"expected an utterance, the number {expected}, {1 + teachers} scores and tokens"
    try:
        score, *each = map(float, fields[1 : 2 + teachers])
        tokens = tuple(map(int, fields[2 + teachers :]))
    except ValueError as error:
        return str(error)
    if not math.isfinite(score) or not all(x < math.inf for x in each):
        return f"{' '.join(fields[1 : 2 + teachers])}: no logarithms of probabilities"
    if tokens and not 0 < min(tokens) <= max(tokens) < labels:
        return f"tokens {min(tokens)} to {max(tokens)}, expected 1 to {labels - 1}"
    return Entry(score, tuple(each), tokens)
