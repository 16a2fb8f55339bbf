"""Features joined with alignments or token sequences, and batches of them."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FeatureSpec, read_spec, require_same_input
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import read_ali_labels
from asr_kd.models.checkpoint import Checkpoint, CmvnMode
from asr_kd.train.augment import Augment, keep_spikes, tile
from asr_kd.train.labels import FrameRate, Labels, read_labels
from asr_kd.train.selection import FrameSelection

_CACHE_BYTES = 2 << 30  # features up to this size stay in memory; larger sets are read as needed


class AlignedData:
    """The utterances of a feature directory that a folder labels.

    Utterances without labels are skipped, counted and logged.

    Args:
        data_dir: the feature directory.
        ali_dir: an alignment, token sequences, or both; and the label set.
        cmvn: normalisation before the model.
        labelled: False for data without transcripts: all utterances are taken, of `ali_dir` only
            the label set.
        rate: frames of the model for those of the features.

    Raises:
        InputError: every alignment of another length than the model's frames or with labels
            outside of the label set; NaN features, when they are read.

    Attributes:
        num_frames: of the features of each utterance (N,).
        num_outputs: frames of the model for each utterance (N,).
        has_alignment: whether frames have labels; otherwise every one has the label -1, which no
            loss can mistake for one.
        has_tokens: whether utterances have token sequences.
        left_out: utterance id → why: too few frames for its tokens.
    """

    def __init__(
        self,
        data_dir: Path,
        ali_dir: Path,
        cmvn: CmvnMode,
        labelled: bool = True,
        rate: FrameRate = FrameRate(),
    ) -> None:
        data = DataDir.read(data_dir, require=("utt2spk", "feats"))
        self.path = Path(data_dir)
        self.ali_dir = Path(ali_dir)
        self.cmvn: CmvnMode = cmvn
        self.label_set: LabelSet = read_ali_labels(ali_dir)
        self.spec: FeatureSpec = read_spec(data_dir)
        self.reader = FeatureReader(data, cmvn)
        self.subsampling = rate.subsampling

        def count_frames(utt: str) -> int:
            known = data.num_frames.get(utt)
            return len(self.reader[utt]) if known is None else known

        if labelled:
            labels = read_labels(self.ali_dir, self.label_set, data, count_frames, rate)
        else:
            labels = Labels({utt: count_frames(utt) for utt in data.utt_ids}, None, None, {})
        self.utt_ids, self.left_out = list(labels.num_frames), labels.left_out
        self.has_alignment, self.has_tokens = labels.pdf_ids is not None, labels.tokens is not None
        self.originals = frozenset(data.original(utt, utt) for utt in self.utt_ids)
        self._pdf_ids = list((labels.pdf_ids or {}).values())
        self._tokens = list((labels.tokens or {}).values())
        self.num_frames = np.array(list(labels.num_frames.values()), dtype=np.int64)
        self.num_outputs = -(-self.num_frames // self.subsampling)
        self.input_dim = self.reader[self.utt_ids[0]].shape[1]
        self._cached: dict[int, NDArray[np.float32]] = {}
        self._caches = 4 * self.input_dim * int(self.num_frames.sum()) <= _CACHE_BYTES

    @property
    def input(self) -> dict[str, Any]:
        """What a model has to fit: dimensions, normalisation, and the features' options."""
        return _input(self.input_dim, self.cmvn, self.spec)

    def require_fits(self, checkpoint: Checkpoint, name: str) -> None:
        """Refuses a model of other labels or other features.

        Raises:
            InputError: with both values of what differs.
        """
        checkpoint.label_set.require_same(self.label_set, name, str(self.ali_dir))
        theirs = _input(checkpoint.model.input_dim, checkpoint.cmvn, checkpoint.spec)
        require_same_input(name, theirs, str(self.path), self.input)

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
        """Labels (T',) of an utterance; -1 where they are not known."""
        if not self.has_alignment:
            return np.full(self.num_outputs[index], -1, dtype=np.int32)
        return self._pdf_ids[index]

    def tokens(self, index: int) -> NDArray[np.int32]:
        """Tokens (L,) of an utterance; none where they are not known."""
        return self._tokens[index] if self.has_tokens else np.zeros(0, np.int32)

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
        outputs: valid frames of the model (B,), ⌈lengths/subsampling⌉.
        counted: the model's frames that the loss counts (B,T') bool, all of them valid.
        pdf_ids: labels (N,); -1 where they are not known.
        tokens: token sequences (B,L), padded with 0.
        token_lengths: valid tokens (B,).
        mixed_pdf_ids: labels (N,) of the utterances mixed in; None where nothing is.
        mix_weight: share (N,) of `pdf_ids` against `mixed_pdf_ids`; None likewise.
        source: for each row, the model's frame on the stored features that is nearest to each
            counted frame.
    """

    utt_ids: list[str]
    feats: Tensor
    lengths: Tensor
    outputs: Tensor
    counted: Tensor
    pdf_ids: Tensor
    tokens: Tensor
    token_lengths: Tensor
    mixed_pdf_ids: Tensor | None
    mix_weight: Tensor | None
    source: list[NDArray[np.int64]]

    def to(self, device: torch.device) -> "Batch":
        """The same batch, its tensors on `device`."""
        return replace(
            self,
            feats=self.feats.to(device),
            lengths=self.lengths.to(device),
            outputs=self.outputs.to(device),
            tokens=self.tokens.to(device),
            token_lengths=self.token_lengths.to(device),
            counted=self.counted.to(device),
            pdf_ids=self.pdf_ids.to(device),
            mixed_pdf_ids=None if self.mixed_pdf_ids is None else self.mixed_pdf_ids.to(device),
            mix_weight=None if self.mix_weight is None else self.mix_weight.to(device),
        )


def plain_batch(
    data: AlignedData, indices: Sequence[int], selection: FrameSelection | None = None
) -> Batch:
    """Utterances as they are; all frames count, or by the selection always the same ones."""
    labels = [data.pdf_ids(i) for i in indices]
    counts = [
        np.full(len(row), True) if selection is None else selection(row, np.random.default_rng(i))
        for i, row in zip(indices, labels, strict=True)
    ]
    pdf_ids = [row[counted] for row, counted in zip(labels, counts, strict=True)]
    source = [np.flatnonzero(counted) for counted in counts]
    return _batch(data, indices, [data.feats(i) for i in indices], counts, pdf_ids, source)


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
        source = output_frames(source, data.subsampling)
        labels = others = _labels_at(data, index, source)
        share = augment.mix_weight(rng)
        if share < 1.0:
            other = int(rng.integers(len(data)))
            other_feats, other_source = augment.perturb(data.feats(other), rng)
            other_feats, tiled = tile(other_feats, len(feats))
            feats = np.float32(share) * feats + np.float32(1 - share) * other_feats
            other_source = output_frames(other_source[tiled], data.subsampling)
            others = data.pdf_ids(other)[other_source]
        rows.append(augment.mask(feats, rng))
        counted = selection(labels, rng)
        counts.append(counted)
        sources.append(source[counted])
        first.append(labels[counted])
        second.append(others[counted])
        shares.append(np.full(int(counted.sum()), share, dtype=np.float32))
    batch = _batch(data, indices, rows, counts, first, sources)
    if not any((share < 1.0).any() for share in shares):
        return batch
    weight = torch.from_numpy(np.concatenate(shares))
    return replace(batch, mixed_pdf_ids=_labels(second), mix_weight=weight)


def _labels_at(data: AlignedData, index: int, source: NDArray[np.int64]) -> NDArray[np.int32]:
    """Labels of an utterance at its frames `source` (T',)."""
    pdf_ids = data.pdf_ids(index)
    if data.has_alignment and data.label_set.is_ctc:
        source = keep_spikes(source, pdf_ids)
    return pdf_ids[source]


def output_frames(source: NDArray[np.int64], subsampling: int) -> NDArray[np.int64]:
    """For each frame of a model's, the nearest one of its frames on the stored features.

    Args:
        source: of each frame of the features the nearest stored one (T,).
        subsampling: frames of the features for one of the model's; its middle one is looked at.

    Returns:
        (⌈T/subsampling⌉,).
    """
    middle = np.arange(0, len(source), subsampling) + (subsampling - 1) // 2
    return source[np.minimum(middle, len(source) - 1)] // subsampling


def _batch(
    data: AlignedData,
    indices: Sequence[int],
    feats: Sequence[NDArray[np.float32]],
    counts: Sequence[NDArray[np.bool_]],
    pdf_ids: Sequence[NDArray[np.int32]],
    source: list[NDArray[np.int64]],
) -> Batch:
    padded, lengths = _pad(feats)
    tokens = [torch.from_numpy(data.tokens(i).astype(np.int64)) for i in indices]
    return Batch(
        [data.utt_ids[i] for i in indices],
        padded,
        lengths,
        torch.tensor([len(counted) for counted in counts]),
        pad_sequence([torch.from_numpy(counted) for counted in counts], batch_first=True),
        _labels(pdf_ids),
        pad_sequence(tokens, batch_first=True),
        torch.tensor([len(row) for row in tokens]),
        None,
        None,
        source,
    )


def _input(input_dim: int, cmvn: CmvnMode, spec: FeatureSpec) -> dict[str, Any]:
    return {"dimensions": input_dim, "cmvn": cmvn, **config_dict(spec)}


def _pad(rows: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    lengths = [len(row) for row in rows]
    padded = np.zeros((len(rows), max(lengths), rows[0].shape[1]), dtype=np.float32)
    for b, row in enumerate(rows):
        padded[b, : len(row)] = row
    return torch.from_numpy(padded), torch.tensor(lengths)


def _labels(rows: Sequence[NDArray[np.int32]]) -> Tensor:
    return torch.from_numpy(np.concatenate(rows).astype(np.int64))
