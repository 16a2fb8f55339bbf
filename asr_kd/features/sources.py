"""What features are made from: recordings or archives, looked at before any work."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from asr_kd.artefact import hash_json
from asr_kd.data.directory import DataDir
from asr_kd.data.tables import FILES
from asr_kd.errors import InputError
from asr_kd.io.audio import MAX_OVERSHOOT, AudioInfo, audio_info, is_pipe


def absolute(data: DataDir) -> DataDir:
    """The same directory with absolute file names, since its tables will stand elsewhere."""
    wav = {k: v if is_pipe(v) else os.path.abspath(v) for k, v in data.wav.items()}
    feats = {utt_id: _absolute_entry(data.path, rx) for utt_id, rx in data.feats.items()}
    cmvn = {speaker: _absolute_entry(data.path, rx) for speaker, rx in data.cmvn.items()}
    return replace(data, wav=wav, feats=feats, cmvn=cmvn)


def sources_hash(names: Iterator[str]) -> str:
    """Hash over names, sizes and times of files; what cannot be looked at counts by name."""
    found: dict[str, list[int]] = {}
    for name in names:
        try:
            stat = os.stat(name)
            found[name] = [stat.st_size, stat.st_mtime_ns]
        except OSError:  # a pipe, or missing: the stage itself will say so, with the utterance
            found[name] = []
    return hash_json(found)


def source_files(data: DataDir, ready_made: bool) -> Iterator[str]:
    """The recordings, or the archives of ready-made features."""
    if ready_made:
        yield from {_split_entry(rx)[0] for rx in data.feats.values()}
    else:
        yield from data.wav.values()


def audio_faults(data: DataDir, sample_rate: int, resample: bool) -> Iterator[str]:
    """Recordings and segments that cannot be used, by the headers; pipes are not run.

    Args:
        data: the directory.
        sample_rate: samples per second that are wanted.
        resample: whether another rate will do, too.
    """
    used = {s.recording for s in data.segments.values()} if data.segments else set(data.wav)
    infos: dict[str, AudioInfo] = {}
    for recording in sorted(used, key=str.encode):
        path = data.wav[recording]
        if is_pipe(path):
            continue
        try:
            infos[recording] = audio_info(path)
        except InputError as error:
            yield from (f"{data.path / FILES['wav']}: {recording}: {f}" for f in error.faults)
            continue
        if not resample and infos[recording].rate != sample_rate:
            yield wrong_rate(f"{recording}: {path}", infos[recording].rate, sample_rate)
    for utt_id, (recording, start, end) in data.segments.items():
        seconds = infos[recording].seconds if recording in infos else None
        if seconds is not None and (start >= seconds or end > seconds + MAX_OVERSHOOT):
            yield (
                f"{data.path / FILES['segments']}: {utt_id}: {start}-{end} s is not inside "
                f"{recording}, which lasts {seconds:.3f} s"
            )


def wrong_rate(where: str, rate: int, wanted: int) -> str:
    """The message for a recording of another sample rate."""
    return (
        f"{where}: wrong sample rate: {rate} Hz, expected {wanted} Hz; "
        f"set sample_rate={rate}, or resample=true to convert it"
    )


def _split_entry(rx: str) -> tuple[str, str]:
    """An entry of an scp table as archive and offset ("" where the file is one matrix)."""
    name, _, offset = rx.rpartition(":")
    return (name, offset) if name and offset.isdigit() else (rx, "")


def _absolute_entry(folder: Path, rx: str) -> str:
    name, offset = _split_entry(rx)
    if not os.path.exists(name) and (folder / name).exists():  # as Archive resolves it
        name = str(folder / name)
    return os.path.abspath(name) + (f":{offset}" if offset else "")
