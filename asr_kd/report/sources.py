"""Where hypotheses come from: files, Kaldi's decode folders, ours; from arguments or from YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_kd.artefact import MANIFEST, read_manifest
from asr_kd.errors import InputError
from asr_kd.report.kaldi_folders import (
    hypothesis_file,
    is_kaldi_folder,
    reference_file,
    the_scoring,
)
from asr_kd.report.source_specs import (
    SetFile,
    Spec,
    expand,
    one_of_each,
    parse_file,
    parse_set_file,
    parse_system,
    read_config,
)
from asr_kd.score.formats.read import AUTO, named_format, read_ctm_with_stm, read_transcript
from asr_kd.score.formats.transcript import Transcript
from asr_kd.score.text import read_utt2spk

Kind = Literal["decode", "kaldi", "file"]


@dataclass(frozen=True)
class Source:
    """One system's hypotheses of one test set.

    Attributes:
        role: its row in the table.
        seed: the seed of training it belongs to, or None where it is the same for all seeds.
        test_set: the test set.
        hyp: file of hypotheses.
        ref: its reference.
        utt2spk: speakers, if a file says them; see `speakers_of` for those of the transcripts.
        kind: `decode` (a folder of `asr-kd decode`), `kaldi` (a Kaldi decode folder), or `file`.
        format: of `hyp`, as `read_transcript` takes it.
        info: `decode`: what the manifest says (params, rtf, partial, …). `kaldi`: `lmwt`, `wip`,
            `chosen_on` (the folder in which they were the best, None where there was no choice)
            and `chosen_wer` (percent, there).
        path: what the user named: the folder, or the file.
        ref_format: of `ref`.
    """

    role: str
    seed: str | None
    test_set: str
    hyp: Path
    ref: Path
    utt2spk: Path | None
    kind: Kind
    format: str
    info: dict[str, Any]
    path: Path
    ref_format: str = AUTO


@dataclass(frozen=True)
class Loaded:
    """The transcripts of a source, not yet joined.

    Attributes:
        ref: reference.
        hyp: hypotheses.
    """

    ref: Transcript
    hyp: Transcript


def find_sources(
    specs: Sequence[str],
    refs: Sequence[str] = (),
    utt2spks: Sequence[str] = (),
    config: Path | None = None,
) -> list[Source]:
    """Finds what systems were named; reads no transcripts.

    Args:
        specs: `ROLE[@SEED][:SET]=PATH[,dev=DEV_DIR][,format=FORMAT]`. PATH is a file, a folder of
            `asr-kd decode`, or a decode folder of Kaldi; it may be a glob, each match of which is
            a member or a seed of the role. `{role}`, `{seed}` and `{set}` in PATH match a part of
            a name and say what it is; `{role}` needs no `ROLE=` before it. DEV_DIR: Kaldi decode
            folder whose best LM weight and word insertion penalty are taken; it may hold the same
            placeholders.
        refs: `[SET=]FILE[,format=FORMAT]`; without SET for all sets that have no other. It goes
            before a folder's own reference.
        utt2spks: `[SET=]FILE`, Kaldi's `utt2spk`.
        config: YAML file of `CompareConfig`: more of the same, its paths relative to its folder.

    Returns:
        The sources in the order named, those of a glob sorted.

    Raises:
        InputError: all faults together.
    """
    faults: list[str] = []
    named: list[Spec] = []
    set_files: tuple[list[SetFile], list[SetFile]] = ([], [])
    for files, arguments in zip(set_files, (refs, utt2spks), strict=True):
        for argument in arguments:
            try:
                files.append(parse_set_file(argument))
            except InputError as error:
                faults += error.faults
    for argument in specs:
        try:
            named += expand(parse_system(argument))
        except InputError as error:
            faults += error.faults
    if config is not None:
        try:
            more, *more_files = read_config(config)
        except InputError as error:
            faults += error.faults
            more, more_files = [], []
        for files, others in zip(set_files, more_files, strict=False):
            files.extend(others)
        for spec in more:
            try:
                named += expand(spec)
            except InputError as error:
                faults += error.faults
    ref_files, speaker_files = set_files
    if not faults:
        sets = list(dict.fromkeys(spec.test_set or "" for spec in named))
        faults += one_of_each(ref_files, "the reference", sets)
        faults += one_of_each(speaker_files, "utt2spk", sets)
    sources = []
    for spec in named:
        how = f"give one with --ref {spec.test_set}=FILE"
        try:
            sources.append(_source(spec, _of(ref_files, spec), _of(speaker_files, spec), how))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return sources


def find_source(hyp: str, ref: str | None = None, utt2spk: str | None = None) -> Source:
    """Finds one system that has no name; paths are taken as they stand, without patterns.

    Args:
        hyp: `PATH[,dev=DEV_DIR][,format=FORMAT]`, a path as for `find_sources`.
        ref: `FILE[,format=FORMAT]`; it goes before a folder's own reference.
        utt2spk: Kaldi's `utt2spk`.

    Raises:
        InputError: all faults together.
    """
    spec = parse_file(hyp)
    reference, speakers = None, None
    if ref is not None:
        named = parse_file(ref)
        if named.dev is not None:
            raise InputError(f"{named.where}: dev={named.dev} is for decode folders of Kaldi only")
        reference = SetFile(named.where, None, Path(named.path), named.format)
    if utt2spk is not None:
        speakers = SetFile(utt2spk, None, Path(utt2spk))
    return _source(spec, reference, speakers, f"name one before it: asr-kd score REF {hyp}")


def speakers_of(
    source: Source, loaded: Loaded, utt_ids: Mapping[str, object]
) -> dict[str, str] | None:
    """The speakers of the utterances that are scored.

    Args:
        source: its file says them, if it has one.
        loaded: otherwise the reference's format or that of the hypotheses.
        utt_ids: those that joining left.

    Returns:
        Utterance id → speaker; None where nothing says them of all.

    Raises:
        InputError: if the source's file lacks utterances, or has other faults.
    """
    if source.utt2spk is not None:
        return read_utt2spk(source.utt2spk, utt_ids)
    for one in (loaded.ref, loaded.hyp):
        if one.utt2spk is not None and utt_ids.keys() <= one.utt2spk.keys():
            return {utt_id: one.utt2spk[utt_id] for utt_id in utt_ids}
    return None


def read_source(source: Source) -> Loaded:
    """Reads reference and hypotheses; a ctm is cut by its stm.

    Raises:
        InputError: all faults of all files together.
    """
    faults: list[str] = []
    read: list[Transcript] = []
    sides = [(source.ref, source.ref_format), (source.hyp, source.format)]
    formats = [named_format(path) if format == AUTO else format for path, format in sides]
    if formats == ["stm", "ctm"]:
        read += read_ctm_with_stm(source.hyp, source.ref)
    else:
        for path, format in sides:
            try:
                read.append(read_transcript(path, format))
            except InputError as error:
                faults += error.faults
    if faults:
        raise InputError(list(dict.fromkeys(faults)))  # of a file on both sides: once
    return Loaded(*read)


def _of(files: Sequence[SetFile], spec: Spec) -> SetFile | None:
    own = [file for file in files if file.test_set == spec.test_set]
    return next(iter(own or [file for file in files if file.test_set is None]), None)


def _source(spec: Spec, ref: SetFile | None, utt2spk: SetFile | None, how: str) -> Source:
    """How a reference is given, `how`, ends the message where there is none.

    Raises:
        InputError: if there is nothing to be read at the path.
    """
    path = spec.base / spec.path
    dev = spec.base / spec.dev if spec.dev is not None else None
    own_ref = ref.path if ref else None
    speakers = utt2spk.path if utt2spk else None
    info: dict[str, Any] = {}
    kind: Kind
    if pipes := [p for p in (path, own_ref, speakers) if p is not None and _is_pipe(p)]:
        raise InputError([f"{pipe}: a pipe or a device; name a file" for pipe in pipes])
    if (path / MANIFEST).is_file():
        kind, hyp = "decode", path / "hyp"
        info = read_manifest(path, "decode", "rescore").info
        if own_ref is None and not (path / "ref").is_file():
            raise InputError(f"{path}: was decoded without a reference text; {how}")
        own_ref = own_ref or path / "ref"
        speakers = speakers or path / "utt2spk"
    elif path.is_dir() and is_kaldi_folder(path):
        kind = "kaldi"
        scored = the_scoring(path, dev)
        hyp = hypothesis_file(path, scored)
        if own_ref is None:
            try:
                own_ref = reference_file(path)
            except InputError as error:
                raise InputError([f"{fault}; {how}" for fault in error.faults]) from error
        info = {
            "lmwt": scored.lmwt, "wip": scored.wip,
            "chosen_on": None if dev is None else str(dev),
            "chosen_wer": None if dev is None else scored.wer,
        }  # fmt: skip
    elif path.is_dir():
        raise InputError(
            f"{path}: neither a finished output of `asr-kd decode` (no {MANIFEST}) nor a decode "
            f"folder of Kaldi (no scoring_kaldi, no wer_* files); name a file of hypotheses"
        )
    elif path.is_file():
        kind, hyp = "file", path
        if own_ref is None:
            of = f" of the set {spec.test_set}" if spec.test_set else ""
            raise InputError(f"{path}: no reference{of}; {how}")
    else:
        raise InputError(f"{path}: no such file or folder")
    if dev is not None and kind != "kaldi":
        raise InputError(f"{path}: dev={spec.dev} is for decode folders of Kaldi only")
    if spec.format != AUTO and kind != "file":
        raise InputError(f"{path}: format={spec.format} is for files; this is a decode folder")
    format = spec.format if kind == "file" else "kaldi"
    return Source(
        spec.role or "", spec.seed, spec.test_set or "", hyp, own_ref, speakers, kind, format,
        info, path, ref.format if ref else "kaldi",
    )  # fmt: skip


def _is_pipe(path: Path) -> bool:
    """Whether there is something that can be read but once, or not at all."""
    return path.exists() and not path.is_file() and not path.is_dir()
