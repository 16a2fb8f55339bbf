"""Teachers' n-best lists as targets of whole sequences."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.distill.nbest_lists import VERB, Entry, read_lists
from asr_kd.distill.nbest_loss import nbest_loss, nbest_weights
from asr_kd.errors import InputError
from asr_kd.labels.ctc import frames_needed
from asr_kd.train.config import NbestConfig
from asr_kd.train.dataset import AlignedData, Batch
from asr_kd.train.labels import FrameRate

_SHOWN = 20
_logger = logging.getLogger("asr_kd.train")


class NbestTargets:
    """The lists of the training utterances, and the loss of a batch on them.

    Sequences that need more frames than the student has, at the fastest speed, are left out of
    their lists, counted and named.

    Args:
        folder: output of `dump-nbest`.
        config: the weights of lists and of sequences in them.
        data: the training set.
        fastest: the largest factor of speed that a training draws; at least 1.

    Raises:
        InputError: for lists that cannot be read, of other labels, that lack an utterance, or of
            which no sequence fits.
    """

    def __init__(
        self, folder: Path, config: NbestConfig, data: AlignedData, fastest: float = 1.0
    ) -> None:
        self.config = config
        _, label_set, lists = read_lists(folder)
        data.label_set.require_same(label_set, str(data.ali_dir), str(folder))
        missing = [utt for utt in data.utt_ids if utt not in lists]
        if missing:
            more = [f"and {len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else []
            faults = [f"{folder}: no list of {utt}" for utt in missing[:_SHOWN]]
            advice = f"make lists of these features by `asr-kd {VERB} --data {data.path}`"
            raise InputError([*faults, *more, advice])
        self._tokens: dict[str, list[Tensor]] = {}
        self._scores: dict[str, Tensor] = {}
        rate = FrameRate(data.subsampling, fastest)
        short: list[str] = []
        for utt, num_frames in zip(data.utt_ids, data.num_frames.tolist(), strict=True):
            fitting = _fitting(lists[utt], rate.fewest(num_frames))
            if len(fitting) < len(lists[utt]):
                short.append(f"{utt}: {len(lists[utt]) - len(fitting)} of {len(lists[utt])}")
            self._tokens[utt] = [torch.tensor(e.tokens, dtype=torch.int64) for e in fitting]
            self._scores[utt] = torch.tensor([entry.score for entry in fitting])
        if not any(self._tokens.values()):
            raise InputError(f"{folder}: no sequence fits the frames after subsampling")
        if short:
            _logger.warning(
                "%s: sequences with more tokens than frames after subsampling by %d are left out, "
                "in %d of %d lists: %s%s",
                folder, data.subsampling, len(short), len(data.utt_ids), "; ".join(short[:_SHOWN]),
                "; ..." if len(short) > _SHOWN else "",
            )  # fmt: skip

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """`weight·(−Σ_i w_i·log p(y_i|x))`, summed over the utterances.

        Args:
            logits: of the student (B,T',V).
            batch: the utterances.
        """
        tokens, token_lengths, weights = (x.to(logits.device) for x in self.batch(batch.utt_ids))
        total, _ = nbest_loss(logits, batch.outputs, tokens, token_lengths, weights)
        return self.config.weight * total

    def batch(self, utt_ids: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B,N,L), their lengths (B,N) and the sequences' weights (B,N).

        Weights are 0 beyond a list's end.
        """
        lists = [self._tokens[utt] for utt in utt_ids]
        longest = max(1, max(map(len, lists)))
        nothing = torch.zeros(0, dtype=torch.int64)
        rows = [row for each in lists for row in [*each, *[nothing] * (longest - len(each))]]
        tokens = pad_sequence(rows, batch_first=True).reshape(len(lists), longest, -1)
        lengths = torch.tensor([len(row) for row in rows]).reshape(len(lists), longest)
        scores = torch.full((len(lists), longest), -torch.inf)
        for row, utt in zip(scores, utt_ids, strict=True):
            row[: len(self._scores[utt])] = self._scores[utt]
        return tokens, lengths, nbest_weights(scores, self.config.scale)


def _fitting(entries: Sequence[Entry], num_frames: int) -> list[Entry]:
    return [e for e in entries if frames_needed(np.array(e.tokens, np.int32)) <= num_frames]
