"""Features by utterance id, checked and normalised."""

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from asr_kd.data.directory import DataDir
from asr_kd.data.tables import FILES
from asr_kd.errors import InputError
from asr_kd.features.cmvn import apply_cmvn, cmvn_stats
from asr_kd.io.ark import Archive

Floats = NDArray[np.float32]
CmvnMode = Literal["global", "speaker", "utterance"]


class FeatureReader(Mapping[str, Floats]):
    """The features of a feature directory, float32 (T, F).

    Args:
        data: the directory; it must have feats, and cmvn for the mode "speaker".
        cmvn: what mean and variance are normalised over; "global" leaves the features as they are,
            since a model's own input normalisation does that.

    Raises:
        InputError: if a table is missing.
    """

    def __init__(self, data: DataDir, cmvn: CmvnMode) -> None:
        self.data = data
        self.cmvn = cmvn
        needed = {"feats": data.feats} | ({"cmvn": data.cmvn} if cmvn == "speaker" else {})
        faults = [
            f"{data.path / FILES[name]}: needed, but not there; make a feature directory with "
            f"`asr-kd make-feats {data.path} --out DIR`"
            for name, table in needed.items()
            if not table
        ]
        if faults:
            raise InputError(faults)
        self._archive = Archive(data.feats, data.path / FILES["feats"])
        self._stats = Archive(data.cmvn, data.path / FILES["cmvn"])
        self._stats_of: dict[str, Floats] = {}

    def __getitem__(self, utt_id: str) -> Floats:
        """Features of an utterance.

        Raises:
            InputError: naming utterance and file, if they cannot be read, are no matrix with
                frames, or hold NaN or infinity.
        """
        feats = np.asarray(self._archive[utt_id], dtype=np.float32)
        if fault := matrix_fault(feats):
            raise InputError(f"{self.data.feats[utt_id]}: {utt_id}: {fault}")
        if self.cmvn == "utterance":
            return apply_cmvn(feats, cmvn_stats(feats))
        if self.cmvn == "speaker":
            return apply_cmvn(feats, self._speaker_stats(utt_id, feats.shape[1]))
        return feats

    def _speaker_stats(self, utt_id: str, dim: int) -> Floats:
        speaker = self.data.utt2spk[utt_id]
        if speaker not in self._stats_of:
            self._stats_of[speaker] = np.asarray(self._stats[speaker], dtype=np.float32)
        stats = self._stats_of[speaker]
        if stats.shape != (2, dim + 1) or not stats[0, -1] > 0:
            raise InputError(
                f"{self.data.cmvn[speaker]}: {speaker}: statistics {stats.shape} of "
                f"{stats.flat[dim] if stats.size > dim else 0} frames, expected {(2, dim + 1)} for "
                f"the features of {utt_id}"
            )
        return stats

    def __iter__(self) -> Iterator[str]:
        """The utterance ids, sorted."""
        return iter(self.data.utt_ids)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.data.utt2spk)

    def __contains__(self, utt_id: object) -> bool:
        """Whether there is such an utterance; reads no features."""
        return utt_id in self.data.utt2spk


def matrix_fault(feats: NDArray[np.floating]) -> str | None:
    """What is wrong with a matrix that should be features: its shape, NaN or infinity."""
    if feats.ndim != 2 or 0 in feats.shape:
        return f"expected frames x coefficients, not an array of shape {feats.shape}"
    if not np.isfinite(feats).all():
        frame, column = np.argwhere(~np.isfinite(feats))[0]
        return f"{feats[frame, column]} in frame {frame}, coefficient {column}"
    return None
