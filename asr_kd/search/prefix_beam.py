"""Search for tokens in CTC posteriors without a graph: greedy, and by beams of prefixes.

A prefix's probability is the sum over all paths that collapse to it (Graves et al. 2006; the beam
search of Hannun et al. 2014). Several models may search together: each sums over its own paths, so
that they agree on tokens although they see them at different frames; only prefixes' probabilities
are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asr_kd.labels.ctc import BLANK, collapse

Floats = NDArray[np.float64]
_NEVER = -np.inf


class TokenLm(Protocol):
    """A language model of tokens."""

    def log_prob(self, token: int | None, history: Sequence[int]) -> float:
        """Natural log p(token | history); None is the end."""
        ...


class Hypothesis(NamedTuple):
    """A sequence of tokens.

    Attributes:
        tokens: its labels, without blanks.
        score: what it was ranked by, language model and costs included.
        log_probs: (M,) natural log p(tokens | x) of each model, over the paths that were kept.
    """

    tokens: tuple[int, ...]
    score: float
    log_probs: Floats


@dataclass(frozen=True)
class PrefixSearch:
    """How prefixes are searched and ranked.

    A prefix scores acoustic_scale · log(mean of the models' probabilities) + log p_lm − its tokens'
    costs.

    Attributes:
        prefixes: kept after each frame.
        tokens: at most as many may extend prefixes in a frame: those that some model finds likely.
        floor: tokens that every model finds less probable than this in a frame extend none.
        acoustic_scale: weight of the models.
        costs: (V,) of a token, such as a penalty for each beginning of a word; None for none.
        lm: of the tokens; None for none.
        mean: of the models' prefix probabilities.
        weights: of the models; None for equal ones.
    """

    prefixes: int = 16
    tokens: int = 20
    floor: float = 1e-4
    acoustic_scale: float = 1.0
    costs: Floats | None = None
    lm: TokenLm | None = None
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    weights: Sequence[float] | None = None

    def search(self, log_posts: NDArray[np.floating]) -> list[Hypothesis]:
        """The best sequences, the best first.

        Args:
            log_posts: (T, V), or (M, T, V) of M models over the same frames; label 0 is the blank.

        Returns:
            `prefixes` hypotheses or fewer, none where all are impossible; without frames the empty.

        Raises:
            ValueError: for NaN.
        """
        models = np.asarray(log_posts, np.float64)
        models = models[None] if models.ndim == 2 else models
        if models.ndim != 3 or np.isnan(models).any():
            raise ValueError(f"log-posteriors of shape {models.shape}, or NaN among them")
        beam = _Beam(self, models.shape[0])
        for frame in models.transpose(1, 0, 2):
            beam.advance(frame)
        return beam.finish()

    def combined(self, log_probs: Floats) -> Floats:
        """(..., M) log-probabilities of prefixes -> (...,) of their mean."""
        weights = np.asarray(self.weights or np.ones(log_probs.shape[-1]), np.float64)
        weights = weights / weights.sum()
        if self.mean == "geometric":
            # A model of weight 0 has no say even where it rules a prefix out.
            said = weights > 0
            mean: Floats = (log_probs[..., said] * weights[said]).sum(-1)
            return mean
        with np.errstate(divide="ignore"):  # a weight of 0
            return np.asarray(np.logaddexp.reduce(log_probs + np.log(weights), axis=-1))


class _Tree:
    """All prefixes that were ever kept or asked about; prefix 0 is empty."""

    def __init__(self, search: PrefixSearch) -> None:
        self._search = search
        self._children: dict[tuple[int, int], int] = {}
        self.parent, self.token = [-1], [-1]
        self.bonus = [0.0]  # language model and costs, from the start on
        self._asked: tuple[int, tuple[int, ...]] = (0, ())

    def tokens(self, node: int) -> tuple[int, ...]:
        found = []
        while node:
            found.append(self.token[node])
            node = self.parent[node]
        return tuple(reversed(found))

    def child(self, node: int, token: int) -> int:
        found = self._children.get((node, token))
        if found is None:
            found = self._children[node, token] = len(self.parent)
            costs, lm = self._search.costs, self._search.lm
            bonus = self.bonus[node] - (0.0 if costs is None else float(costs[token]))
            if lm is not None:
                if self._asked[0] != node:  # many children in a row have one history
                    self._asked = node, self.tokens(node)
                bonus += lm.log_prob(token, self._asked[1])
            self.parent.append(node)
            self.token.append(token)
            self.bonus.append(bonus)
        return found


class _Beam:
    """The N prefixes kept after some frames, for M models.

    `blank` and `last` (N,M) are log-probabilities of the paths that end in a blank, and in the
    prefix's last token.
    """

    def __init__(self, search: PrefixSearch, num_models: int) -> None:
        self._search = search
        self._tree = _Tree(search)
        self._nodes = [0]
        self._blank = np.zeros((1, num_models))
        self._last = np.full((1, num_models), _NEVER)

    def advance(self, frame: Floats) -> None:
        """Takes in a frame (M,V)."""
        tree, nodes = self._tree, self._nodes
        total = np.logaddexp(self._blank, self._last)
        tokens = np.array([tree.token[node] for node in nodes], np.int64)
        blank = total + frame[:, BLANK]
        # Token -1, of the empty prefix, reads some column: no path ends in it anyway.
        last = self._last + frame[:, tokens].T
        likely = self._likely(frame)
        # (N,C,M): another token follows any path, the same one those that end in a blank.
        same = tokens[:, None, None] == likely[None, :, None]
        longer = np.where(same, self._blank[:, None], total[:, None]) + frame[:, likely].T
        place = {node: at for at, node in enumerate(nodes)}
        column = {token: at for at, token in enumerate(likely.tolist())}
        for at, node in enumerate(nodes):
            above = place.get(tree.parent[node])
            if above is None:
                continue
            token = int(tokens[at])
            start = self._blank[above] if tokens[above] == token else total[above]
            last[at] = np.logaddexp(last[at], start + frame[:, token])
            if token in column:
                longer[above, column[token]] = _NEVER  # it is no new prefix
        self._keep(blank, last, longer, likely)

    def _likely(self, frame: Floats) -> NDArray[np.int64]:
        best = frame.max(axis=0)
        best[BLANK] = _NEVER
        found = np.flatnonzero(np.exp(best) > self._search.floor)
        return found[np.argsort(-best[found], kind="stable")[: self._search.tokens]]

    def _keep(self, blank: Floats, last: Floats, longer: Floats, likely: NDArray[np.int64]) -> None:
        """The best of N prefixes that stay (N,M) and N×C that grow (N,C,M)."""
        search, tree, nodes = self._search, self._tree, self._nodes
        bonus = np.array([tree.bonus[node] for node in nodes])
        stay = search.acoustic_scale * search.combined(np.logaddexp(blank, last)) + bonus
        grow = search.acoustic_scale * search.combined(longer) + bonus[:, None]
        if search.lm is not None or search.costs is not None:
            for at, c in np.argwhere(grow > _NEVER).tolist():
                grow[at, c] += tree.bonus[tree.child(nodes[at], int(likely[c]))] - bonus[at]
        scores = np.concatenate([stay, grow.ravel()])
        best = np.argsort(-scores, kind="stable")[: search.prefixes]
        best = best[scores[best] > _NEVER]
        old, new = best[best < len(nodes)], best[best >= len(nodes)] - len(nodes)
        rows, columns = np.divmod(new, max(len(likely), 1))
        self._nodes = [nodes[i] for i in old.tolist()]
        grown = zip(rows.tolist(), likely[columns].tolist(), strict=True)
        self._nodes += [tree.child(nodes[i], token) for i, token in grown]
        self._blank = np.concatenate([blank[old], np.full((len(new), blank.shape[1]), _NEVER)])
        self._last = np.concatenate([last[old], longer[rows, columns]])

    def finish(self) -> list[Hypothesis]:
        """The prefixes as whole sequences, the best first."""
        log_probs = np.logaddexp(self._blank, self._last)
        scores = self._search.acoustic_scale * self._search.combined(log_probs)
        found = []
        for node, score, each in zip(self._nodes, scores.tolist(), log_probs, strict=True):
            tokens = self._tree.tokens(node)
            score += self._tree.bonus[node]
            score += 0.0 if self._search.lm is None else self._search.lm.log_prob(None, tokens)
            if score > _NEVER:
                found.append(Hypothesis(tokens, score, each))
        return sorted(found, key=lambda h: (-h.score, h.tokens))


def greedy(log_post: NDArray[np.floating]) -> list[int]:
    """The tokens of the most probable label of each frame (T,V)."""
    return collapse(log_post.argmax(axis=1).astype(np.int32)).tolist()
