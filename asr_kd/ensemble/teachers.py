"""Where posteriors come from: a trained network, or an archive that any other tool wrote."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.artefact import hash_file, hash_json
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, read_spec
from asr_kd.io.ark import Archive
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.trained_on import read_trained_on

_ARCHIVE = "ark:"
_SUM_TOLERANCE = 0.01  # Kaldi's 8-bit archives are this inexact
_BATCH_FLOATS = 1 << 25  # posteriors of all teachers together
_BATCH_FRAMES = (500, 10_000)


class Teacher(Protocol):
    """Anything with frame-level posteriors over a label set.

    Attributes:
        name: how messages call it.
        digest: changes when its posteriors may change.
        label_set: the V labels.
        utt_ids: the utterances that it has posteriors for.
        num_frames: utterance id → frames, as far as they are known beforehand.
        spec: the features behind them, where they are known.
        trained_on: the utterances that it was trained on, where they are known.
    """

    name: str
    digest: str
    label_set: LabelSet
    utt_ids: Collection[str]
    num_frames: Mapping[str, int]
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
        self.num_frames = data.num_frames
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


class ArchiveTeacher:
    """Log-posteriors in Kaldi archives, keyed by utterance, from whatever made them.

    Args:
        scp: the archives' table.
        labels: JSON of the label set; column i of each matrix is label i.

    Raises:
        InputError: for faults of either file, or a missing archive.
    """

    def __init__(self, scp: Path, labels: Path) -> None:
        self.name = f"{_ARCHIVE}{scp}"
        self.label_set = LabelSet.load(labels)
        self._archive = Archive.read(scp)
        self.utt_ids: Collection[str] = self._archive.keys()
        self.num_frames: Mapping[str, int] = {}
        self.spec: FeatureSpec | None = None
        self.trained_on: frozenset[str] | None = None
        self.digest = hash_json([hash_file(scp), self.label_set.digest, *_hash_archives(scp)])

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T,V) of each utterance, scaled to add up to exactly 1.

        Raises:
            InputError: naming the utterance, for another number of labels, NaN, or rows that are
                not log-posteriors.
        """
        return [self._log_post(utt) for utt in utt_ids]

    def _log_post(self, utt: str) -> Tensor:
        if utt not in self._archive:
            raise InputError(f"{self.name}: no log-posteriors of {utt}")
        matrix = torch.from_numpy(np.array(self._archive[utt], dtype=np.float32))
        if matrix.ndim != 2 or matrix.shape[1] != len(self.label_set):
            raise InputError(
                f"{self.name}: {utt}: shape {tuple(matrix.shape)}, expected "
                f"(frames, {len(self.label_set)} labels)"
            )
        totals = matrix.double().exp().sum(1)
        wrong = torch.nonzero(~((totals - 1).abs() <= _SUM_TOLERANCE)).flatten()  # NaN is wrong too
        if len(wrong):
            frame = int(wrong[0])
            raise InputError(
                f"{self.name}: {utt}: frame {frame}: exp of the row adds up to "
                f"{float(totals[frame]):.4g}, expected 1: natural-log posteriors, neither "
                f"probabilities nor divided by priors ({len(wrong)} of {len(matrix)} frames)"
            )
        return torch.log_softmax(matrix, dim=-1)


def open_teacher(spec: str, data: Path, device: torch.device | str = "cpu") -> Teacher:
    """Opens a teacher by its name on the command line.

    Args:
        spec: `MODEL_DIR`, `MODEL_DIR=FEATURE_DIR` where it reads features of its own, or
            `ark:POSTERIORS.scp=labels.json`.
        data: the feature directory where the name gives none.
        device: where a network runs.

    Raises:
        InputError: from opening it.
    """
    name, _, own = spec.removeprefix(_ARCHIVE).partition("=")
    if not spec.startswith(_ARCHIVE):
        return NetworkTeacher(Path(name), Path(own) if own else data, device)
    if not own:
        raise InputError(f"{spec}: expected ark:POSTERIORS.scp=labels.json")
    return ArchiveTeacher(Path(name), Path(own))


def open_teachers(
    specs: Sequence[str], data: Path, device: torch.device | str = "cpu"
) -> list[Teacher]:
    """Opens several teachers over one label set.

    Raises:
        InputError: with the faults of all of them, different label sets among them.
    """
    teachers: list[Teacher] = []
    faults: list[str] = [] if specs else ["no teacher given"]
    for spec in specs:
        try:
            teachers.append(open_teacher(spec, data, device))
        except InputError as error:
            faults += error.faults
    for other in teachers[1:]:
        try:
            teachers[0].label_set.require_same(other.label_set, teachers[0].name, other.name)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return teachers


def is_archive(spec: str) -> bool:
    """Whether a teacher's name on the command line means an archive."""
    return spec.startswith(_ARCHIVE)


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


def require_features(model_dir: Path, trained_on: Mapping[str, Any], data_dir: Path) -> None:
    """Refuses features of another kind than a model was trained on.

    Raises:
        InputError: with every option that differs, or if there is no specification.
    """
    here = config_dict(read_spec(data_dir))
    faults = [
        f"{model_dir}: trained on features with {key} {trained_on.get(key)}, {data_dir} has "
        f"{here.get(key)}; name its own features as {model_dir}=FEATURE_DIR"
        for key in sorted(trained_on.keys() | here.keys())
        if trained_on.get(key) != here.get(key)
    ]
    if faults:
        raise InputError(faults)


def same_num_frames(utt_id: str, names: Sequence[str], log_posts: Sequence[Tensor]) -> int:
    """T of one utterance's posteriors (T,V) from several sources.

    Raises:
        InputError: naming the utterance and each source's number of frames if they differ.
    """
    counts = [len(log_post) for log_post in log_posts]
    if len(set(counts)) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in zip(names, counts, strict=True))
        raise InputError(f"{utt_id}: numbers of frames differ: {said}")
    return counts[0]


def _hash_archives(scp: Path) -> list[str]:
    names = {re.sub(r":\d+$", "", rxfile) for rxfile in read_table(scp).values()}
    paths = [Path(name) if Path(name).exists() else scp.parent / name for name in sorted(names)]
    missing = [f"{scp}: no such archive {path}" for path in paths if not path.is_file()]
    if missing:
        raise InputError(missing)
    return [hash_file(path) for path in paths]
