"""`asr-kd validate`: everything that is wrong with a data directory, its sound and its features."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from asr_kd.data.directory import missing_audio, resolve
from asr_kd.data.tables import FILES, Table, parse_segment, read_tables, structure_faults
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.io.audio import MAX_OVERSHOOT, AudioInfo, audio_info, is_pipe


def faults(
    path: Path, require: Sequence[str] = ("utt2spk", "spk2utt"), allow_pipes: bool = False
) -> list[str]:
    """Lists every fault of a data directory, with file, line and id.

    Beside the tables, all headers of sound files and all matrices are read; pipes are not run.

    Args:
        path: the folder.
        require: tables that must be there, by their name in `FILES`; and wav or feats must be.
        allow_pipes: whether commands in wav.scp are accepted.
    """
    tables, found = read_tables(path)
    if not tables and found:
        return found
    found += structure_faults(path, tables, require, allow_pipes)
    if not {"wav", "feats"} & set(tables):
        found.append(f"{path}: neither {FILES['wav']} nor {FILES['feats']}")
    if "wav" in tables:
        found += _audio_faults(tables["wav"], tables.get("segments"))
    if "feats" in tables:
        found += _feats_faults(tables["feats"], tables.get("num_frames"))
    return found


def warnings(path: Path) -> list[str]:
    """What is allowed but seldom meant: see the messages."""
    tables, _ = read_tables(path)
    found: list[str] = []
    if "utt2spk" in tables:
        utt2spk = tables["utt2spk"]
        found += [
            f"{utt2spk.at(utt)}: speaker {speaker} is no prefix of the utterance id, so that "
            f"utterances and speakers sort differently"
            for utt, speaker in utt2spk.values.items()
            if not utt.startswith(speaker)
        ]
    if "text" in tables:
        text = tables["text"]
        found += [f"{text.at(utt)}: no words" for utt, words in text.values.items() if not words]
    if "segments" in tables and "wav" in tables:
        parsed = [parse_segment(value) for value in tables["segments"].values.values()]
        used = {segment.recording for segment in parsed if segment}
        wav = tables["wav"]
        found += [f"{wav.at(key)}: no segment uses it" for key in wav.values if key not in used]
    return found


def _audio_faults(wav: Table, segments: Table | None) -> Iterator[str]:
    yield from missing_audio(wav)
    infos: dict[str, AudioInfo] = {}
    for key, value in wav.values.items():
        source = resolve(wav.path.parent, value)
        if is_pipe(source) or not Path(source).is_file():
            continue
        try:
            infos[key] = audio_info(source)
        except InputError as error:
            yield from (f"{wav.at(key)}: {fault}" for fault in error.faults)
    usual = Counter(info.rate for info in infos.values()).most_common(1)
    for key, info in infos.items():
        if info.rate != usual[0][0]:
            yield f"{wav.at(key)}: {info.rate} Hz, the others have {usual[0][0]} Hz"
    for utt, value in segments.values.items() if segments else ():
        segment = parse_segment(value)
        if segment is None or segment.recording not in infos:
            continue
        seconds = infos[segment.recording].seconds
        if segment.start >= seconds or segment.end > seconds + MAX_OVERSHOOT:
            yield (
                f"{segments.at(utt) if segments else utt}: {segment.start}-{segment.end} s is not "
                f"inside {segment.recording}, which lasts {seconds:.3f} s"
            )


def _feats_faults(feats: Table, num_frames: Table | None) -> Iterator[str]:
    files = {utt: value for utt, value in feats.values.items() if "|" not in value}
    archive = Archive(files, feats.path)
    dim = None
    for utt in archive:
        try:
            matrix = archive[utt]
        except InputError as error:
            yield from (f"{feats.at(utt)}: {fault}" for fault in error.faults)
            continue
        if matrix.ndim != 2 or 0 in matrix.shape:
            yield f"{feats.at(utt)}: expected frames × coefficients, not shape {matrix.shape}"
            continue
        dim = dim or matrix.shape[1]
        if matrix.shape[1] != dim:
            yield f"{feats.at(utt)}: {matrix.shape[1]} coefficients, the first has {dim}"
        if not np.isfinite(matrix).all():
            frame = int(np.argwhere(~np.isfinite(matrix))[0, 0])
            yield f"{feats.at(utt)}: NaN or infinity in frame {frame}"
        said = num_frames.values.get(utt) if num_frames else None
        if num_frames and said is not None and said != str(len(matrix)):
            yield f"{num_frames.at(utt)}: {said} frames, the archive has {len(matrix)}"
