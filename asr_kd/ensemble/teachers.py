"""Where posteriors come from: a trained network, or an archive that any other tool wrote."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.ensemble.archives import ArchiveTeacher, PosteriorTeacher, Unnormalised
from asr_kd.ensemble.bundle import BUNDLE, open_bundle
from asr_kd.ensemble.described import DescribedTeacher, ProgramTeacher
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, require_features
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.description import find_description, read_description
from asr_kd.models.trained_on import read_trained_on

_SOFTMAX = "ark,softmax:"  # what --unnormalised softmax makes of ark:
_FILES = ("ark:", _SOFTMAX, "post:", "transition-post:", BUNDLE)
_BATCH_FLOATS = 1 << 25  # posteriors of all teachers together
_BATCH_FRAMES = (500, 10_000)


class Teacher(Protocol):
    """Anything with frame-level posteriors over a label set.

    Attributes:
        name: how messages call it.
        digest: changes when its posteriors may change.
        label_set: the V labels.
        utt_ids: the utterances that it has posteriors for.
        num_frames: utterance id → frames of its posteriors, as far as they are known beforehand.
        frame_shift_ms: milliseconds from frame to frame of its posteriors, where they are known.
        spec: the features behind them, where they are known.
        trained_on: the utterances that it was trained on, where they are known.
    """

    name: str
    digest: str
    label_set: LabelSet
    utt_ids: Collection[str]
    num_frames: Mapping[str, int]
    frame_shift_ms: float | None
    spec: FeatureSpec | None
    trained_on: frozenset[str] | None

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T,V) of each utterance, at T = 1.

        Raises:
            InputError: naming utterance and source where they cannot be had or are not finite.
        """
        ...


