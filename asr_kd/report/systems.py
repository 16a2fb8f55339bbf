"""Reads systems and holds them against one another before anything is counted."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from asr_kd.errors import InputError
from asr_kd.report.comparison import Comparison, Decoding, Scoring, normaliser_of
from asr_kd.report.sources import Loaded, Source, find_sources, read_source, speakers_of
from asr_kd.score.alignment import align
from asr_kd.score.join import REFERENCE, Joined, join
from asr_kd.score.normalise import Normalised
from asr_kd.score.text import Text
from asr_kd.score.wer import character_errors


@dataclass(frozen=True)
class Frames:
    """The frame figures of a decode folder.

    Attributes:
        ali: hash of the alignment behind them.
        counts: utterance id → frames, correct frames.
    """

    ali: str
    counts: dict[str, tuple[int, int]]

    def lengths(self) -> dict[str, int]:
        """Utterance id → frames."""
        return {utt_id: frames for utt_id, (frames, _) in self.counts.items()}


def read_systems(specs: Sequence[str]) -> Comparison:
    """Reads `ROLE[@SEED]=DECODE_DIR` arguments of one test set, words as `decode` compared them.

    Raises:
        InputError: as `read_comparisons`, and if they are of several test sets.
    """
    sources = find_sources(specs)
    comparisons = read_comparisons(sources, Scoring(normaliser_of(sources, None)))
    if len(comparisons) > 1:
        names = ", ".join(comparison.name for comparison in comparisons)
        raise InputError(f"one test set was expected, not {names}")
    return comparisons[0]


def read_comparisons(sources: Sequence[Source], scoring: Scoring) -> list[Comparison]:
    """Reads, joins, normalises and aligns: one comparison for each test set.

    Args:
        sources: in the order of the rows.
        scoring: how words are compared.

    Raises:
        InputError: all faults of all test sets together: files that cannot be read, systems over
            other utterances, another reference, other speakers or another alignment of frames than
            the first, references without words, seeds that a role lacks.
    """
    comparisons: list[Comparison] = []
    faults: list[str] = []
    for name in dict.fromkeys(source.test_set for source in sources):
        own = [source for source in sources if source.test_set == name]
        try:
            comparisons.append(_read_set(name, own, scoring))
        except InputError as error:
            faults += error.faults
    if not sources:
        faults.append("no systems: name some as ROLE=PATH, or in a file of --config")
    if faults:
        raise InputError(list(dict.fromkeys(faults)))  # of a file of several sets: once
    return comparisons


def _read_set(name: str, sources: Sequence[Source], scoring: Scoring) -> Comparison:
    faults: list[str] = []
    loaded: list[Loaded] = []
    measured: list[Frames | None] = []
    for source in sources:
        try:
            one = read_source(source)
            if loaded and one.ref.text == loaded[0].ref.text:
                one = replace(one, ref=loaded[0].ref)  # one copy in memory
            loaded.append(one)
            measured.append(_read_frames(source) if scoring.frames else None)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(list(dict.fromkeys(faults)))  # of a reference that many share: once
    faults += _seed_faults(sources, measured)
    first = loaded[0]
    for one in loaded[1:]:
        faults += _other_reference(one, first)
    faults += _frame_faults(sources, measured)
    labels = _labels(sources)
    names = {label: one.hyp.source for label, one in zip(labels, loaded, strict=True)}
    joined: Joined | None = None
    try:
        joined = join(
            first.ref.text,
            {label: one.hyp.text for label, one in zip(labels, loaded, strict=True)},
            {**names, REFERENCE: first.ref.source},
            scoring.partial,
        )
    except InputError as error:
        faults = [*error.faults, *faults]
        if scoring.partial:  # whose speakers are needed is not known
            raise InputError(faults) from error
    utt2spk: dict[str, str] | None = None
    for source, one in zip(sources, loaded, strict=True):
        try:
            own = speakers_of(source, one, one.ref.text if joined is None else joined.ref)
        except InputError as error:
            faults += error.faults
            continue
        utt2spk = own if utt2spk is None else utt2spk
        faults += _other_speakers(source, one, own, utt2spk)
    if faults or joined is None:
        raise InputError(list(dict.fromkeys(faults)))
    ref = scoring.normaliser.apply(joined.ref)
    if not any(ref.text.values()):
        raise InputError(
            f"{first.ref.source}: the reference has no words"
            + (" after normalisation" if ref.changed else "")
            + ": a word error rate is not defined"
        )
    decodings = [
        _decoding(source, scoring.normaliser.apply(joined.hyps[label]), ref.text, scoring, frames)
        for source, label, frames in zip(sources, labels, measured, strict=True)
    ]
    return Comparison(
        name, ref.text, first.ref.source, ref.changed, decodings, utt2spk, joined.partial
    )


def _labels(sources: Sequence[Source]) -> list[str]:
    """What tells the sources of one set apart: role and seed, and the path where it is needed."""
    short = [s.role if s.seed is None else f"{s.role}@{s.seed}" for s in sources]
    long = [f"{label}={s.path}" for label, s in zip(short, sources, strict=True)]
    labels = [long[i] if short.count(label) > 1 else label for i, label in enumerate(short)]
    if twice := sorted({long[i] for i, label in enumerate(labels) if labels.count(label) > 1}):
        raise InputError([f"{label}: named twice" for label in twice])
    return labels


def _other_reference(one: Loaded, first: Loaded) -> Iterator[str]:
    mine, theirs = one.ref.text, first.ref.text
    if mine == theirs:
        return
    where, there = one.ref.source, first.ref.source
    for utt_id in sorted(mine.keys() | theirs):
        if utt_id not in mine:
            yield f"{where}: {utt_id}: no reference (it is in {there}); give one --ref for both"
        elif utt_id not in theirs:
            yield f"{where}: {utt_id}: is not in {there}; give one --ref for both"
        elif mine[utt_id] != theirs[utt_id]:
            yield f"{where}: {utt_id}: another reference than in {there}"


def _other_speakers(
    source: Source, one: Loaded, own: Mapping[str, str] | None, utt2spk: Mapping[str, str] | None
) -> Iterator[str]:
    if own is None or utt2spk is None or own == utt2spk:
        return
    for utt_id in sorted(own.keys() & utt2spk):
        if own[utt_id] != utt2spk[utt_id]:
            yield (
                f"{source.utt2spk or one.ref.source}: {utt_id}: another speaker than the first "
                f"system's, {utt2spk[utt_id]}"
            )


def _decoding(
    source: Source, hyp: Normalised, ref: Text, scoring: Scoring, frames: Frames | None
) -> Decoding:
    counts = {} if frames is None else frames.counts
    return Decoding(
        role=source.role,
        seed=source.seed,
        source=source,
        hyp=hyp.text,
        alignments=align(ref, hyp.text, scoring.alignment),
        characters=character_errors(ref, hyp.text),
        changed=hyp.changed,
        frames={utt_id: counts[utt_id] for utt_id in ref if utt_id in counts},
    )


def _read_frames(source: Source) -> Frames | None:
    path = source.path / "frames.json"
    if source.kind != "decode" or not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        utterances = content["utterances"].items()
        counts = {utt: (int(one["frames"]), int(one["correct"])) for utt, one in utterances}
        return Frames(str(content["ali"]), counts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the frame figures of `asr-kd decode`: {error!r}") from error


def _frame_faults(sources: Sequence[Source], measured: Sequence[Frames | None]) -> Iterator[str]:
    """Frame accuracies that cannot stand in one table: of other alignments or other frames."""
    known = [(s.path, f) for s, f in zip(sources, measured, strict=True) if f is not None]
    for path, frames in known[1:]:
        first, theirs = known[0]
        if frames.ali != theirs.ali:
            yield (
                f"{path}: frame accuracy against another alignment than {first}; decode both with "
                f"the same --ali, or leave it out with --no-frames where their labels differ"
            )
        elif frames.lengths() != theirs.lengths():
            yield f"{path}: frames of other utterances or lengths than {first}"


def _seed_faults(sources: Sequence[Source], measured: Sequence[Frames | None]) -> Iterator[str]:
    """Roles that lack seeds that others have, or frame accuracies in some of their folders."""
    seeds = {source.seed for source in sources} - {None}
    for role in dict.fromkeys(source.role for source in sources):
        own = {source.seed for source in sources if source.role == role}
        if own != {None} and own != seeds:
            yield (
                f"role {role}: its systems have the seeds {sorted(map(str, own))}, the comparison "
                f"{sorted(map(str, seeds))}; give each role all seeds, or no seed at all"
            )
        known = {f is None for s, f in zip(sources, measured, strict=True) if s.role == role}
        if len(known) > 1:
            yield f"role {role}: frame accuracy measured in some of its folders only"
