"""n-best lists of a decode directory: the file `nbest`, and how good its best choices would be.

A line is a hypothesis: utterance id, its number from 1 on, graph cost, acoustic cost, words, with
single spaces between them; an utterance's lines stand together, the best first. Costs are in nats.
The graph's are those of the language model, pronunciations and transitions, the acoustic ones are
not scaled: decoding ranked by graph + acoustic_scale · acoustic + insertion_penalty · words, with
the scales in `scales.json`. No word sequence stands twice in a list.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.score.normalise import Normaliser
from asr_kd.score.wer import WordErrors, count_errors, total

NBEST = "nbest"
"""Name of the file in a decode directory."""


class Keep(NamedTuple):
    """How many hypotheses of an utterance are kept.

    Attributes:
        n: at most so many.
        lattice_beam: largest cost above the best, in scaled cost.
    """

    n: int
    lattice_beam: float


class Candidate(NamedTuple):
    """A hypothesis of a list.

    Attributes:
        words: what was said.
        graph: cost of the graph, without penalties of words.
        acoustic: negated sum of the frames' scores, not scaled.
    """

    words: tuple[str, ...]
    graph: float
    acoustic: float


Lists = Mapping[str, Sequence[Candidate]]  # utterance id → hypotheses, the best first


def as_candidates(rows: Sequence[Sequence[Any]]) -> list[Candidate]:
    """Candidates that were written as JSON."""
    return [Candidate(tuple(words), graph, acoustic) for words, graph, acoustic in rows]


def write_nbest(path: Path, lists: Lists) -> None:
    """Writes lists, sorted by utterance id, atomically."""
    lines = [
        " ".join([utt_id, str(number), f"{one.graph:.4f}", f"{one.acoustic:.4f}", *one.words])
        for utt_id in sorted(lists, key=str.encode)
        for number, one in enumerate(lists[utt_id], start=1)
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_nbest(path: Path) -> dict[str, list[Candidate]]:
    """Reads lists.

    Raises:
        InputError: every line that is not as `write_nbest` writes it, with file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file: decode with --nbest N, which keeps the lists"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason})") from None
    lists: dict[str, list[Candidate]] = {}
    faults, last = [], None
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
        utt_id, *fields = line.split(" ")
        found = _candidate(fields, 1 + len(lists.get(utt_id, [])))
        if isinstance(found, str) or (utt_id in lists and utt_id != last):
            why = found if isinstance(found, str) else f"{utt_id} has lines further up"
            faults.append(f"{path}:{number}: {why}")
        else:
            lists.setdefault(utt_id, []).append(found)
            last = utt_id
    for utt_id, found_list in lists.items():
        if len({one.words for one in found_list}) < len(found_list):
            faults.append(f"{path}: {utt_id}: the same words twice")
    if faults:
        raise InputError(faults)
    return lists


def _candidate(fields: Sequence[str], expected: int) -> Candidate | str:
    """What a line says after its utterance, or what is wrong with it."""
    if len(fields) < 3 or fields[0] != str(expected):
        return f"expected an utterance, the number {expected}, two costs and words"
    try:
        graph, acoustic = float(fields[1]), float(fields[2])
    except ValueError:
        return f"{fields[1]!r} or {fields[2]!r} is not a number"
    if not (math.isfinite(graph) and math.isfinite(acoustic)):
        return f"{fields[1]} or {fields[2]} is no cost"
    if "" in fields:
        return "more than one space between words"
    return Candidate(tuple(fields[3:]), graph, acoustic)


def errors_of(
    lists: Lists, ref: Mapping[str, Sequence[str]], normaliser: Normaliser
) -> dict[str, list[WordErrors]]:
    """Word errors of each hypothesis of each utterance that has a reference, both normalised."""
    names = {
        f"{utt_id} {k}": utt_id
        for utt_id in lists
        if utt_id in ref
        for k in range(len(lists[utt_id]))
    }
    hyp = {name: normaliser.rewrite(list(lists[utt_id][int(name.rpartition(" ")[2])].words))
           for name, utt_id in names.items()}  # fmt: skip
    said = {utt_id: normaliser.rewrite(list(ref[utt_id])) for utt_id in set(names.values())}
    counts = count_errors({name: said[utt_id] for name, utt_id in names.items()}, hyp)
    errors: dict[str, list[WordErrors]] = {}
    for name, utt_id in names.items():
        errors.setdefault(utt_id, []).append(counts[name])
    return errors


def describe_lists(
    lists: Lists, ref: Mapping[str, Sequence[str]], normaliser: Normaliser
) -> dict[str, Any]:
    """JSON-able: mean length, and the oracle: the errors of the best choice from every list."""
    facts: dict[str, Any] = {"mean_length": float(np.mean([len(each) for each in lists.values()]))}
    if ref:
        errors = errors_of(lists, ref, normaliser).values()
        best = [min(each, key=lambda e: e.errors) for each in errors]
        facts["oracle"] = total(best).to_dict()
    return facts


def costs(lists: Sequence[Candidate]) -> NDArray[np.float64]:
    """(N, 3) graph cost, acoustic cost and number of words of each hypothesis."""
    return np.array([(one.graph, one.acoustic, len(one.words)) for one in lists]).reshape(-1, 3)
