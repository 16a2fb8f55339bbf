"""What dumping learns about its targets: size, truncation, softness, and how teachers agree."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from asr_kd.ensemble.average import temper
from asr_kd.ensemble.soft_targets import SoftTargets
from asr_kd.labels.ctc import BLANK, collapse

# Bins of the KL's histogram: 40 a decade, 6% wide, so a percentile is known that well.
_BINS_PER_DECADE = 40
_LOWEST_DECADE = -8


@dataclass
class Statistics:
    """Sums over the frames of one store, which add up over shards.

    Attributes:
        frames: number of frames.
        entries: number of kept labels.
        kl: Σ KL(dense ‖ kept entries with what is left spread evenly over the others), nats.
        kl_bins: bin → frames whose KL is in it.
        entropy: Σ entropy of the averaged distribution, nats.
        top: Σ probability of its most probable label.
        left: Σ mass of the labels not kept.
        agreement: Σ share of pairs of teachers with the same most probable label.
        compared: number of frames that several teachers label.
        divergence: Σ mean KL(teacher at T ‖ average), nats.
        path_frames: of CTC, frames that `add_paths` has seen.
        blanks: of those the average's most probable label is the blank.
        teacher_blanks: the same of the mean teacher.
        spikes: Σ share of teachers whose most probable label is a token.
        moved: those of `spikes` at which the average's most probable label is another.
        lost: those of `moved` at which it is the blank.
        tokens: that the average's best paths stand for.
        teacher_tokens: that the mean teacher's do.
    """

    frames: int = 0
    entries: int = 0
    kl: float = 0.0
    kl_bins: dict[str, int] = field(default_factory=dict)
    entropy: float = 0.0
    top: float = 0.0
    left: float = 0.0
    agreement: float = 0.0
    compared: int = 0
    divergence: float = 0.0
    path_frames: int = 0
    blanks: int = 0
    teacher_blanks: float = 0.0
    spikes: float = 0.0
    moved: float = 0.0
    lost: float = 0.0
    tokens: int = 0
    teacher_tokens: float = 0.0

    def add(
        self,
        teachers: Sequence[Tensor],
        temperature: float,
        log_probs: Tensor,
        targets: SoftTargets,
    ) -> None:
        """Takes in frames: M log-posteriors (N,V) at T = 1, their average at T, what is kept."""
        probs = log_probs.exp()
        negentropy = torch.xlogy(probs, probs).sum(1)
        kept = targets.to(log_probs.device).dense(probs.shape[1])
        # 16 bits may round to 0 what is next to it in 32, which would make the divergence infinite.
        kept.clamp_min_(torch.finfo(kept.dtype).tiny)
        kl = (negentropy - torch.xlogy(probs, kept).sum(1)).clamp_min_(0)
        bins = ((kl.log10() - _LOWEST_DECADE) * _BINS_PER_DECADE).clamp_min_(0).ceil_()
        for number, count in zip(*bins.unique(return_counts=True), strict=True):
            name = str(int(number))
            self.kl_bins[name] = self.kl_bins.get(name, 0) + int(count)
        self.frames += len(probs)
        self.entries += len(targets.labels)
        self.kl += float(kl.double().sum())
        self.entropy -= float(negentropy.double().sum())
        self.top += float(probs.amax(1).double().sum())
        self.left += float(targets.left.double().sum())
        best = [teacher.argmax(1) for teacher in teachers]
        pairs = [float((a == b).sum()) for a, b in combinations(best, 2)]
        if pairs:
            self.agreement += sum(pairs) / len(pairs)
            self.compared += len(probs)
        for teacher in teachers:
            theirs = temper(teacher, temperature)
            own = theirs.exp()
            # Where a teacher says 0, its product with a difference of infinities counts nothing.
            terms = torch.where(own > 0, own * (theirs - log_probs), 0.0)
            self.divergence += float(terms.sum(1).double().sum()) / len(teachers)

    def add_paths(self, teachers: Sequence[Tensor], log_probs: Tensor) -> None:
        """Takes in an utterance of CTC models: M log-posteriors (T,V), their average (T,V).

        Models that put a token's spike at different frames agree on the token, and their average
        says blank at all of these frames: the token is lost. That is what is counted here.
        """
        average = log_probs.argmax(1)
        blank = average == BLANK
        self.path_frames += len(average)
        self.blanks += int(blank.sum())
        self.tokens += _num_tokens(average)
        for teacher in teachers:
            best = teacher.argmax(1)
            spike = best != BLANK
            self.teacher_blanks += float((~spike).sum()) / len(teachers)
            self.spikes += float(spike.sum()) / len(teachers)
            self.moved += float((spike & (best != average)).sum()) / len(teachers)
            self.lost += float((spike & blank).sum()) / len(teachers)
            self.teacher_tokens += _num_tokens(best) / len(teachers)

    @classmethod
    def merged(cls, parts: Iterable["Statistics"]) -> "Statistics":
        """Statistics of all parts together."""
        total = cls()
        for part in parts:
            for name, value in vars(part).items():
                if name == "kl_bins":
                    for key, count in value.items():
                        total.kl_bins[key] = total.kl_bins.get(key, 0) + count
                else:
                    setattr(total, name, getattr(total, name) + value)
        return total

    def kl_quantile(self, share: float) -> float:
        """Upper edge of the bin below which `share` of the frames' KL lie, nats."""
        seen = 0
        for number, count in sorted((int(name), count) for name, count in self.kl_bins.items()):
            seen += count
            if seen >= share * self.frames:
                return float(10 ** (number / _BINS_PER_DECADE + _LOWEST_DECADE))
        return 0.0

    def summary(self, num_bytes: int) -> dict[str, Any]:
        """Means a frame, JSON-able, for a manifest.

        Args:
            num_bytes: of the shards.
        """
        frames = max(self.frames, 1)
        return {
            "frames": self.frames,
            "bytes_per_frame": num_bytes / frames,
            "entries_per_frame": self.entries / frames,
            "kl_mean": self.kl / frames,
            "kl_p99": self.kl_quantile(0.99),
            "entropy": self.entropy / frames,
            "top_probability": self.top / frames,
            "left_over_mass": self.left / frames,
            # One teacher agrees with itself.
            "teacher_agreement": self.agreement / self.compared if self.compared else 1.0,
            "kl_teachers_to_mean": self.divergence / frames,
            **self._paths(),
        }

    def _paths(self) -> dict[str, float]:
        """Of CTC: how the average's best paths differ from the teachers' own."""
        if not self.path_frames:
            return {}
        return {
            "blank_share": self.blanks / self.path_frames,
            "teacher_blank_share": self.teacher_blanks / self.path_frames,
            "spike_disagreement": self.moved / self.spikes if self.spikes else 0.0,
            "spikes_lost": self.lost / self.spikes if self.spikes else 0.0,
            "tokens_kept": self.tokens / self.teacher_tokens if self.teacher_tokens else 1.0,
        }


def _num_tokens(path: Tensor) -> int:
    return len(collapse(path.to("cpu", torch.int32).numpy()))
