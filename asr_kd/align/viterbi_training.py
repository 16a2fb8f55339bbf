"""Viterbi training of GMMs, from a first alignment to the full number of Gaussians."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import kaldifst
import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from asr_kd.align.folder import count_steps, report_failures
from asr_kd.align.viterbi import Aligner, SearchConfig
from asr_kd.config import Config
from asr_kd.errors import InputError
from asr_kd.features.deltas import add_deltas
from asr_kd.labels.gmm import DiagGmms
from asr_kd.labels.gmm_training import reestimate, single_gaussians, split
from asr_kd.labels.lang import Lang
from asr_kd.labels.topology import Topology
from asr_kd.log import progress

_UNALIGNED = -1
_logger = logging.getLogger("asr_kd.align")


class TrainingConfig(Config):
    """How GMMs are trained.

    Attributes:
        gaussians: total number in all states, reached by splitting.
        iterations: re-estimations.
        growing: iterations during which the number of Gaussians grows.
        realign_always: iterations at the beginning before each of which the data is aligned anew.
        realign_every: after that, the data is aligned before every n-th.
        deltas: order of the time derivatives appended to the features.
        variance_floor: least variance, as a fraction of that of all frames.
        max_frames: frames to train on at most; the shortest utterances are taken where there is
            no alignment yet, others at random.
        seed: of equal alignment, splitting, and utterances at random.
        search: of the alignments.
    """

    gaussians: PositiveInt = 1000
    iterations: PositiveInt = 40
    growing: NonNegativeInt = 30
    realign_always: NonNegativeInt = 10
    realign_every: PositiveInt = 3
    deltas: NonNegativeInt = 2
    variance_floor: PositiveFloat = 0.01
    max_frames: PositiveInt = 2_000_000
    seed: int = 0
    search: SearchConfig = SearchConfig()


class ViterbiTraining:
    """Trains on the utterances of one data directory.

    Args:
        lang: words, phones, topology before training.
        transcripts: utterance id → word numbers.
        feats: utterance id → normalised features (T, F), read once.
        num_frames: utterance id → T, where known before reading.
        config: how to train.
        first: utterance id → pdf-ids (T,) to begin with; utterances without are left out. Without
            it, each state of a transcript gets an equal stretch.

    Attributes:
        gmms: the mixtures so far.
        topology: transition probabilities so far.

    Raises:
        InputError: if not one utterance is long enough for its transcript, or for utterances whose
            first alignment is of another length.
    """

    def __init__(
        self,
        lang: Lang,
        transcripts: Mapping[str, list[int]],
        feats: Mapping[str, NDArray[np.float32]],
        num_frames: Mapping[str, int],
        config: TrainingConfig,
        first: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._config = config
        self._first = first
        self._rng = np.random.default_rng(config.seed)
        self._aligner = Aligner(lang, config.search, transcripts)
        self.topology: Topology = lang.topology
        self._lang = lang
        self._utts: list[str] = []
        self._feats = self._read(feats, num_frames)
        self.gmms: DiagGmms = single_gaussians(self._feats, len(lang.label_set))
        self._floor = config.variance_floor * self._feats.var(axis=0)

    def run(self) -> None:
        """All iterations."""
        config = self._config
        pdf_ids = self._align_equally() if self._first is None else self._align_as(self._first)
        most = len(self.gmms.starts)
        with progress(config.iterations, "train GMMs", "iterations") as advance:
            for i in range(config.iterations):
                if i > 0 and (i <= config.realign_always or i % config.realign_every == 0):
                    pdf_ids = self._realign()
                step = reestimate(self.gmms, self._feats, pdf_ids, self._floor)
                self.gmms = step.gmms
                if i < config.growing:
                    growth = (i + 1) / config.growing
                    wanted = round(most + growth * max(0, config.gaussians - most))
                    self.gmms = split(self.gmms, step.frames, wanted, self._rng)
                _logger.debug("iteration %d: %.3f nats per frame, %d Gaussians",
                             i + 1, step.log_like, len(self.gmms.weights))  # fmt: skip
                advance(1)
        _logger.info("%d Gaussians in %d states, %.3f nats per frame",
                     len(self.gmms.weights), most, step.log_like)  # fmt: skip
        unseen = np.flatnonzero(step.frames == 0)
        if len(unseen):
            names = self._lang.label_set.shown(unseen)
            _logger.warning("%d states without training frames: %s", len(unseen), names)

    def _order(self, num_frames: Mapping[str, int]) -> list[str]:
        """The utterances that may be trained on, those to prefer first."""
        transcripts = self._aligner.transcripts
        if self._first is None:
            return sorted(transcripts, key=lambda u: (num_frames.get(u, 0), u))
        utt_ids = sorted(utt_id for utt_id in transcripts if utt_id in self._first)
        _logger.info("%d of %d utterances are aligned", len(utt_ids), len(transcripts))
        self._rng.shuffle(utt_ids)
        return utt_ids

    def _read(
        self, feats: Mapping[str, NDArray[np.float32]], num_frames: Mapping[str, int]
    ) -> NDArray[np.float32]:
        """Features with deltas, (N, D), of the utterances to train on."""
        utt_ids = self._order(num_frames)
        failed: dict[str, str] = {}
        parts, total = [], 0
        with progress(len(utt_ids), "read features") as advance:
            for utt_id in utt_ids:
                if total >= self._config.max_frames:
                    break
                raw = feats[utt_id]
                advance(1)
                if reason := self._aligner.obstacle(utt_id, len(raw)):
                    failed[utt_id] = reason
                    continue
                parts.append(add_deltas(raw, self._config.deltas))
                self._utts.append(utt_id)
                total += len(raw)
        report_failures(failed, len(utt_ids))
        if not utt_ids:
            raise InputError("no utterance with a transcript is aligned")
        if not parts:
            raise InputError([f"{u}: cannot be aligned: {reason}" for u, reason in failed.items()])
        _logger.info("training on %d utterances, %d frames", len(self._utts), total)
        self._stretches = np.cumsum([0, *(len(part) for part in parts)])
        return np.concatenate(parts)

    def _stretch(self, i: int) -> slice:
        return slice(self._stretches[i], self._stretches[i + 1])

    def _align_equally(self) -> NDArray[np.int32]:
        """(N,) pdf-ids of a random path through each transcript whose states last equally long."""
        pdf_ids = np.full(len(self._feats), _UNALIGNED, np.int32)
        for i, utt_id in enumerate(self._utts):
            frames = self._stretch(i)
            graph = self._aligner.graph(utt_id)
            seed = int(self._rng.integers(1 << 30))
            found, path = kaldifst.equal_align(graph, frames.stop - frames.start, seed, 100)
            if found:
                pdf_ids[frames] = np.array(kaldifst.get_linear_symbol_sequence(path)[1]) - 1
        return pdf_ids

    def _align_as(self, first: Mapping[str, NDArray[Any]]) -> NDArray[np.int32]:
        """(N,) pdf-ids as given; estimates the transition probabilities from them."""
        given = [np.asarray(first[utt_id], np.int32) for utt_id in self._utts]
        lengths = np.diff(self._stretches).tolist()
        if faults := [
            f"{utt_id}: {len(pdf_ids)} labels for {length} frames of features"
            for utt_id, pdf_ids, length in zip(self._utts, given, lengths, strict=True)
            if len(pdf_ids) != length
        ]:
            raise InputError(faults)
        self._count(given)
        return np.concatenate(given)

    def _count(self, alignments: Iterable[NDArray[np.int32]]) -> None:
        """Re-estimates the transition probabilities."""
        steps: Counter[tuple[int, int]] = Counter()
        for pdf_ids in alignments:
            steps.update(count_steps(pdf_ids))
        self.topology = self._lang.trained(steps)
        self._aligner = Aligner(
            replace(self._lang, topology=self.topology),
            self._config.search,
            self._aligner.transcripts,
        )

    def _realign(self) -> NDArray[np.int32]:
        """(N,) pdf-ids of the best paths; re-estimates the transition probabilities."""
        pdf_ids = np.full(len(self._feats), _UNALIGNED, np.int32)
        aligned_as = []
        failed: dict[str, str] = {}
        for i, utt_id in enumerate(self._utts):
            frames = self._stretch(i)
            labels = self._aligner.labels(utt_id)
            scores = self.gmms.log_likes(self._feats[frames], labels)
            aligned = self._aligner.align(utt_id, scores)
            if aligned.pdf_ids is None:
                failed[utt_id] = aligned.reason
                continue
            pdf_ids[frames] = aligned.pdf_ids
            aligned_as.append(aligned.pdf_ids)
        if len(failed) == len(self._utts):
            raise InputError([f"{u}: cannot be aligned: {reason}" for u, reason in failed.items()])
        if failed:
            _logger.info("%d utterances not aligned in this iteration", len(failed))
        self._count(aligned_as)
        return pdf_ids
