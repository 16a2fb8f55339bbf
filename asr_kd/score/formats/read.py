"""Transcripts of any format; the format by name, or found out."""

from collections.abc import Callable
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.table import SPACE
from asr_kd.score.formats import ctm as ctm_format
from asr_kd.score.formats import kaldi_text, records, trn
from asr_kd.score.formats import stm as stm_format
from asr_kd.score.formats.lines import numbered_nist, read_utf8
from asr_kd.score.formats.transcript import Draft, Transcript

AUTO = "auto"
FORMATS = ("kaldi", "trn", "ctm", "stm", "csv", "jsonl")
_WITH_COLUMNS = ("csv", "jsonl")
_ENDINGS = {
    "trn": "trn", "ctm": "ctm", "stm": "stm", "csv": "csv", "tsv": "csv",
    "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl",
}  # fmt: skip


def format_fault(format: str) -> str | None:
    """What is wrong with the name of a format, if anything."""
    name, colon, column = format.partition(":")
    if format == AUTO or (name in FORMATS and not colon):
        return None
    if name in _WITH_COLUMNS and column:
        return None
    return (
        f"{format!r}: no such format; expected {AUTO}, {', '.join(FORMATS)}, csv:COLUMN or "
        f"jsonl:COLUMN"
    )


def read_transcript(path: Path, format: str = AUTO) -> Transcript:
    """Reads a reference or a hypothesis file.

    Args:
        path: the file, UTF-8.
        format: one of `FORMATS`, or `auto`: by the file's name, else by what its lines look like,
            else Kaldi's `text`. `csv:COLUMN` and `jsonl:COLUMN` name the column with the words
            where it is not `text`.

    Raises:
        InputError: all faults of the file together, each with its line.
    """
    if fault := format_fault(format):
        raise InputError(fault)
    text = read_utf8(path)
    draft = Draft(path)
    name, _, column = (format_of(path, text) if format == AUTO else format).partition(":")
    parsers: dict[str, Callable[[], object]] = {
        "kaldi": lambda: kaldi_text.parse(draft, text),
        "trn": lambda: trn.parse(draft, text),
        "ctm": lambda: ctm_format.parse(draft, text),
        "stm": lambda: stm_format.parse(draft, text),
        "csv": lambda: records.parse_csv(draft, text, column or None),
        "jsonl": lambda: records.parse_jsonl(draft, text, column or None),
    }
    parsers[name]()
    return _finished(draft, name)


def read_ctm_with_stm(ctm: Path, stm: Path) -> tuple[Transcript, Transcript]:
    """Reads an stm reference, and the words of a ctm that fall into each of its segments.

    Returns:
        Reference and hypothesis. The utterances are the segments of the stm that are scored; one
        into which no word falls has an empty hypothesis. A channel of which the ctm knows nothing
        is not in the hypothesis.

    Raises:
        InputError: all faults of both files together.
    """
    ref, hyp = Draft(stm), Draft(ctm)
    for draft in (ref, hyp):
        try:
            text = read_utf8(draft.path)
        except InputError as error:
            draft.faults += error.faults
            continue
        if draft is ref:
            segments = stm_format.parse(ref, text)
        elif not ref.faults:
            ctm_format.parse_with(hyp, text, segments)
    if faults := [*ref.faults, *hyp.faults]:
        raise InputError(faults)
    return _finished(ref, "stm"), _finished(hyp, "ctm")


def named_format(path: Path) -> str | None:
    """The format that the name of a file tells, if it does; ctm and stm are known by it alone."""
    parts = reversed(Path(path).name.lower().split("."))
    return next((_ENDINGS[part] for part in parts if part in _ENDINGS), None)


def format_of(path: Path, text: str) -> str:
    """The format of a file by its name (`hyp.trn`, `ctm`, `x.ctm.filt`), else by its lines.

    By their lines are known: JSON lines (`{` begins the first), and trn (each ends in `(id)`).
    """
    if named := named_format(path):
        return named
    lines = [line for _, line in numbered_nist(text)]
    if lines and lines[0].lstrip(SPACE).startswith("{"):
        return "jsonl"
    if lines and all(trn.LOOKS_LIKE.fullmatch(line) for line in lines):
        return "trn"
    return "kaldi"


def _finished(draft: Draft, format: str) -> Transcript:
    if draft.faults:
        raise InputError(draft.faults)
    if draft.utt2spk and len(draft.utt2spk) < len(draft.text):
        bare = [utt_id for utt_id in draft.text if utt_id not in draft.utt2spk]
        raise InputError(
            [f"{draft.path}:{draft.lines[u]}: {u}: no speaker, others have one" for u in bare]
        )
    source = str(draft.path) if format == "kaldi" else f"{draft.path} ({format})"
    return Transcript(draft.text, draft.utt2spk or None, source)