class NetworkTeacher:
    """A trained network and the feature directory that it reads.

    Args:
        model_dir: folder of the checkpoint.
        data_dir: its features; they must be of the kind that it was trained on.
        device: where it runs.

    Raises:
        InputError: if either cannot be read, or the features are of another kind.
    """

    def __init__(self, model_dir: Path, data_dir: Path, device: torch.device | str = "cpu") -> None:
        self.checkpoint = Checkpoint.load(model_dir, device)
        self.name = str(model_dir)
        self.digest = self.checkpoint.digest
        self.label_set = self.checkpoint.label_set
        self.spec: FeatureSpec | None = self.checkpoint.spec
        self.trained_on = read_trained_on(model_dir)
        require_features(model_dir, config_dict(self.checkpoint.spec), data_dir)
        data = DataDir.read(data_dir, require=("utt2spk", "feats"))
        self.utt_ids: Collection[str] = data.feats.keys()
        step = self.checkpoint.model.subsampling
        self.num_frames: Mapping[str, int] = {u: -(-n // step) for u, n in data.num_frames.items()}
        self.frame_shift_ms: float | None = self.checkpoint.frame_shift_ms
        self._reader = FeatureReader(data, self.checkpoint.cmvn)
        self._source = data_dir
        self._device = device

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T,V) of each utterance, on the device; one padded batch."""
        feats = [torch.from_numpy(np.array(self._reader[utt])) for utt in utt_ids]
        lengths = torch.tensor([len(x) for x in feats])
        padded = pad_sequence(feats, batch_first=True)
        log_post, lengths = self.on_batch(padded.to(self._device), lengths.to(self._device))
        rows = [x[:n] for x, n in zip(log_post, lengths.tolist(), strict=True)]
        for utt, row in zip(utt_ids, rows, strict=True):
            if not bool(torch.isfinite(row).all()):
                raise InputError(f"{self.name}: {utt}: posteriors from {self._source} are NaN")
        return rows

    @torch.no_grad()
    def on_batch(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B,T,F), lengths (B,) -> log-posteriors (B,T',V), lengths (B,)."""
        logits, lengths = self.checkpoint.model(feats, lengths)
        return torch.log_softmax(logits, dim=-1), lengths


def open_teacher(
    spec: str, data: Path, device: torch.device | str = "cpu", trust: bool = False
) -> Teacher:
    """Opens a teacher by its name on the command line.

    Args:
        spec: `MODEL_DIR`, `MODEL_DIR=FEATURE_DIR` where it reads features of its own, or
            `ark:POSTERIORS.scp=labels.json` (or one archive), Kaldi's posteriors as
            `post:POST.ark=labels.json` or, over transition-ids, `transition-post:POST.ark=DIR` with
            the output of import-kaldi, or `bundle:NAME=UNITS`, see `Bundle`. A model is a
            checkpoint, or what a `model.yaml` describes: the file, or the folder that it is in.
        data: the feature directory where the name gives none.
        device: where a network runs.
        trust: whether programs that can run any code may be loaded.

    Raises:
        InputError: from opening it.
    """
    kind = next((prefix for prefix in _FILES if spec.startswith(prefix)), "")
    name, _, own = spec.removeprefix(kind).partition("=")
    if not kind:
        path = find_description(Path(name))
        if path is not None:
            return _open_described(path, data, Path(own) if own else data, device, trust)
        return NetworkTeacher(Path(name), Path(own) if own else data, device)
    if kind == BUNDLE:
        return open_bundle(name, own, data, device)
    if not own:
        labels = "IMPORTED_DIR" if kind == "transition-post:" else "labels.json"
        raise InputError(f"{spec}: expected {kind}FILE={labels}")
    if kind in ("post:", "transition-post:"):
        return PosteriorTeacher(Path(name), Path(own), transition_ids=kind != "post:")
    return ArchiveTeacher(Path(name), Path(own), "softmax" if kind == _SOFTMAX else None)


def _open_described(
    path: Path, data: Path, own: Path, device: torch.device | str, trust: bool
) -> DescribedTeacher:
    described = read_description(path)
    described.digest()  # names all files that are missing
    source: NetworkTeacher | ArchiveTeacher | ProgramTeacher
    match described.settings.kind:
        case "checkpoint":
            source = NetworkTeacher(described.source, own, device)
        case "archive":
            labels = path.parent / str(described.settings.labels)
            source = ArchiveTeacher(described.source, labels, described.settings.unnormalised)
        case _:
            source = ProgramTeacher(described, own, device, trust)
    return DescribedTeacher(described, source, DataDir.read(data, require=("utt2spk",)))


def open_teachers(
    specs: Sequence[str],
    data: Path,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> list[Teacher]:
    """Opens several teachers over one label set and one frame rate.

    Raises:
        InputError: with the faults of all of them, different label sets and frame rates among them.
    """
    teachers: list[Teacher] = []
    faults: list[str] = [] if specs else ["no teacher given"]
    for spec in specs:
        try:
            teachers.append(open_teacher(spec, data, device, trust))
        except InputError as error:
            faults += error.faults
    for other in teachers[1:]:
        try:
            teachers[0].label_set.require_same(other.label_set, teachers[0].name, other.name)
        except InputError as error:
            faults += error.faults
    shifts = {t.name: t.frame_shift_ms for t in teachers if t.frame_shift_ms is not None}
    if len(set(shifts.values())) > 1:
        said = ", ".join(f"{name} has one in {shift:g} ms" for name, shift in shifts.items())
        faults.append(
            f"frames of posteriors differ: {said}; a slower model's can be repeated: see repeat "
            f"and subsampling of model.yaml"
        )
    if faults:
        raise InputError(faults)
    return teachers


def is_archive(spec: str) -> bool:
    """Whether a teacher's name on the command line means an archive or a bundle: no folder."""
    return spec.startswith(_FILES)


def as_posteriors(specs: Sequence[str], unnormalised: Unnormalised | None) -> tuple[str, ...]:
    """Names of teachers; with "softmax", archives of matrices become posteriors by a softmax."""
    if unnormalised is None:
        return tuple(specs)
    return tuple(re.sub("^ark:", _SOFTMAX, spec) for spec in specs)


def own_features(specs: Sequence[str]) -> dict[str, Path | str]:
    """The feature directories that teachers name for themselves, by their names: further inputs."""
    return {s: Path(s.partition("=")[2]) for s in specs if "=" in s and not is_archive(s)}


def max_batch_frames(num_teachers: int, num_labels: int) -> int:
    """How many frames, padding included, may be scored at once for their posteriors to fit."""
    least, most = _BATCH_FRAMES
    return min(max(_BATCH_FLOATS // (num_teachers * num_labels), least), most)


def batches_by_length(
    utt_ids: Iterable[str], num_frames: Mapping[str, int], max_frames: int
) -> Iterator[list[str]]:
    """Utterances of like length, as many as `max_frames` allow; each is padded to the longest.

    Args:
        utt_ids: each is in one batch.
        num_frames: of each; one that is not known stands alone.
        max_frames: of a batch, padding included; a longer utterance stands alone.
    """
    batch: list[str] = []
    for utt in sorted(utt_ids, key=lambda utt: num_frames.get(utt, max_frames)):
        if batch and (len(batch) + 1) * num_frames.get(utt, max_frames) > max_frames:
            yield batch
            batch = []
        batch.append(utt)
    if batch:
        yield batch


def same_num_frames(utt_id: str, names: Sequence[str], log_posts: Sequence[Tensor]) -> int:
    """T of one utterance's posteriors (T,V) from several sources.

    Raises:
        InputError: naming the utterance and each source's number of frames if they differ, or if
            there is none.
    """
    counts = [len(log_post) for log_post in log_posts]
    if not any(counts):
        raise InputError(f"{utt_id}: an empty utterance: no frame of {', '.join(names)}")
    if len(set(counts)) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in zip(names, counts, strict=True))
        raise InputError(f"{utt_id}: numbers of frames differ: {said}")
    return counts[0]
