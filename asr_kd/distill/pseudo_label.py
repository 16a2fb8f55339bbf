"""The stage `pseudo-label`: the best hypotheses of teachers' lists as the tokens of utterances.

For data without transcripts. How sure the teachers are says which utterances are worth it.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.distill.nbest_lists import Entry, read_lists
from asr_kd.distill.nbest_loss import nbest_weights
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.labels.unit_stages import SCP
from asr_kd.labels.units import Units
from asr_kd.shards import rank_and_world

_logger = logging.getLogger("asr_kd.distill")


class PseudoLabelConfig(Config):
    """Which utterances are kept.

    Attributes:
        min_posterior: least share of the best hypothesis' words in its list's probability.
        min_token_score: least natural log of its probability, for each of its tokens; None for no
            limit.
        keep_empty: whether utterances without a word are kept: no tokens, or marks of words alone.
    """

    min_posterior: float = Field(default=0.0, ge=0.0, le=1.0)
    min_token_score: float | None = Field(default=None, le=0.0)
    keep_empty: bool = False


class Confidence(NamedTuple):
    """How sure teachers are of the best hypothesis.

    Attributes:
        posterior: the probability of its words, which others of the list may spell in other
            tokens, over that of the whole list.
        token_score: natural log of its probability, over its tokens (at least one).
    """

    posterior: float
    token_score: float

    @classmethod
    def of(cls, entries: list[Entry], words: list[str]) -> "Confidence":
        """Of a list, the best first, and the words that each of its entries spells."""
        shares = nbest_weights(torch.tensor([[entry.score for entry in entries]]).double())[0]
        same = torch.tensor([said == words[0] for said in words])
        best = entries[0]
        return cls(float(shares[same].sum()), best.score / max(1, len(best.tokens)))

    def doubt(self, words: str, config: PseudoLabelConfig) -> str | None:
        """Why the hypothesis of these words is not kept; None where it is."""
        if not words and not config.keep_empty:
            return "no word"
        if self.posterior < config.min_posterior:
            return f"posterior {self.posterior:.4f}"
        if config.min_token_score is not None and self.token_score < config.min_token_score:
            return f"token score {self.token_score:.4f}"
        return None


def pseudo_label(lists: Path, out: Path, config: PseudoLabelConfig) -> None:
    """Publishes the best hypotheses that are kept, in a folder as `encode-text` makes.

    tokens.scp and tokens.ark, labels.json and the units' files; `text`, the words that the tokens
    spell, as of a data directory; `confidence` (utterance id, posterior, token score, of all);
    `left_out.txt` (utterance id, why). The manifest counts what is kept and left out.

    Args:
        lists: output of `dump-nbest`.
        out: folder to publish.
        config: the thresholds.

    Raises:
        InputError: for lists that cannot be read, where no utterance is kept, and for a
            min_posterior in lists of one, whose posterior is always 1.
    """
    artefact = Artefact(out, "pseudo-label", config_dict(config), {"lists": lists})
    if artefact.is_done():
        return
    header, label_set, found = read_lists(lists)
    if header.n == 1 and config.min_posterior:
        raise InputError(
            f"min_posterior is {config.min_posterior:g}, and {lists} has one hypothesis for each "
            f"utterance, with nothing to hold it against: make longer lists (dump-nbest --n 8), or "
            f"set min_token_score"
        )
    units = Units.read(lists)
    label_set.require_same(units.label_set, f"{lists}/labels.json", f"{lists}/units.model")
    best = {utt: entries[0].tokens for utt, entries in found.items()}
    spelled = {u: [units.decode(entry.tokens) for entry in x] for u, x in found.items()}
    words = {utt: said[0] for utt, said in spelled.items()}
    sure = {utt: Confidence.of(entries, spelled[utt]) for utt, entries in found.items()}
    doubts = {utt: doubt for utt, x in sure.items() if (doubt := x.doubt(words[utt], config))}
    kept = [utt for utt in found if utt not in doubts]
    if not kept:
        raise InputError(
            f"{lists}: none of {len(found)} utterances is kept: the highest posterior is "
            f"{max((x.posterior for x in sure.values()), default=0):.4f}, the highest token score "
            f"{max((x.token_score for x in sure.values()), default=0):.4f}"
        )
    if rank_and_world()[0] != 0:
        return
    work = artefact.begin()
    with ArkWriter(work / "tokens.ark", published=artefact.path / "tokens.ark") as writer:
        for utt in kept:
            writer.write(utt, np.asarray(best[utt], np.int32))
    write_table(work / SCP, writer.scp)
    units.write(work)
    write_table(work / "text", {utt: words[utt] for utt in kept})
    write_table(
        work / "confidence",
        {utt: f"{x.posterior:.4f} {x.token_score:.4f}" for utt, x in sure.items()},
    )
    write_text(work / "left_out.txt", "".join(f"{utt} {why}\n" for utt, why in doubts.items()))
    facts = {
        "kept": len(kept), "left_out": len(doubts), "tokens": sum(len(best[u]) for u in kept),
        "mean_posterior_of_kept": float(np.mean([sure[utt].posterior for utt in kept])),
        "label_set": label_set.digest,
    }  # fmt: skip
    _logger.info("%d utterances kept, %d left out: %s", len(kept), len(doubts), out)
    artefact.publish(facts)
