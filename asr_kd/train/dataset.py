"""Features joined with alignments, and batches of them."""

import logging
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, read_spec
from asr_kd.io.ark import Archive
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import read_ali_labels
from asr_kd.models.checkpoint import Checkpoint, CmvnMode
from asr_kd.train.augment import Augment, tile
from asr_kd.train.selection import FrameSelection

_CACHE_BYTES = 2 << 30  # features up to this size stay in memory; larger sets are read as needed
_logger = logging.getLogger("asr_kd.train")


class AlignedData:
    """The utterances of a feature directory that an alignment labels.

    Utterances without an alignment are skipped, counted and logged.

    Args:
        data_dir: the feature directory.
        ali_dir: alignment and label set.
        cmvn: normalisation before the model.
        labelled: False for data without transcripts: all utterances are taken, of `ali_dir` only
            the label set, and every frame has the label -1, which no loss can mistake for one.

    Raises:
        InputError: every alignment of another length than its features or with labels outside of
            the label set; NaN features, when they are read.
    """

    def __init__(
        self, data_dir: Path, ali_dir: Path, cmvn: CmvnMode, labelled: bool = True
    ) -> None:
        data = DataDir.read(data_dir, require=("utt2spk", "feats"))
        self.path = Path(data_dir)
        self.ali_dir = Path(ali_dir)
        self.cmvn: CmvnMode = cmvn
        self.label_set: LabelSet = read_ali_labels(ali_dir)
        self.spec: FeatureSpec = read_spec(data_dir)
        self.reader = FeatureReader(data, cmvn)
        labels = self._alignment(data) if labelled else self._no_labels(data)
        self.utt_ids, self._pdf_ids = list(labels), list(labels.values())
        self.num_frames = np.array([len(pdf_ids) for pdf_ids in self._pdf_ids], dtype=np.int64)
        if labelled:
            self._check(data)
        self.input_dim = self.reader[self.utt_ids[0]].shape[1]
        self._cached: dict[int, NDArray[np.float32]] = {}
        self._caches = 4 * self.input_dim * int(self.num_frames.sum()) <= _CACHE_BYTES

    def _alignment(self, data: DataDir) -> dict[str, NDArray[np.int32]]:
        ali = Archive.read(Path(self.ali_dir) / "ali.scp")
        aligned = [utt for utt in data.utt_ids if utt in ali]
        if not aligned:
            raise InputError(
                f"{self.ali_dir}: aligns none of the {len(data.utt_ids)} of {data.path}"
            )
        skipped = [utt for utt in data.utt_ids if utt not in ali]
        if skipped:
            _logger.warning(
                "%s: %d of %d utterances skipped, which %s does not align: %s",
                data.path, len(skipped), len(data.utt_ids), self.ali_dir, ", ".join(skipped[:5]),
            )  # fmt: skip
        return {utt: np.asarray(ali[utt], dtype=np.int32) for utt in aligned}

    def _no_labels(self, data: DataDir) -> dict[str, NDArray[np.int32]]:
        lengths = {utt: data.num_frames.get(utt) or len(self.reader[utt]) for utt in data.utt_ids}
        return {utt: np.full(n, -1, dtype=np.int32) for utt, n in lengths.items()}

    def _check(self, data: DataDir) -> None:
        faults = []
        for utt, labels in zip(self.utt_ids, self._pdf_ids, strict=True):
            expected = data.num_frames.get(utt)
            if expected is None:
                expected = len(self.reader[utt])
            if len(labels) != expected or expected == 0:
                faults.append(
                    f"{self.ali_dir}: {utt}: {len(labels)} labels for {expected} frames in "
                    f"{data.path}; align these features again"
                )
            elif labels.min() < 0 or labels.max() >= len(self.label_set):
                faults.append(
                    f"{self.ali_dir}: {utt}: label {labels.min()} to {labels.max()} outside of the "
                    f"label set of {len(self.label_set)}"
                )
        if faults:
            raise InputError(faults)

    def describe_input(self) -> str:
        """What a model has to fit, for messages."""
        return f"{self.path} has {_describe(self.input_dim, self.cmvn, self.spec)}"

    def require_fits(self, checkpoint: Checkpoint, name: str) -> None:
        """Refuses a model of other labels or other features.

        Raises:
            InputError: with both values.
        """
        checkpoint.label_set.require_same(self.label_set, name, str(self.ali_dir))
        theirs = _describe(checkpoint.model.input_dim, checkpoint.cmvn, checkpoint.spec)
        if theirs != _describe(self.input_dim, self.cmvn, self.spec):
            raise InputError(f"features differ: {name} takes {theirs}; {self.describe_input()}")

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utt_ids)

    def feats(self, index: int) -> NDArray[np.float32]:
        """Features (T,F) of an utterance; not to be changed in place."""
        if index in self._cached:
            return self._cached[index]
        utt = self.utt_ids[index]
        feats = self.reader[utt]
        if feats.shape != (self.num_frames[index], self.input_dim):
            expected = (int(self.num_frames[index]), self.input_dim)
            raise InputError(f"{self.path}: {utt}: features {feats.shape}, expected {expected}")
        if self._caches:
            self._cached[index] = feats
        return feats

    def pdf_ids(self, index: int) -> NDArray[np.int32]:
        """Labels (T,) of an utterance."""
        return self._pdf_ids[index]

    def relabelled(self, label_set: LabelSet, new_labels: NDArray[np.int32]) -> "AlignedData":
        """The same utterances with other labels: label i is now `new_labels[i]`."""
        other = copy(self)  # features that are in memory are shared
        other.label_set = label_set
        other._pdf_ids = [new_labels[pdf_ids] for pdf_ids in self._pdf_ids]
        return other


