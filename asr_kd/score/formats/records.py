"""CSV with a header, and JSON lines: an utterance a record.

Columns: `utt_id` (or `utterance_id`, `id`, `audio_filepath`), the words in `text` (or
`transcript`) or in a column that the user names, and `speaker` (or `speaker_id`) if it is there.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asr_kd.io.table import SPACE
from asr_kd.score.formats.lines import cut, numbered
from asr_kd.score.formats.transcript import Draft

IDS = ("utt_id", "utterance_id", "id", "audio_filepath")
TEXTS = ("text", "transcript")
SPEAKERS = ("speaker", "speaker_id")
# Beside a reference a file may hold a hypothesis: taking the one for the other gives 0% errors.
_HYPOTHESES = ("pred_text", "prediction", "pred", "hypothesis", "hyp")
_TAB = "\t"
_HALF = re.compile("[\ud800-\udfff]")  # of two escapes that make a character together


def parse_csv(draft: Draft, text: str, column: str | None) -> None:
    """Notes the rows of a CSV file; the header tells whether commas, semicolons or tabs part them.

    Fields may be quoted with ", save where tabs part them: there a quote is a character like any.
    """
    header = text.partition("\n")[0]
    delimiter = max((_TAB, ",", ";"), key=header.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
        quoting=csv.QUOTE_NONE if delimiter == _TAB else csv.QUOTE_MINIMAL,
    )  # fmt: skip
    names: list[str] | None = None
    number = 1
    # The limit is the whole process's; no field is longer than the file.
    limit = csv.field_size_limit(max(len(text), 1))
    try:
        for row in reader:
            if names is None:
                names = [name.strip(SPACE) for name in row]
                if not _columns(draft, 1, names, column):
                    return
            elif row and len(row) != len(names):
                draft.fault(
                    number,
                    f"{len(row)} fields, the header has {len(names)}; a text with a "
                    f"{'tab' if delimiter == _TAB else delimiter!r} in it must be quoted",
                )
            elif row:
                _add(draft, number, dict(zip(names, row, strict=True)), column)
            number = reader.line_num + 1
    except csv.Error as error:
        draft.fault(number, f"not CSV: {error}")
    finally:
        csv.field_size_limit(limit)


def parse_jsonl(draft: Draft, text: str, column: str | None) -> None:
    """Notes the objects of a file of JSON lines; blank lines are passed over."""
    if text.lstrip(SPACE).startswith("["):
        draft.fault(1, "a JSON array; write one object a line (`jq -c '.[]'` makes them of it)")
        return
    for number, line in numbered(text):
        if not line.strip(SPACE):
            continue
        try:
            record = json.loads(line, object_pairs_hook=_without_doubles)
        except (json.JSONDecodeError, RecursionError) as error:
            draft.fault(number, f"not JSON: {error}")
            continue
        except ValueError as error:  # a key that stands twice, a number of too many digits
            draft.fault(number, str(error))
            continue
        if not isinstance(record, dict):
            draft.fault(number, f"expected an object {{…}} a line, not a {type(record).__name__}")
        elif _columns(draft, number, record, column):
            _add(draft, number, record, column)


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises: ValueError, naming the keys that stand twice: readers differ in which they take."""
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise ValueError(f"stands twice: {', '.join(map(json.dumps, twice))}")
    return record


def _is_half(value: object) -> bool:
    """Whether a string, or one of a list, holds what cannot be written as UTF-8."""
    if isinstance(value, list):
        return any(map(_is_half, value))
    return isinstance(value, str) and not value.isascii() and _HALF.search(value) is not None


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _first(names: Collection[str], known: Collection[str]) -> str | None:
    return next((name for name in known if name in names), None)


def _columns(draft: Draft, number: int, names: Collection[str], column: str | None) -> bool:
    """Whether the columns needed are there, and it is clear which holds the words."""
    faults = []
    listed = _printable(", ".join(names))
    if _first(names, IDS) is None:
        faults.append(f"no column {' or '.join(IDS)} for the utterance id, among: {listed}")
    if column is not None and column not in names:
        faults.append(f"no column {column} for the words, among: {listed}")
    elif column is None and not (own := _first(names, TEXTS)):
        faults.append(
            f"no column {' or '.join(TEXTS)} for the words, among: {listed}; name it, as in "
            f"`csv:COLUMN` or `jsonl:COLUMN`"
        )
    elif column is None and (other := _first(names, _HYPOTHESES)):
        faults.append(
            f"columns {own} and {other}: say which holds the words, as in `csv:{other}` or "
            f"`jsonl:{other}`"
        )
    if len(set(names)) < len(names):
        faults.append(f"a column stands twice: {listed}")
    for fault in faults:
        draft.fault(number, fault)
    return not faults


def _add(draft: Draft, number: int, record: Mapping[str, Any], column: str | None) -> None:
    id_name, text_name = _first(record, IDS), column or _first(record, TEXTS)
    speaker_name = _first(record, SPEAKERS)
    utt_id, words = record[id_name or ""], record[text_name or ""]
    speaker = record[speaker_name] if speaker_name else None
    # A number may be an id, but not 1.0 (which is it?) or true.
    utt_id, speaker = (str(one) if type(one) is int else one for one in (utt_id, speaker))
    halves = [
        str(name)
        for name, value in ((id_name, utt_id), (text_name, words), (speaker_name, speaker))
        if _is_half(value)
    ]
    if halves:
        draft.fault(
            number,
            f"{' and '.join(halves)}: half a character, an escape \\ud800 to \\udfff without its "
            f"other half",
        )
    elif not isinstance(utt_id, str):
        draft.fault(number, f"{id_name}: expected a string, got {json.dumps(utt_id)[:40]}")
    elif not isinstance(speaker, str | None):
        draft.fault(number, f"{speaker_name}: expected a string, got {json.dumps(speaker)[:40]}")
    elif isinstance(words, str):
        draft.add(number, utt_id, cut(words), speaker)
    elif isinstance(words, list) and all(isinstance(w, str) and cut(w) == [w] for w in words):
        draft.add(number, utt_id, words, speaker)
    else:
        draft.fault(
            number,
            f"{utt_id}: {text_name}: expected a string or a list of words, got "
            f'{_printable(json.dumps(words, ensure_ascii=False)[:40])} (no words are "")',
        )
