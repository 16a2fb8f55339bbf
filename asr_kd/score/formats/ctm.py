"""NIST's `ctm`: waveform, channel, begin, duration, word, perhaps a confidence and more.

Source: "Sclite input file formats", infmts.htm of SCTK. Which segment of an stm a word belongs to
was found by trial of sclite, which the tests repeat: the segments of a channel take, in order of
time, the words up to the first whose midpoint is not before the segment's end; the last takes all
that are left. A word between two segments is therefore an insertion in the second.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asr_kd.score.formats.lines import cut, numbered_nist
from asr_kd.score.formats.stm import Segment, seconds
from asr_kd.score.formats.transcript import Draft
from asr_kd.score.formats.trn import NULL_WORD

_ALTERNATION = ("<ALT_BEGIN>", "<ALT>", "<ALT_END>")
Channel = tuple[str, str]


class _Word(NamedTuple):
    begin: float
    middle: float
    word: str
    number: int


def parse(draft: Draft, text: str) -> None:
    """Notes each waveform as an utterance, its words in order of time.

    Where Kaldi's scripts make a ctm of utterances, the waveform is the utterance id.
    """
    seen: dict[str, str] = {}
    for (waveform, channel), words in _channels(draft, text).items():
        if seen.setdefault(waveform, channel) != channel:
            draft.fault(
                words[0].number,
                f"{waveform} has the channels {seen[waveform]} and {channel}: which is meant only "
                f"an stm reference tells",
            )
        else:
            draft.add(words[0].number, waveform, [w.word for w in words if w.word != NULL_WORD])


def parse_with(draft: Draft, text: str, segments: Sequence[Segment]) -> None:
    """Notes the segments of an stm as utterances, with the words that fall into each.

    A channel of which the ctm knows nothing has no utterances: whether it was silent or not
    decoded, the ctm does not tell.
    """
    parts: dict[Channel, list[Segment]] = {}
    for segment in sorted(segments, key=lambda s: s.begin):
        parts.setdefault(segment.channel, []).append(segment)
    for channel, words in _channels(draft, text).items():
        if channel in parts:
            for segment, own in _deal(words, parts[channel]):
                if not segment.ignored:
                    spoken = [w.word for w in own if w.word != NULL_WORD]
                    draft.add(words[0].number, segment.utt_id, spoken)
        else:
            named = " ".join(channel)
            draft.fault(words[0].number, f"waveform and channel {named}: not in the stm reference")


def _deal(words: list[_Word], segments: list[Segment]) -> Iterator[tuple[Segment, list[_Word]]]:
    start = 0
    for segment in segments:
        end = start
        while end < len(words) and (words[end].middle < segment.end or segment is segments[-1]):
            end += 1
        yield segment, words[start:end]
        start = end


def _channels(draft: Draft, text: str) -> dict[Channel, list[_Word]]:
    """The words of each channel in order of time."""
    channels: dict[Channel, list[_Word]] = {}
    for number, line in numbered_nist(text):
        fields = cut(line)
        if len(fields) < 5:
            draft.fault(number, "expected WAVEFORM CHANNEL BEGIN DURATION WORD [CONFIDENCE]")
            continue
        waveform, channel, *times, word = fields[:5]
        if word in _ALTERNATION:
            if word == _ALTERNATION[0]:
                draft.fault(number, "an alternation; one reading is scored: choose one")
            continue
        begin, duration = (seconds(draft, number, time) for time in times)
        if begin is not None and duration is not None:
            one = _Word(begin, begin + duration / 2, word, number)
            channels.setdefault((waveform, channel), []).append(one)
    return {channel: sorted(words, key=lambda w: w.begin) for channel, words in channels.items()}
