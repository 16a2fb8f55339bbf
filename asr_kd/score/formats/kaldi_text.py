"""Kaldi's `text`: an utterance id, white space, words; an id alone has no words."""

from asr_kd.score.formats.lines import cut, numbered
from asr_kd.score.formats.transcript import Draft


def parse(draft: Draft, text: str) -> None:
    """Notes the utterances of `text`; a blank line is a fault."""
    for number, line in numbered(text):
        words = cut(line)
        if words:
            draft.add(number, words[0], words[1:])
        else:
            draft.fault(number, "blank line; expected an utterance id and its words")
