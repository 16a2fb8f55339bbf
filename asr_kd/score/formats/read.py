"""Transcripts of any format; the format by name, or found out."""

from pathlib import Path

from asr_kd.score.formats.transcript import Transcript

AUTO = "auto"
FORMATS = ("kaldi", "trn", "ctm", "stm", "csv", "jsonl")


def read_transcript(path: Path, format: str = AUTO) -> Transcript:
    """Reads a reference or a hypothesis file.

    Args:
        path: the file, UTF-8.
        format: one of `FORMATS`, or `auto`: by the file's ending, else by what its lines look like,
            else Kaldi's `text`. `csv:COLUMN` and `jsonl:COLUMN` name the column with the words
            where it is not `text`.

    Raises:
        InputError: all faults of the file together, each with its line.
    """
    raise NotImplementedError


def read_ctm_with_stm(ctm: Path, stm: Path) -> tuple[Transcript, Transcript]:
    """Reads an stm reference, and the words of a ctm that fall into each of its segments.

    Returns:
        Reference and hypothesis, over the same utterances: the segments of the stm that are
        scored. A segment into which no word falls has an empty hypothesis.

    Raises:
        InputError: all faults of both files together.
    """
    raise NotImplementedError
