"""Training on token sequences: CTC, with an alignment, a guide or teachers' lists beside it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from asr_kd.distill.ctc import ctc_loss
from asr_kd.distill.guided_ctc import guide_loss
from asr_kd.train.config import CtcConfig, NbestConfig, TrainConfig
from asr_kd.train.dataset import AlignedData, Batch
from asr_kd.train.inputs import TrainInputs
from asr_kd.train.nbest import NbestTargets
from asr_kd.train.objective import HardLabels, Objective
from asr_kd.train.student import StudentOutput
from asr_kd.train.teachers import Teachers


class TokenSequences(Objective):
    """`weight·CTC + frame_weight·CE + guide_weight·guide`, and the loss on teachers' lists.

    All are sums over the same frames.

    Args:
        config: the weights.
        guide: the model that shows where spikes are to be; it sees each batch as the student does.
        lists: what teachers hold for likely; data without tokens may have these alone.
    """

    def __init__(
        self, config: CtcConfig, guide: Teachers | None = None, lists: NbestTargets | None = None
    ) -> None:
        self.config = config
        self.guide = guide
        self.lists = lists

    def to(self, device: torch.device) -> None:
        """See `Objective`."""
        if self.guide is not None:
            self.guide.to(device)

    def __call__(self, output: StudentOutput, batch: Batch) -> tuple[Tensor, Tensor]:
        """See `Objective`; ∞ where an utterance's tokens do not fit its frames."""
        config, logits = self.config, output.logits.float()
        total = logits.new_zeros(())
        if config.weight:
            loss, _ = ctc_loss(logits, batch.outputs, batch.tokens, batch.token_lengths)
            total = total + config.weight * loss
        if config.frame_weight:
            total = total + config.frame_weight * HardLabels()(output, batch)[0]
        if self.guide is not None:
            theirs = self.guide(0, batch).logits
            total = total + config.guide_weight * guide_loss(logits, batch.outputs, theirs)[0]
        if self.lists is not None:
            total = total + self.lists.loss(logits, batch)
        return total, batch.outputs.sum()


def sequence_faults(
    inputs: TrainInputs, config: TrainConfig, data: AlignedData, dev: AlignedData
) -> Iterator[str]:
    """What is asked for of token sequences, or in spite of them, in vain."""
    ctc, distill = config.ctc, config.distill
    if inputs.guide is None and ctc.guide_weight != CtcConfig().guide_weight:
        yield f"ctc.guide_weight is {ctc.guide_weight:g}, and there is no guide: give --guide MODEL"
    if ctc.criterion != CtcConfig().criterion and not dev.has_tokens:
        yield f"ctc.criterion chooses by token sequences, and {dev.ali_dir} has no tokens.scp"
    if inputs.nbest is None and config.nbest != NbestConfig():
        yield "nbest.weight and nbest.scale are for lists of teachers: give --nbest LISTS"
    if not data.has_tokens and inputs.nbest is None:
        without = f"{inputs.ali} has no tokens.scp" if inputs.ali else f"{data.path} has none (-)"
        if inputs.guide is not None:
            yield f"--guide shows token sequences where to go: {without}"
        if ctc.weight != CtcConfig().weight or ctc.frame_weight:
            yield f"ctc.weight and ctc.frame_weight are for token sequences: {without}"
        return
    if not dev.has_tokens:
        yield (
            f"{dev.ali_dir} has no tokens.scp, by which the dev set chooses among models of token "
            f"sequences: make it (encode-text)"
        )
    if ctc.weight and not data.has_tokens:
        yield (
            f"ctc.weight is {ctc.weight:g}, and there are no tokens: give a folder with tokens.scp "
            f"(encode-text, pseudo-label), or set ctc.weight=0"
        )
    if not (ctc.weight or ctc.frame_weight or inputs.nbest):
        yield "ctc.weight and ctc.frame_weight are 0: nothing is left to learn"
    if ctc.frame_weight and not data.has_alignment:
        yield (
            f"ctc.frame_weight is {ctc.frame_weight:g}, and {data.ali_dir} has no ali.scp: align "
            f"its tokens (align-ctc)"
        )
    is_student = inputs.targets is not None or bool(inputs.teachers)
    given = inputs.guide or inputs.nbest or ctc != CtcConfig(criterion=ctc.criterion)
    if is_student and not distill.hard_weight and given:
        yield "distill.hard_weight is 0: ctc.*, --guide and --nbest do nothing"
    if config.augment.mix.prob:
        yield "augment.mix: two utterances mixed have no token sequence; leave it out"
    if config.frames.only or config.frames.exclude:
        yield "frames.only and frames.exclude choose among labelled frames, not among tokens"
    if inputs.cluster is not None:
        yield "--cluster: a specialist learns labels of frames, not tokens; give an alignment"
