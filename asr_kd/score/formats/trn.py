"""NIST's `trn`: words, then the utterance id in parentheses.

Source: "Sclite input file formats", infmts.htm of SCTK. As in sclite, `@` alone is no word, `;;`
begins a comment, `(uh)` and `uh-` are ordinary words without its options -D and -F. Unlike sclite,
capital letters differ from small ones (as with its -s), also in ids.
"""

import re

from asr_kd.score.formats.lines import cut, numbered_nist
from asr_kd.score.formats.transcript import Draft

NULL_WORD = "@"
_LINE = re.compile(r"(?P<words>.*)\((?P<id>[^()]*)\)[ \t\v\f\r]*", re.DOTALL)
LOOKS_LIKE = re.compile(r".*\([^\s()]+\)\s*", re.DOTALL | re.ASCII)


def parse(draft: Draft, text: str) -> None:
    """Notes the utterances of `text`."""
    for number, line in numbered_nist(text):
        match = _LINE.fullmatch(line)
        if match is None:
            draft.fault(number, "no utterance id; expected words and then (id) at the line's end")
        else:
            draft.add(number, match["id"], spoken(draft, number, match["words"]))


def spoken(draft: Draft, number: int, transcript: str) -> list[str]:
    """The words of a NIST transcript without null words; alternations are a fault."""
    words = cut(transcript)
    if "{" in transcript or "}" in words:
        draft.fault(
            number,
            "an alternation { a / b } (or a brace in a word); one reading is scored: choose one",
        )
    return [word for word in words if word != NULL_WORD] if NULL_WORD in words else words
