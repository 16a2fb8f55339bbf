"""Biases of labels that the transfer set lacked or had too much of (paper, section 3).

A student that never met a class in training gives it too low a bias and is otherwise fine: the
paper adds 3.5 to the bias of the class that was left out, and takes 7.6 off those of the only two
that were there. Here the offset is found on held-out frames.

One offset o on the logits of the chosen labels changes the decision of a frame at one place only:
where the best chosen label overtakes the best of the others, at `max other − max chosen`. Sorted,
these places cut the line into intervals in each of which the number of right frames is constant,
and running sums give all of these numbers: the most right frames over *all* offsets are found
exactly. Cross-entropy is convex in o, so that among the intervals with as many right frames the
one with the least cross-entropy holds its minimum or is one of the two beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_STEP = 1e-4  # nats; places are told apart no finer, so that float32 logits decide as was foreseen
_MARGIN = 1e-3  # kept to the ends of an interval, where it is wide enough
_BEYOND = 30.0  # nats; further out no probability changes any more
_ROUNDS = 20


class Score(NamedTuple):
    """Right frames, and the sum of their cross-entropies in nats."""

    correct: int
    cross_entropy: float


class BiasSearch:
    """Gathers held-out frames, then finds offsets of K chosen labels, each or all together.

    Args:
        chosen: indices of the K labels; neither none nor all of them.
        num_labels: V.
    """

    def __init__(self, chosen: Sequence[int], num_labels: int) -> None:
        self._chosen = torch.tensor(list(chosen))
        self._rest = torch.ones(num_labels, dtype=torch.bool)
        self._rest[self._chosen] = False
        self._place = torch.full((num_labels,), -1)
        self._place[self._chosen] = torch.arange(len(self._chosen))
        self._frames: list[tuple[Tensor, ...]] = []

    def add(self, logits: Tensor, pdf_ids: Tensor) -> None:
        """Adds frames: logits (N,V) and labels (N,); what is kept grows with K, not with V."""
        logits = logits.detach().cpu().double()
        pdf_ids = pdf_ids.cpu()
        rest = logits[:, self._rest]
        names = torch.arange(len(self._rest))[self._rest]
        best = rest.max(1)
        self._frames.append((
            logits[:, self._chosen],
            best.values,
            rest.logsumexp(1),
            names[best.indices] == pdf_ids,
            self._place[pdf_ids],
            logits.gather(1, pdf_ids[:, None])[:, 0],
        ))  # fmt: skip

    def shared(self) -> Tensor:
        """One offset for all chosen labels: (K,), all the same."""
        own, best, log_sum, right, place, _ = self._gathered()
        top = own.max(1)
        offset = _best_offset(
            best - top.values,
            (top.indices == place).long() - right.long(),
            own.logsumexp(1) - log_sum,
            int((place >= 0).sum()),
        )
        return torch.full((len(self._chosen),), offset, dtype=torch.float64)

    def each(self) -> Tensor:
        """An offset for each chosen label (K,): the shared one, improved label by label.

        Each step is exact as the shared search is; the result is a place that no offset of a
        single label improves, not always the best of all.
        """
        own, rest_best, rest_sum, rest_right, place, _ = self._gathered()
        offsets = self.shared()
        score = self.score(offsets)
        for _ in range(_ROUNDS):
            before = score
            for k in range(len(offsets)):
                others = own + offsets
                others[:, k] = -torch.inf
                top = others.max(1)
                among = top.values > rest_best
                best = torch.maximum(top.values, rest_best)
                right = torch.where(among, top.indices == place, rest_right)
                found = offsets.clone()
                found[k] = _best_offset(
                    best - own[:, k],
                    (place == k).long() - right.long(),
                    own[:, k] - torch.logaddexp(others.logsumexp(1), rest_sum),
                    int((place == k).sum()),
                )
                new = self.score(found)
                if _better(new, score):
                    offsets, score = found, new
            if not _better(score, before):
                break
        return offsets

    def score(self, offsets: Tensor, among: bool | None = None) -> Score:
        """How the frames come out with offsets (K,).

        Args:
            offsets: added to the logits of the chosen labels.
            among: count only frames of the chosen labels (True), of the others (False).
        """
        own, best, log_sum, right, place, of_label = self._gathered()
        top = (own + offsets).max(1)
        correct = torch.where(top.values > best, top.indices == place, right)
        mine = torch.where(place >= 0, offsets[place.clamp_min(0)], 0.0)
        total = torch.logaddexp((own + offsets).logsumexp(1), log_sum)
        counted = torch.ones_like(right) if among is None else (place >= 0) == among
        return Score(int(correct[counted].sum()), float((total - of_label - mine)[counted].sum()))

    def num_frames(self) -> Tensor:
        """Frames of each chosen label, and at the end those of all others: (K+1,)."""
        place = self._gathered()[4]
        return torch.bincount(place % (len(self._chosen) + 1), minlength=len(self._chosen) + 1)

    def _gathered(self) -> tuple[Tensor, ...]:
        if len(self._frames) > 1:
            self._frames = [tuple(map(torch.cat, zip(*self._frames, strict=True)))]
        return self._frames[0]


def _best_offset(places: Tensor, gains: Tensor, margins: Tensor, inside: int) -> float:
    """The offset of most right frames, and of the least cross-entropy among such.

    Args:
        places: where each frame's decision turns to the raised labels (N,).
        gains: what that adds to the right frames (N,): 1, 0 or -1.
        margins: log-odds of the raised labels in each frame (N,).
        inside: frames whose label is a raised one.
    """
    turns, which = torch.round(places / _STEP).unique(return_inverse=True)
    turns = turns * _STEP
    right = torch.zeros(len(turns), dtype=torch.long).index_add_(0, which, gains)
    counts = torch.cat([torch.zeros(1, dtype=torch.long), right.cumsum(0)])
    best = (counts == counts.max()).nonzero()[:, 0]
    beyond = torch.tensor([torch.inf], dtype=turns.dtype)
    low, high = torch.cat([-beyond, turns])[best], torch.cat([turns, beyond])[best]
    margin = ((high - low) / 2).clamp_max(_MARGIN)
    middle = _least_cross_entropy(margins, inside)
    offsets = torch.minimum(torch.clamp_min(low + margin, middle), high - margin)
    below, above = offsets[offsets <= middle], offsets[offsets >= middle]
    nearest = [float(x) for x in (*below[-1:], *above[:1])]
    return min(nearest, key=lambda o: float(functional.softplus(margins + o).sum()) - o * inside)


def _least_cross_entropy(margins: Tensor, inside: int) -> float:
    """The offset at which as much probability falls on the raised labels as they have frames."""
    low, high = float(-margins.max()) - _BEYOND, float(-margins.min()) + _BEYOND
    for _ in range(60):
        middle = (low + high) / 2
        if float(torch.sigmoid(margins + middle).sum()) < inside:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _better(new: Score, old: Score) -> bool:
    """More right frames, or as many and a cross-entropy lower by more than rounding."""
    if new.correct != old.correct:
        return new.correct > old.correct
    return new.cross_entropy < old.cross_entropy * (1 - 1e-6)
