"""Teachers that are files: archives of matrices or of Kaldi's posteriors, keyed by utterance."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.artefact import hash_file, hash_json
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import Archive, archives_of
from asr_kd.io.kaldi.archive import index_matrices, read_objects
from asr_kd.io.kaldi.posteriors import read_posterior
from asr_kd.io.kaldi.stream import Bytes, KaldiReader, read_file
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet

TRANSITIONS = "transition_ids.json"
"""In what `import-kaldi` makes: the label of each transition-id."""
Unnormalised = Literal["softmax"]
_SUM_TOLERANCE = 0.01  # Kaldi's 8-bit archives are this inexact
_PRUNED_TOLERANCE = 0.5  # Kaldi's logprob-to-post prunes at random: a sum is 1 on average only


class ArchiveTeacher:
    """Log-posteriors in Kaldi archives, keyed by utterance, from whatever made them.

    Args:
        path: the archives' table (.scp), or one archive.
        labels: JSON of the label set; column i of each matrix is label i.
        unnormalised: "softmax" takes rows of any scores, such as a chain model's, and makes
            posteriors of them by a softmax; by default they must be log-posteriors.

    Raises:
        InputError: for faults of either file, or a missing archive.
    """

    def __init__(self, path: Path, labels: Path, unnormalised: Unnormalised | None = None) -> None:
        self.name = f"ark:{path}"
        self.label_set = LabelSet.load(labels)
        self.unnormalised = unnormalised
        is_table = path.suffix == ".scp"
        self._archive = Archive(read_table(path) if is_table else index_matrices(path), path)
        self.utt_ids: Collection[str] = self._archive.keys()
        self.num_frames: Mapping[str, int] = {}
        self.spec: FeatureSpec | None = None
        self.frame_shift_ms: float | None = None
        self.trained_on: frozenset[str] | None = None
        content = [hash_file(path), self.label_set.digest]
        content += [hash_file(file) for file in archives_of(path)] if is_table else []
        content += [unnormalised] if unnormalised else []
        self.digest = hash_json(content)

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
        if self.unnormalised is None:
            self._require_posteriors(utt, matrix)
        elif not bool(torch.isfinite(matrix.logsumexp(1)).all()):
            raise InputError(f"{self.name}: {utt}: a row has no softmax: NaN or infinity in it")
        return torch.log_softmax(matrix, dim=-1)

    def _require_posteriors(self, utt: str, matrix: Tensor) -> None:
        totals = matrix.double().exp().sum(1)
        wrong = torch.nonzero(~((totals - 1).abs() <= _SUM_TOLERANCE)).flatten()  # NaN is wrong too
        if len(wrong):
            frame = int(wrong[0])
            raise InputError(
                f"{self.name}: {utt}: frame {frame}: exp of the row adds up to "
                f"{float(totals[frame]):.4g}, expected 1: natural-log posteriors, neither "
                f"probabilities nor divided by priors ({len(wrong)} of {len(matrix)} frames); "
                f"a chain model's scores need --unnormalised softmax"
            )


class PosteriorTeacher:
    """Kaldi's Posterior archives: the few labels of each frame that have a probability.

    Rows are scaled to add up to 1; what an archive does not name has probability 0.

    Args:
        path: one archive, gzipped or not, or a table (.scp) of archives.
        labels: JSON of the label set whose indices the archive holds; or, for transition-ids, the
            output of `import-kaldi`, whose labels they become.
        transition_ids: which of the two.

    Raises:
        InputError: for faults of either file, or a missing archive.
    """

    def __init__(self, path: Path, labels: Path, transition_ids: bool) -> None:
        self.name = f"{'transition-post' if transition_ids else 'post'}:{path}"
        self._label_of: NDArray[np.int64] | None = None
        if transition_ids:
            self.label_set = LabelSet.load(labels / "labels.json")
            self._label_of = _label_of(labels / TRANSITIONS, self.label_set)
        else:
            self.label_set = LabelSet.load(labels)
        files = archives_of(path) if path.suffix == ".scp" else [path]
        self._data: list[Bytes] = [read_file(file) for file in files]
        self._places: dict[str, tuple[int, int]] = {}
        num_frames: dict[str, int] = {}
        for number, file in enumerate(files):
            reader = KaldiReader(self._data[number], str(file))
            reader.position = 0
            for utt, start, posterior in read_objects(reader, read_posterior):
                self._places[utt] = (number, start)
                num_frames[utt] = len(posterior.counts)
        self.num_frames: Mapping[str, int] = num_frames
        self._files = files
        self.utt_ids: Collection[str] = self._places.keys()
        self.spec: FeatureSpec | None = None
        self.frame_shift_ms: float | None = None
        self.trained_on: frozenset[str] | None = None
        content = [self.label_set.digest, transition_ids, *(hash_file(file) for file in files)]
        self.digest = hash_json(content)

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T,V) of each utterance; -inf where the archive has nothing.

        Raises:
            InputError: naming utterance and frame, for unknown labels and what is no distribution.
        """
        return [self._log_post(utt) for utt in utt_ids]

    def _log_post(self, utt: str) -> Tensor:
        if utt not in self._places:
            raise InputError(f"{self.name}: no posteriors of {utt}")
        number, start = self._places[utt]
        reader = KaldiReader(self._data[number], str(self._files[number]), start)
        posterior = read_posterior(reader)
        frames = np.repeat(np.arange(len(posterior.counts)), posterior.counts)
        labels = self._labels(utt, posterior.indices, frames)
        probs = np.zeros((len(posterior.counts), len(self.label_set)))
        np.add.at(probs, (frames, labels), posterior.weights.astype(np.float64))
        totals = probs.sum(1, keepdims=True)
        sound = (np.abs(totals[:, 0] - 1) <= _PRUNED_TOLERANCE) & (probs >= 0).all(1)
        if not sound.all():
            frame = int(np.flatnonzero(~sound)[0])
            raise InputError(
                f"{self.name}: {utt}: frame {frame}: its weights add up to "
                f"{totals[frame, 0]:.4g}, or are negative; expected posteriors, not weighted by "
                f"weight-silence-post and the like ({(~sound).sum()} of {len(probs)} frames)"
            )
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(probs / totals).astype(np.float32))

    def _labels(
        self, utt: str, indices: NDArray[np.int32], frames: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Labels of the archive's indices."""
        least, most, what = 0, len(self.label_set) - 1, "labels"
        if self._label_of is not None:
            least, most, what = 1, len(self._label_of) - 1, "transition-ids"
        wrong = np.flatnonzero((indices < least) | (indices > most))
        if len(wrong):
            raise InputError(
                f"{self.name}: {utt}: frame {frames[wrong[0]]}: index {indices[wrong[0]]}; there "
                f"are {what} {least} to {most}"
            )
        return indices.astype(np.int64) if self._label_of is None else self._label_of[indices]


def _label_of(path: Path, label_set: LabelSet) -> NDArray[np.int64]:
    """(N + 1,) label of each transition-id; entry 0 is unused."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        labels = np.array([0, *stored["pdf_of"][1:]], np.int64)
        digest = stored["label_set"]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the output of import-kaldi") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: damaged ({error}); import the experiment again") from None
    if digest != label_set.digest or labels.min() < 0 or labels.max() >= len(label_set):
        raise InputError(f"{path}: of another label set than the labels.json beside it")
    return labels
