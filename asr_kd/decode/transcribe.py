"""Audio files to text by an exported student alone. Nothing here needs torch.

(But for resampling, which loads it then.)
"""

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_kd.config import load_config
from asr_kd.decode.config import DecodeConfig, default_scales
from asr_kd.errors import InputError
from asr_kd.features.cmvn import Stats, apply_cmvn, cmvn_stats
from asr_kd.features.extract import extract
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.audio import audio_info, read_audio, resample
from asr_kd.models.description import MODEL_YAML, read_description
from asr_kd.models.onnx_program import OnnxProgram
from asr_kd.search.open_graph import GRAPH_FILES, OpenGraph

Floats = NDArray[np.float32]
DECODE_YAML = "decode.yaml"
_logger = logging.getLogger("asr_kd.decode")


class Transcript(NamedTuple):
    """What was heard in a file.

    Attributes:
        path: the file.
        words: of the best path.
        complete: whether the path ended in a final state.
    """

    path: Path
    words: list[str]
    complete: bool


class Student:
    """An exported student: features, network, search.

    Args:
        folder: output of `asr-kd export --graph`.
        threads: of the network.

    Raises:
        InputError: for what is missing or cannot be read.

    Attributes:
        spec: the features that it computes.
        cmvn: what they are normalised over.
        labels: the V labels of its log-posteriors.
        scales: that it decodes with.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.folder = Path(folder)
        names = (MODEL_YAML, DECODE_YAML, *GRAPH_FILES)
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing:
            raise InputError(
                f"{folder}: no {', '.join(missing)}; expected the output of `asr-kd export MODEL "
                f"--graph GRAPH --scales-from DECODE_DIR`; for any words by a CTC model, with a "
                f"GRAPH of `asr-kd make-ctc-graph` open_vocabulary=true"
            )
        described = read_description(self.folder / MODEL_YAML)
        settings = described.settings
        spec = settings.features
        if spec is None or settings.kind != "onnx":
            raise InputError(f"{described.path}: not a program that `asr-kd export` wrote")
        if spec.kind == "external":
            raise InputError(
                f"{folder}: its features, {spec.name!r}, were made elsewhere and cannot be computed"
            )
        search = load_config(DecodeConfig, self.folder / DECODE_YAML)
        self.labels = described.read_labels()
        search = search.for_ctc() if self.labels.is_ctc else search
        self.spec: FeatureSpec = spec
        self.cmvn = settings.cmvn
        self.scales = search.scales or default_scales(self.labels.is_ctc)
        self._log_prior = described.read_priors(len(self.labels))
        self._program = OnnxProgram(described.source, settings.takes_lengths, 0, threads)
        self._graph = OpenGraph(self.folder, len(self.labels), search.beam, search.max_active)

    def features(self, path: Path) -> Floats:
        """Features (T,F) of a file, before normalisation; T is 0 for less than one frame."""
        samples, rate = read_audio(path)
        if rate != self.spec.sample_rate:
            samples = resample(samples, rate, self.spec.sample_rate)
        return extract(samples, self.spec, seed=zlib.crc32(Path(path).stem.encode()))

    def log_posts(self, feats: Floats) -> Floats:
        """Normalised features (T,F) -> log-posteriors (T,V)."""
        return self._program(feats[None], np.array([len(feats)]))[0]

    def search(self, log_posts: Floats, name: str, follows: bool = False) -> tuple[list[str], bool]:
        """Log-posteriors (T,V) -> words, and whether the path ended in a final state.

        With `follows` the frames go on where those of the last call ended: words of all of them.
        """
        scores = self.scales.apply(log_posts, self._log_prior)
        return self._graph.search(scores, self.scales.insertion_penalty, name, follows)


def transcribe(
    files: Sequence[Path], student: Student, *, convert: bool = False, one_speaker: bool = False
) -> Iterator[Transcript]:
    """Transcribes files, one after the other.

    A student that normalises by speaker takes each file for a speaker of its own.

    Args:
        files: audio of one channel.
        student: what transcribes.
        convert: whether audio of another sample rate is resampled rather than refused.
        one_speaker: whether all files are one speaker's.

    Raises:
        InputError: for every file that cannot be used, before the first is transcribed.
    """
    require_usable(files, student, convert)
    stats = None
    if one_speaker and student.cmvn == "speaker":
        stats = np.sum([cmvn_stats(student.features(path)) for path in files], axis=0)
    return (_transcript(path, student, stats) for path in files)


def require_usable(
    files: Sequence[Path],
    student: Student,
    convert: bool = False,
    advice: str = "--resample converts it",
) -> None:
    """Refuses files that cannot be read, or are of another sample rate than the student's.

    Args:
        files: audio.
        student: what transcribes.
        convert: whether another sample rate will do.
        advice: what to do about another sample rate.

    Raises:
        InputError: for all of them.
    """
    faults = []
    for path in files:
        try:
            rate = audio_info(path).rate
            if rate != student.spec.sample_rate and not convert:
                faults.append(
                    f"{path}: {rate} Hz, the model wants {student.spec.sample_rate} Hz; {advice}"
                )
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)


def warn_of(found: Transcript, num_frames: int) -> None:
    """Says in the log what is wrong with the transcript of so many frames."""
    if not num_frames:
        _logger.warning("%s: shorter than one frame", found.path)
    elif not found.complete:
        _logger.warning("%s: the path found is not complete; a wider beam may help", found.path)


def _transcript(path: Path, student: Student, stats: Stats | None) -> Transcript:
    feats = student.features(path)
    found = Transcript(path, [], complete=False)
    if len(feats):
        if student.cmvn != "global":
            feats = apply_cmvn(feats, cmvn_stats(feats) if stats is None else stats)
        found = Transcript(path, *student.search(student.log_posts(feats), str(path)))
    warn_of(found, len(feats))
    return found
