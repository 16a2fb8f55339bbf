"""The scores that a search needs, from one network, an ensemble, or a GMM: all look alike."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr_kd.data.directory import DataDir
from asr_kd.ensemble.average import Mean, average, mean_weights
from asr_kd.ensemble.costs import Costs, gmm_costs, network_costs, network_latency_ms
from asr_kd.ensemble.described import DescribedTeacher
from asr_kd.ensemble.teachers import (
    NetworkTeacher,
    Teacher,
    is_archive,
    open_teacher,
    open_teachers,
    same_num_frames,
)
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import require_features
from asr_kd.labels import gmm
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.description import model_hash


class Scorer(ABC):
    """Log-likelihoods of a data directory's frames, up to a term of the frame.

    A scorer does not travel between processes; the arguments of `open` do.

    Attributes:
        label_set: the V labels.
        log_prior: (V,) natural log; None for a GMM, whose scores are likelihoods already.
        frame_shift_ms: from frame to frame of the scores, where it is known.
    """

    label_set: LabelSet
    log_prior: NDArray[np.float32] | None
    frame_shift_ms: float | None = None

    @abstractmethod
    def costs(self) -> Costs:
        """What all models cost together."""

    def latency_ms(self) -> float | None:
        """What the models wait for when they stream; None where they cannot, or do not say."""
        return None

    @abstractmethod
    def loglikes(self, utt_id: str) -> NDArray[np.float32]:
        """`log_post − prior_scale·log_prior`, or a GMM's own log-likelihoods: (T,V)."""

    @abstractmethod
    def log_post(self, utt_id: str) -> NDArray[np.float32]:
        """Log-posteriors (T,V) of an utterance.

        Raises:
            InputError: from a GMM, which has none.
        """

    def log_posts(self, utt_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`log_post`, and the log-posteriors (M,T,V) of each model that it is the average of."""
        averaged = self.log_post(utt_id)
        return averaged, averaged[None]

    @staticmethod
    def open(
        models: Sequence[str],
        data: Path,
        prior_scale: float | None = None,
        mean: Mean = "arithmetic",
        weights: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        trust: bool = False,
    ) -> "Scorer":
        """Opens models by their names on the command line.

        Args:
            models: one GMM folder, or one or more trained networks, or models that a `model.yaml`
                describes, with priors unless it is of CTC, as `MODEL` or `MODEL=FEATURE_DIR`; or
                torchaudio's, as `bundle:NAME=UNITS`; or archives of CTC's labels, as
                `open_teacher` takes them.
            data: the feature directory of models that name none.
            prior_scale: of `loglikes`, without effect on a GMM; None: all, of CTC's tokens nothing.
            mean: how the networks' posteriors are averaged.
            weights: of the networks; default equal.
            device: where networks run.
            trust: whether programs that can run any code may be loaded.

        Raises:
            InputError: with all faults of all models, different label sets among them.
        """
        gmms = [spec for spec in models if (_split(spec, data)[0] / gmm.DESCRIPTION).is_file()]
        if gmms and len(models) > 1:
            raise InputError(f"{gmms[0]}: a GMM has no posteriors to average; score it alone")
        if gmms:
            return GmmScorer(*_split(gmms[0], data))
        return NetworkScorer(open_teachers(models, data, device, trust), prior_scale, mean, weights)


class NetworkScorer(Scorer):
    """Networks averaged at T = 1; their label priors are averaged with the same weights.

    Raises:
        InputError: for weights that do not fit, and naming all that come without priors.
    """

    log_prior: NDArray[np.float32]

    def __init__(
        self,
        networks: Sequence[Teacher],
        prior_scale: float | None,
        mean: Mean,
        weights: Sequence[float] | None,
    ) -> None:
        priors, faults = [], []
        for network in networks:
            try:
                priors.append(np.exp(_log_prior(network)))
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        self._networks = networks
        self._mean: Mean = mean
        self._weights = mean_weights(weights, len(networks))
        self.label_set = networks[0].label_set
        # Most frames are blank: without its prior, all other labels would be likely everywhere.
        unset = 0.0 if self.label_set.is_ctc else 1.0
        self._prior_scale = np.float32(unset if prior_scale is None else prior_scale)
        self.frame_shift_ms = networks[0].frame_shift_ms
        self.log_prior = np.log(np.average(priors, axis=0, weights=self._weights), dtype=np.float32)

    def costs(self) -> Costs:
        """See `Scorer`."""
        return network_costs(self._networks)

    def latency_ms(self) -> float | None:
        """See `Scorer`."""
        return network_latency_ms(self._networks)

    def log_post(self, utt_id: str) -> NDArray[np.float32]:
        """See `Scorer`; InputError if models disagree on the number of frames."""
        return average(self._each(utt_id), self._weights, self._mean).cpu().numpy()

    def log_posts(self, utt_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Scorer`."""
        each = self._each(utt_id)
        averaged = average(each, self._weights, self._mean).cpu().numpy()
        return averaged, torch.stack(each).cpu().numpy()

    def _each(self, utt_id: str) -> list[torch.Tensor]:
        each = [network.log_posts([utt_id])[0] for network in self._networks]
        same_num_frames(utt_id, [n.name for n in self._networks], each)
        return each

    def loglikes(self, utt_id: str) -> NDArray[np.float32]:
        """See `Scorer`."""
        return self.log_post(utt_id) - self._prior_scale * self.log_prior


class GmmScorer(Scorer):
    """A GMM and the features it reads.

    Raises:
        InputError: if either cannot be read, or the features are of another kind.
    """

    log_prior = None

    def __init__(self, model_dir: Path, data_dir: Path) -> None:
        self._gmm = gmm.GmmModel.load(model_dir)
        self._folder = model_dir
        require_features(model_dir, self._gmm.features, data_dir)
        data = DataDir.read(data_dir, require=("utt2spk", "feats"))
        self._reader = FeatureReader(data, self._gmm.cmvn)
        self.label_set = self._gmm.label_set

    def costs(self) -> Costs:
        """See `Scorer`."""
        return gmm_costs(self._gmm, self._folder)

    def loglikes(self, utt_id: str) -> NDArray[np.float32]:
        """See `Scorer`."""
        return self._gmm.log_likes(self._reader[utt_id])

    def log_post(self, utt_id: str) -> NDArray[np.float32]:
        """Raises InputError."""
        raise InputError(f"{self._folder}: a GMM gives likelihoods, it has no posteriors")


def _log_prior(network: Teacher) -> NDArray[np.float32]:
    if isinstance(network, NetworkTeacher):
        return network.checkpoint.log_prior
    if isinstance(network, DescribedTeacher) and network.log_prior is not None:
        return network.log_prior
    if network.label_set.is_ctc:
        num_labels = len(network.label_set)
        return np.full(num_labels, -np.log(num_labels), np.float32)
    raise InputError(
        f"{network.name}: comes without the priors that scores need; describe it by a model.yaml "
        f"with `priors`"
    )


def scorer_digest(spec: str, data: Path) -> str:
    """What identifies a model of `Scorer.open`, none of whose weights are loaded for it.

    Raises:
        InputError: if there is nothing by such a name.
    """
    return open_teacher(spec, data).digest if is_archive(spec) else model_hash(spec)


def _split(spec: str, data: Path) -> tuple[Path, Path]:
    model, _, own = spec.partition("=")
    return Path(model), Path(own) if own else data
