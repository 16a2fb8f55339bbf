"""NIST's `stm`: waveform, channel, speaker, begin, end, perhaps <labels>, words.

Source: "Sclite input file formats", infmts.htm of SCTK. A first word in angle brackets is the
label, as in sclite. Segments to be ignored have no utterance.
"""

import math
from dataclasses import dataclass

from asr_kd.score.formats.lines import cut, numbered_nist
from asr_kd.score.formats.transcript import Draft
from asr_kd.score.formats.trn import spoken

IGNORED = "ignore_time_segment_in_scoring"


@dataclass(frozen=True)
class Segment:
    """A line of an stm.

    Attributes:
        utt_id: `WAVEFORM_CHANNEL_BEGIN_END`, the times as written.
        channel: waveform and channel.
        begin, end: seconds.
        ignored: whether it is not to be scored.
    """

    utt_id: str
    channel: tuple[str, str]
    begin: float
    end: float
    ignored: bool


def parse(draft: Draft, text: str) -> list[Segment]:
    """Notes the segments to be scored as utterances, and returns all, in the order of the file."""
    segments = []
    for number, line in numbered_nist(text):
        fields = cut(line)
        if len(fields) < 5:
            draft.fault(number, "expected WAVEFORM CHANNEL SPEAKER BEGIN END [<LABEL>] WORDS...")
            continue
        waveform, channel, speaker, *times = fields[:5]
        begin, end = (seconds(draft, number, word) for word in times)
        if begin is None or end is None:
            continue
        if end < begin:
            draft.fault(number, f"ends at {times[1]} s, before it begins at {times[0]} s")
        words = fields[5:]
        if words and words[0].startswith("<") and words[0].endswith(">"):
            del words[0]
        transcript = " ".join(words)
        ignored = transcript.lower() == IGNORED
        utt_id = "_".join((waveform, channel, *times))
        segments.append(Segment(utt_id, (waveform, channel), begin, end, ignored))
        if not ignored:
            draft.add(number, utt_id, spoken(draft, number, transcript), speaker)
    return segments


def seconds(draft: Draft, number: int, word: str) -> float | None:
    """A time; anything else than a number from 0 on is a fault."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value >= 0:
        return value
    draft.fault(number, f"{word!r} is no time in seconds")
    return None
