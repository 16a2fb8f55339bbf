"""Audio to text as it comes: features, network and search take block after block."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from asr_kd.artefact import hash_input, read_manifest
from asr_kd.decode.transcribe import Floats, Student, Transcript, require_usable, warn_of
from asr_kd.errors import InputError
from asr_kd.features.streaming import FeatureStream
from asr_kd.io.audio import read_audio
from asr_kd.models.base import AcousticModel
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.streaming import Stream


class Heard(NamedTuple):
    """What was heard up to the end of a block.

    Attributes:
        so_far: the best path of the frames that the network has told, as if speech ended there.
        seconds: of sound, from the beginning.
        last: whether the file ends here; then `so_far` is what `transcribe` makes of it.
    """

    so_far: Transcript
    seconds: float
    last: bool


class Listener:
    """One utterance on its way from samples to words.

    A student searches one utterance at a time: one listener after the other.

    Args:
        student: its features and search.
        network: it, as it was before its export; see `streaming_network`.
        path: for messages.
    """

    def __init__(self, student: Student, network: AcousticModel, path: Path) -> None:
        self._student, self._path = student, path
        self._feats, self._logits = FeatureStream(student.spec), Stream(network)
        self._heard = Transcript(path, [], complete=False)
        self._num_frames = self._num_logits = 0

    def push(self, samples: Floats, last: bool = False) -> Transcript:
        """Takes further samples (n,) in [-1, 1]; tells the best path of the frames so far.

        With `last` the utterance ends; what is wrong with it stands in the log.
        """
        feats = self._feats.push(samples, last)
        self._num_frames += len(feats)
        if self._num_frames:
            log_posts = self._logits.push(torch.from_numpy(feats), last).log_softmax(1).numpy()
            if len(log_posts):
                found = self._student.search(log_posts, str(self._path), self._num_logits > 0)
                self._heard = Transcript(self._path, *found)
                self._num_logits += len(log_posts)
        if last:
            warn_of(self._heard, self._num_frames)
        return self._heard


def streaming_network(student: Student, folder: Path) -> AcousticModel:
    """The network that a student was exported from.

    Args:
        student: opened.
        folder: the checkpoint.

    Raises:
        InputError: for another network or an 8-bit program, which would say something else, and
            for what needs the whole utterance: the network, its normalisation, or dither.
    """
    checkpoint, made = Checkpoint.load(folder), read_manifest(student.folder, "export")
    faults = []
    if made.inputs["model"] != hash_input(folder):
        faults.append(f"{folder}: not the network that {student.folder} was exported from")
    if made.config["int8"]:
        faults.append(
            f"{student.folder}: its weights are of 8 bits, those of a network that streams are "
            f"not: export without --int8"
        )
    if checkpoint.cmvn != "global":
        faults.append(
            f"{folder}: normalises each {checkpoint.cmvn}, after its last frame: it cannot stream; "
            f"train with cmvn=global"
        )
    for needs_bounds in (checkpoint.model.stages, lambda: FeatureStream(checkpoint.spec)):
        try:
            needs_bounds()
        except InputError as error:
            faults += [f"{folder}: {fault}" for fault in error.faults]
    if faults:
        raise InputError(faults)
    return checkpoint.model


def stream(
    files: Sequence[Path], student: Student, folder: Path, block_ms: float, threads: int = 1
) -> Iterator[Heard]:
    """Transcribes files, one after the other, each in blocks of sound as they would come.

    Args:
        files: audio of one channel, at the model's sample rate.
        student: what transcribes.
        folder: the checkpoint that it was exported from.
        block_ms: milliseconds of a block; at least a sample.
        threads: of the network.

    Raises:
        InputError: as `streaming_network`; for every file that cannot be used, before the first
            is transcribed.
    """
    network = streaming_network(student, folder)
    advice = "convert it before: a stream is not resampled"
    require_usable(files, student, advice=advice)
    torch.set_num_threads(threads)
    size = max(1, round(student.spec.sample_rate * block_ms / 1000))
    return (heard for path in files for heard in _heard(path, student, network, size))


def _heard(path: Path, student: Student, network: AcousticModel, size: int) -> Iterator[Heard]:
    samples, rate = read_audio(path)
    listener = Listener(student, network, path)
    for end in range(size, len(samples) + size, size):
        last = end >= len(samples)
        found = listener.push(samples[end - size : end], last)
        yield Heard(found, min(end, len(samples)) / rate, last)
