"""Mixtures of diagonal Gaussians, one for each HMM state."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from asr_kd.artefact import hash_json
from asr_kd.errors import InputError
from asr_kd.features.deltas import add_deltas
from asr_kd.features.reader import CmvnMode
from asr_kd.io.atomic import replacing, write_text
from asr_kd.labels.label_set import LabelSet

WEIGHTS = "gmm.safetensors"
DESCRIPTION = "gmm.json"
_FORMAT = "asr_kd.gmm/1"


@dataclass(frozen=True)
class DiagGmms:
    """V mixtures whose G Gaussians stand in one array, those of a label side by side.

    Attributes:
        starts: (V,) int64, each label's first Gaussian; starts[0] is 0, each label has one or more.
        weights: (G,) float32, summing to 1 in each label.
        means: (G, D) float32.
        variances: (G, D) float32.
    """

    starts: NDArray[np.int64]
    weights: NDArray[np.float32]
    means: NDArray[np.float32]
    variances: NDArray[np.float32]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(V,) Gaussians of each label."""
        return np.diff(np.append(self.starts, len(self.weights)))

    @cached_property
    def _linear(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        # log N(x) = constant + [x, x²]·[μ/σ², −1/(2σ²)]: one matrix product for all Gaussians.
        means, variances = self.means.astype(np.float64), self.variances.astype(np.float64)
        factors = np.concatenate([means / variances, -0.5 / variances], axis=1)
        constants = (
            np.log(self.weights.astype(np.float64))
            - 0.5 * np.log(2 * np.pi * variances).sum(axis=1)
            - 0.5 * (means**2 / variances).sum(axis=1)
        )
        return factors.astype(np.float32), constants.astype(np.float32)

    def weighted_log_likes(
        self, feats: NDArray[np.float32], gaussians: slice | NDArray[np.int64] = slice(None)
    ) -> NDArray[np.float32]:
        """Log of weight times density, (G, T), of (T, D) feats under some or all Gaussians."""
        factors, constants = self._linear
        squares = np.concatenate([feats, feats**2], axis=1)
        return factors[gaussians] @ squares.T + constants[gaussians, None]

    def log_likes(
        self, feats: NDArray[np.float32], labels: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """Natural-log likelihoods, (T, V), of (T, D) feats.

        Args:
            feats: the frames.
            labels: the only ones wanted, if not all: the others' columns are -inf.
        """
        if labels is None:
            return np.ascontiguousarray(self._log_likes(feats, slice(None), self.sizes).T)
        sizes = self.sizes[labels]
        ends = np.cumsum(sizes)
        gaussians = np.repeat(self.starts[labels] - ends + sizes, sizes) + np.arange(sizes.sum())
        scores = np.full((len(feats), len(self.starts)), -np.inf, np.float32)
        scores[:, labels] = self._log_likes(feats, gaussians, sizes).T
        return scores

    def _log_likes(
        self,
        feats: NDArray[np.float32],
        gaussians: slice | NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Log-likelihoods, (v, T), of v labels by their Gaussians, so many for each."""
        starts = np.cumsum(sizes) - sizes
        each = self.weighted_log_likes(feats, gaussians)
        most = np.maximum.reduceat(each, starts, axis=0)
        each -= np.repeat(most, sizes, axis=0)
        np.exp(each, out=each)
        total = np.add.reduceat(each, starts, axis=0)
        return np.asarray(np.log(total) + most)


@dataclass(frozen=True)
class GmmModel:
    """GMMs with what their use needs: an acoustic model that gives likelihoods, not posteriors.

    Attributes:
        gmms: the mixtures.
        label_set: what they stand for.
        cmvn: the normalisation that `FeatureReader` does before.
        deltas: order of the time derivatives appended to feats, 0 for none.
        features: description of the features, as in feature.json.
    """

    gmms: DiagGmms
    label_set: LabelSet
    cmvn: CmvnMode
    deltas: int
    features: dict[str, Any]

    def log_likes(
        self, feats: NDArray[np.float32], labels: NDArray[np.integer] | None = None
    ) -> NDArray[np.float32]:
        """Natural-log likelihoods, (T, V), of (T, F) feats as `FeatureReader` gives them.

        Args:
            feats: the frames.
            labels: the only ones wanted, if not all: the others' columns are -inf.

        Raises:
            InputError: if F is not what the model was trained on.
        """
        dim = self.gmms.means.shape[1] // (self.deltas + 1)
        if feats.ndim != 2 or feats.shape[1] != dim:
            raise InputError(f"features of shape {feats.shape} for a GMM of {dim} dimensions")
        return self.gmms.log_likes(add_deltas(feats, self.deltas), labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes the model's output or its meaning."""
        arrays = [a.tobytes().hex() for a in self._arrays().values()]
        return hash_json([self._description(), arrays])

    @property
    def num_params(self) -> int:
        """Free numbers: weights, means and variances."""
        return self.gmms.weights.size + self.gmms.means.size + self.gmms.variances.size

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            name: np.ascontiguousarray(getattr(self.gmms, name))
            for name in ("starts", "weights", "means", "variances")
        }

    def _description(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "cmvn": self.cmvn,
            "deltas": self.deltas,
            "features": self.features,
            "label_set": self.label_set.to_dict(),
        }

    def save(self, folder: Path) -> None:
        """Writes both files, each atomically, the description last."""
        with replacing(Path(folder) / WEIGHTS) as temporary:
            try:
                save_file(self._arrays(), temporary)
            except SafetensorError as error:  # what safetensors makes of an OSError
                raise OSError(f"{Path(folder) / WEIGHTS}: {error}") from error
        write_text(Path(folder) / DESCRIPTION, json.dumps(self._description(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "GmmModel":
        """Reads a model.

        Raises:
            InputError: if a file is missing or corrupt, or if the two do not belong together.
        """
        folder = Path(folder)
        try:
            stored = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            arrays = load_file(folder / WEIGHTS)
            gmms = DiagGmms(**arrays)
            model = cls(
                gmms,
                LabelSet.from_dict(stored["label_set"], str(folder / DESCRIPTION)),
                stored["cmvn"],
                int(stored["deltas"]),
                stored["features"],
            )
        except FileNotFoundError as error:
            raise InputError(f"{folder}: not a GMM folder: no {error.filename}") from None
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise InputError(f"{folder}: corrupt GMM ({error}); make it again") from error
        shapes_agree = (
            len(gmms.starts) == len(model.label_set)
            and gmms.means.shape == gmms.variances.shape
            and gmms.weights.shape == gmms.means.shape[:1]
            and gmms.means.shape[1] % (model.deltas + 1) == 0
            and gmms.starts[0] == 0
            and (gmms.sizes > 0).all()
        )
        finite = all(np.isfinite(a).all() for a in arrays.values())
        if not shapes_agree or not finite or not (gmms.variances > 0).all():
            raise InputError(
                f"{folder}: {WEIGHTS} and {DESCRIPTION} do not belong together, or hold numbers "
                f"that are none; make them again"
            )
        return model
