from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.search.prefix_beam import PrefixSearch, _Tree, greedy

ALL = 10_000


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def posteriors(seed: int, models: int, frames: int, labels: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return log_softmax(rng.normal(size=(models, frames, labels)) * 2)


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(b for a, b in zip((None, *path), path, strict=False) if a != b and b)


def enumerated(log_posts: np.ndarray) -> dict[tuple[int, ...], np.ndarray]:
    """Sequence → (M,) log-probabilities, summed over all paths."""
    models, frames, labels = log_posts.shape
    sums: dict[tuple[int, ...], np.ndarray] = defaultdict(lambda: np.full(models, -np.inf))
    for path in product(range(labels), repeat=frames):
        tokens = collapsed(path)
        along = log_posts[:, np.arange(frames), list(path)].sum(axis=1)
        sums[tokens] = np.logaddexp(sums[tokens], along)
    return sums


class Bigrams:
    """p(token | last token), p(end | last token): rows of a random matrix; column 0 is the end."""

    def __init__(self, seed: int, labels: int = 4) -> None:
        self.table = log_softmax(np.random.default_rng(seed).normal(size=(labels, labels)))

    def log_prob(self, token: int | None, history: tuple[int, ...]) -> float:
        return float(self.table[history[-1] if history else 0, token or 0])


@settings(max_examples=40)
@given(
    st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 5),
    st.sampled_from(["arithmetic", "geometric"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_unpruned_search_is_enumeration(
    seed: int, models: int, frames: int, mean: str, with_lm: bool, with_costs: bool
) -> None:
    log_posts = posteriors(seed, models, frames)
    lm = Bigrams(seed) if with_lm else None
    costs = np.array([0.0, 0.3, -0.7, 1.1]) if with_costs else None
    weights = [1.0, 2.0, 0.5][:models]
    search = PrefixSearch(ALL, ALL, 0.0, 0.8, costs, lm, mean, weights)  # type: ignore[arg-type]
    found = {h.tokens: h for h in search.search(log_posts)}
    expected = enumerated(log_posts)
    assert found.keys() == expected.keys()
    shares = np.array(weights) / sum(weights)
    for tokens, log_probs in expected.items():
        np.testing.assert_allclose(found[tokens].log_probs, log_probs, rtol=1e-9)
        score = (
            0.8 * float(shares @ log_probs)
            if mean == "geometric"
            else 0.8 * float(np.log(shares @ np.exp(log_probs)))
        )
        if lm is not None:
            score += sum(lm.log_prob(t, tokens[:i]) for i, t in enumerate((*tokens, None)))
        if costs is not None:
            score -= costs[list(tokens)].sum()
        assert found[tokens].score == pytest.approx(score, abs=1e-9)
    scores = [h.score for h in search.search(log_posts)]
    assert scores == sorted(scores, reverse=True)


def test_a_narrow_beam_finds_the_best_of_peaky_posteriors() -> None:
    rng = np.random.default_rng(1)
    tokens = [3, 3, 1, 2, 2, 2, 4]
    path = [0, 3, 0, 3, 3, 1, 0, 0, 2, 0, 2, 2, 0, 2, 4]
    logits = rng.normal(size=(len(path), 6))
    logits[np.arange(len(path)), path] += 7
    best, *others = PrefixSearch(prefixes=4).search(log_softmax(logits))
    assert list(best.tokens) == tokens == greedy(logits)
    assert len(others) == 3


def spikes(at: dict[int, int], frames: int = 12, labels: int = 4) -> np.ndarray:
    probs = np.full((frames, labels), 1e-3)
    probs[:, 0] = 1
    for frame, token in at.items():
        probs[frame, 0] = 1e-3
        probs[frame, token] = 1
    return np.log(probs / probs.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_models_that_spike_at_other_frames_agree_in_a_shared_search(mean: str) -> None:
    """The averaged frames of the same models stand for nothing that any of them says."""
    models = np.stack([
        spikes({1: 1, 4: 2, 7: 3}), spikes({2: 1, 5: 2, 8: 3}), spikes({3: 1, 6: 2, 9: 3}),
    ])  # fmt: skip
    search = PrefixSearch(mean=mean)  # type: ignore[arg-type]
    assert search.search(models)[0].tokens == (1, 2, 3)
    assert greedy(np.log(np.exp(models).mean(axis=0))) == []


def test_language_model_and_penalty_decide_what_sounds_alike() -> None:
    probs = np.array([[0.1, 0.45, 0.45], [0.9, 0.05, 0.05]])
    lm = Bigrams(0, 3)
    lm.table = np.log(np.array([[0.2, 0.1, 0.7]] * 3))
    assert PrefixSearch(lm=lm).search(np.log(probs))[0].tokens == (2,)
    lm.table = np.log(np.array([[0.2, 0.7, 0.1]] * 3))
    assert PrefixSearch(lm=lm).search(np.log(probs))[0].tokens == (1,)
    costs = np.array([0.0, 9.0, 9.0])
    assert PrefixSearch(costs=costs).search(np.log(probs))[0].tokens == ()


def test_a_history_is_spelled_once_for_all_that_may_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each of them, the time of long utterances would grow with their square."""
    spelled = []
    whole = _Tree.tokens

    def tokens(tree: _Tree, node: int) -> tuple[int, ...]:
        spelled.append(node)
        return whole(tree, node)

    monkeypatch.setattr(_Tree, "tokens", tokens)
    prefixes, frames = 4, 30
    PrefixSearch(prefixes, lm=Bigrams(0, 12)).search(posteriors(0, 1, frames, 12))
    assert len(spelled) <= prefixes * (frames + 1)


def test_edges() -> None:
    search = PrefixSearch()
    assert [h.tokens for h in search.search(np.zeros((0, 3)))] == [()]
    assert greedy(np.zeros((0, 3))) == []
    with pytest.raises(ValueError, match="NaN"):
        search.search(np.array([[0.0, np.nan]]))
    with np.errstate(divide="ignore"):
        certain = np.log(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
        nothing = np.log(np.zeros((2, 3)))
    assert [h.tokens for h in search.search(certain)] == [(1, 1)]
    assert search.search(nothing) == []


def test_a_model_without_weight_has_no_say() -> None:
    one, other = posteriors(0, 2, 4)
    both = PrefixSearch(ALL, ALL, 0.0, weights=[1.0, 0.0], mean="geometric")
    alone = PrefixSearch(ALL, ALL, 0.0)
    a = [(h.tokens, round(h.score, 9)) for h in both.search(np.stack([one, other]))]
    assert a == [(h.tokens, round(h.score, 9)) for h in alone.search(one)]