@dataclass(frozen=True)
class Batch:
    """B utterances; frame-level fields run over the N frames together that the loss counts.

    Attributes:
        utt_ids: the utterances.
        feats: perturbed features (B,T,F), zeros on padding.
        lengths: valid frames of each row (B,).
        counted: the frames that the loss counts (B,T) bool, all of them valid.
        pdf_ids: labels (N,).
        mixed_pdf_ids: labels (N,) of the utterances mixed in; None where nothing is.
        mix_weight: share (N,) of `pdf_ids` against `mixed_pdf_ids`; None likewise.
        source: for each row, the frame of the stored features nearest to each counted frame.
    """

    utt_ids: list[str]
    feats: Tensor
    lengths: Tensor
    counted: Tensor
    pdf_ids: Tensor
    mixed_pdf_ids: Tensor | None
    mix_weight: Tensor | None
    source: list[NDArray[np.int64]]

    def to(self, device: torch.device) -> "Batch":
        """The same batch, its tensors on `device`."""
        return replace(
            self,
            feats=self.feats.to(device),
            lengths=self.lengths.to(device),
            counted=self.counted.to(device),
            pdf_ids=self.pdf_ids.to(device),
            mixed_pdf_ids=None if self.mixed_pdf_ids is None else self.mixed_pdf_ids.to(device),
            mix_weight=None if self.mix_weight is None else self.mix_weight.to(device),
        )


def plain_batch(
    data: AlignedData, indices: Sequence[int], selection: FrameSelection | None = None
) -> Batch:
    """Utterances as they are; all frames count, or by the selection always the same ones."""
    padded, lengths = _pad([data.feats(i) for i in indices])
    labels = [data.pdf_ids(i) for i in indices]
    counts = [
        np.full(len(row), True) if selection is None else selection(row, np.random.default_rng(i))
        for i, row in zip(indices, labels, strict=True)
    ]
    pdf_ids = _labels([row[counted] for row, counted in zip(labels, counts, strict=True)])
    source = [np.flatnonzero(counted) for counted in counts]
    utt_ids = [data.utt_ids[i] for i in indices]
    return Batch(utt_ids, padded, lengths, _pad_mask(counts), pdf_ids, None, None, source)


def augmented_batch(
    data: AlignedData,
    indices: Sequence[int],
    augment: Augment,
    selection: FrameSelection,
    seed: int,
    epoch: int,
) -> Batch:
    """Perturbed utterances; the draws of each depend on seed, epoch and utterance only."""
    rows, counts, sources, first, second, shares = [], [], [], [], [], []
    for index in indices:
        rng = np.random.default_rng((seed, epoch, index))
        feats, source = augment.perturb(data.feats(index), rng)
        labels = others = data.pdf_ids(index)[source]
        share = augment.mix_weight(rng)
        if share < 1.0:
            other = int(rng.integers(len(data)))
            other_feats, other_source = augment.perturb(data.feats(other), rng)
            other_feats, tiled = tile(other_feats, len(feats))
            feats = np.float32(share) * feats + np.float32(1 - share) * other_feats
            others = data.pdf_ids(other)[other_source[tiled]]
        rows.append(augment.mask(feats, rng))
        counted = selection(labels, rng)
        counts.append(counted)
        sources.append(source[counted])
        first.append(labels[counted])
        second.append(others[counted])
        shares.append(np.full(int(counted.sum()), share, dtype=np.float32))
    padded, lengths = _pad(rows)
    mixed = any((share < 1.0).any() for share in shares)
    return Batch(
        [data.utt_ids[i] for i in indices],
        padded,
        lengths,
        _pad_mask(counts),
        _labels(first),
        _labels(second) if mixed else None,
        torch.from_numpy(np.concatenate(shares)) if mixed else None,
        sources,
    )


def _describe(input_dim: int, cmvn: CmvnMode, spec: FeatureSpec) -> str:
    return f"{input_dim} dimensions, cmvn {cmvn}, {config_dict(spec)}"


def _pad(rows: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    lengths = [len(row) for row in rows]
    padded = np.zeros((len(rows), max(lengths), rows[0].shape[1]), dtype=np.float32)
    for b, row in enumerate(rows):
        padded[b, : len(row)] = row
    return torch.from_numpy(padded), torch.tensor(lengths)


def _pad_mask(rows: Sequence[NDArray[np.bool_]]) -> Tensor:
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)


def _labels(rows: Sequence[NDArray[np.int32]]) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))
