"""Trees from planted contexts, against sums by hand and against all splits tried one by one."""

from collections import defaultdict
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from asr_kd.errors import InputError
from asr_kd.labels.phone_path import Contexts
from asr_kd.labels.questions import clustered_questions, hierarchy
from asr_kd.labels.topology import Topology, left_to_right
from asr_kd.labels.tree_building import Grown, grow_trees
from asr_kd.labels.tree_statistics import ContextStatistics, log_likelihood, variance_floor
from asr_kd.labels.tying import LEFT, RIGHT, Question, Split

PHONES = ["SIL", "P", "T", "M", "N", "A", "E"]
SILENCE = 0
EDGE = len(PHONES)
NASALS, STOPS = {"M", "N"}, {"P", "T"}
TOPOLOGY = Topology({phone: left_to_right(1 if phone == "SIL" else 2) for phone in PHONES})
NAMES = TOPOLOGY.label_set().names
DIM = 4
FLOOR = np.full(DIM, 1e-3)
UNSEEN = ("N", "A", "N")


def planted(phone: str, state: int, left: str | None, right: str | None) -> tuple:
    """Which contexts sound alike: vowels are nasal beside nasals, at the state that faces them."""
    if phone in ("A", "E") and state == 0 and left in NASALS:
        return (phone, state, "nasal left")
    if phone in ("A", "E") and state == 1 and right in NASALS:
        return (phone, state, "nasal right")
    if phone == "A" and state == 1 and right in STOPS:
        return (phone, state, "stop right")
    return (phone, state)


class Frames:
    """Frames of all contexts but one, from Gaussians that the planted classes share."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        centre = {phone: rng.normal(size=(2, DIM)) * 9 for phone in PHONES}
        for like, phone in (("P", "T"), ("M", "N"), ("A", "E")):  # what hierarchies should find
            centre[phone] = centre[like] + rng.normal(size=(2, DIM))
        shift: dict[tuple, np.ndarray] = defaultdict(lambda: rng.normal(size=DIM) * 2)
        rows, feats = [], []
        symbols = [*PHONES, None]
        for left, middle, right in product(range(EDGE + 1), range(EDGE), range(EDGE + 1)):
            name, neighbours = PHONES[middle], (symbols[left], symbols[right])
            if (neighbours[0], name, neighbours[1]) == UNSEEN:
                continue
            places = (EDGE, EDGE) if middle == SILENCE else (left, right)
            for state in range(TOPOLOGY.hmms[name].num_states):
                count = int(rng.integers(5, 15))
                key = planted(name, state, *neighbours)
                mean = centre[name][state] + (shift[key] if len(key) == 3 else 0)
                feats.append(mean + rng.normal(size=(count, DIM)) * 0.5)
                rows += [[TOPOLOGY.first_pdf[name] + state, *places]] * count
        order = rng.permutation(len(rows))
        self.contexts = Contexts(*np.array(rows, np.int32)[order].T)
        self.feats = np.concatenate(feats)[order].astype(np.float32)
        self.stats = ContextStatistics.of_frames(self.contexts, self.feats)
        self.total = self.stats.total(len(NAMES))
        self.questions = clustered_questions(self.total, TOPOLOGY, ["SIL"], FLOOR)

    def grow(self, leaves: int, min_frames: float = 20, right: bool = True) -> Grown:
        return grow_trees(
            self.stats, TOPOLOGY, self.questions,
            leaves=leaves, min_frames=min_frames, floor=FLOOR, right=right,
        )  # fmt: skip

    def pdf_ids(self, grown: Grown) -> np.ndarray:
        """(N,) leaf of each frame."""
        symbols = [*PHONES, None]
        states = [(p, s) for p, hmm in TOPOLOGY.hmms.items() for s in range(hmm.num_states)]
        leaf = {
            key: grown.tying.pdf_id(symbols[key[1]], states[key[0]][0], symbols[key[2]],
                                    states[key[0]][1])
            for key in set(zip(*(k.tolist() for k in self.contexts), strict=True))
        }  # fmt: skip
        return np.array(
            [leaf[key] for key in zip(*(k.tolist() for k in self.contexts), strict=True)]
        )


@pytest.fixture(scope="module")
def frames() -> Frames:
    return Frames()


def slow_log_likelihood(x: np.ndarray, floor: np.ndarray = FLOOR) -> float:
    """Frame by frame under the Gaussian of these frames."""
    x = x.astype(np.float64)
    mean, variance = x.mean(axis=0), np.maximum(x.var(axis=0), floor)
    densities = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    return float(np.log(densities).sum())


def test_sums_of_contexts(frames: Frames) -> None:
    slow: dict[tuple, list] = defaultdict(list)
    keys = zip(*(key.tolist() for key in frames.contexts), strict=True)
    for key, x in zip(keys, frames.feats.astype(np.float64), strict=True):
        slow[key].append(np.concatenate([[1.0], x, x**2]))
    stats = frames.stats
    assert list(zip(*(key.tolist() for key in stats.keys), strict=True)) == sorted(slow)
    np.testing.assert_allclose(stats.sums, [sum(slow[k]) for k in sorted(slow)], rtol=1e-6)
    third = len(frames.feats) // 3
    parts = [
        ContextStatistics.of_frames(
            Contexts(*(k[part] for k in frames.contexts)), frames.feats[part]
        )
        for part in (slice(third), slice(third, None))
    ]
    merged = ContextStatistics.merged(parts)
    assert all(np.array_equal(a, b) for a, b in zip(merged.keys, stats.keys, strict=True))
    np.testing.assert_allclose(merged.sums, stats.sums, rtol=1e-9)
    for label in range(len(NAMES)):
        own = frames.feats[frames.contexts.label == label].sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(frames.total[label, 1 : 1 + DIM], own, rtol=1e-6)


def test_likelihood_of_sums_is_that_of_frames(frames: Frames) -> None:
    x = frames.feats[frames.contexts.label == 3]
    for floor in (FLOOR, np.array([9.0, 1e-3, 50.0, 0.1])):
        found = log_likelihood(frames.total[3], floor)
        assert found == pytest.approx(slow_log_likelihood(x, floor), rel=1e-6)
    assert log_likelihood(np.zeros((2, 1 + 2 * DIM)), FLOOR).tolist() == [0, 0]
    every = variance_floor(frames.stats.sums, 0.01)
    np.testing.assert_allclose(every, 0.01 * frames.feats.var(axis=0), rtol=1e-4)


def sums_at(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of frames with mean `points` (..., D) and variance 1."""
    ones = np.ones_like(points[..., :1])
    return 40 * np.concatenate([ones, points, points**2 + 1], axis=-1)


@pytest.mark.parametrize("seed", range(5))
def test_hierarchy_is_that_of_all_pairs_tried_anew(seed: int) -> None:
    rng = np.random.default_rng(seed)
    items = sums_at(rng.normal(size=(8, 2, DIM)) * 3) * rng.uniform(1, 9, size=(8, 2, 1))

    def fit(members: tuple[int, ...]) -> float:
        return float(log_likelihood(items[list(members)].sum(axis=0), FLOOR).sum())

    clusters: list[tuple[int, ...]] = [(i,) for i in range(8)]
    expected = {frozenset(cluster) for cluster in clusters}
    while len(clusters) > 1:
        a, b = max(
            combinations(clusters, 2), key=lambda c: fit(c[0] + c[1]) - fit(c[0]) - fit(c[1])
        )
        clusters = [c for c in clusters if c not in (a, b)] + [a + b]
        expected.add(frozenset(a + b))
    assert {frozenset(cluster) for cluster in hierarchy(items, FLOOR)} == expected


def test_a_neighbour_is_judged_by_the_state_that_faces() -> None:
    total = np.zeros((len(NAMES), 1 + 2 * DIM))
    for phone in PHONES:
        first = TOPOLOGY.first_pdf[phone]
        for state in range(TOPOLOGY.hmms[phone].num_states):
            alike = ("P", "M") if state == 0 else ("P", "T")
            total[first + state] = sums_at(np.full(DIM, 9.0 * (phone in alike)))
    questions = clustered_questions(total, TOPOLOGY, ["SIL"], FLOOR)
    assert Question(LEFT, frozenset({"P", "T"})) in questions
    assert Question(RIGHT, frozenset({"P", "M"})) in questions
    assert Question(RIGHT, frozenset({"P", "T"})) not in questions


def test_questions_are_what_sounds_alike(frames: Frames) -> None:
    for context in (LEFT, RIGHT):
        asked = {q.phones for q in frames.questions if q.context == context}
        assert {frozenset(NASALS), frozenset(STOPS), frozenset({"A", "E"})} <= asked
        assert {frozenset({None}), frozenset({"SIL"}), frozenset({"SIL", None})} <= asked
        assert {frozenset({phone}) for phone in PHONES} <= asked
    assert len(frames.questions) == len(set(frames.questions))


def test_phones_without_frames_are_in_no_question(frames: Frames) -> None:
    total = frames.total.copy()
    total[TOPOLOGY.first_pdf["E"] + 1] = 0
    questions = clustered_questions(total, TOPOLOGY, ["SIL"], FLOOR)
    assert not [q for q in questions if "E" in q.phones]


def test_planted_classes_are_recovered(frames: Frames) -> None:
    symbols: list[str | None] = [*PHONES, None]
    every = [
        (left, phone, right, state)
        for left, phone, right in product(symbols, PHONES[1:], symbols)
        for state in range(2)
    ]
    num = 1 + len({planted(phone, state, left, right) for left, phone, right, state in every})
    tying = frames.grow(leaves=num).tying
    assert tying.num_pdfs == num
    classes = defaultdict(set)
    for left, phone, right, state in every:  # the context that was never seen is one of them
        leaf = tying.pdf_id(left, phone, right, state)
        classes[planted(phone, state, left, right)].add(leaf)
    assert all(len(leaves) == 1 for leaves in classes.values())
    assert len({min(leaves) for leaves in classes.values()}) == len(classes) == num - 1


def all_gains(frames: Frames, min_frames: float) -> dict[tuple[int, Question], float]:
    """(label, question) → gain of splitting a root, from the frames themselves."""
    symbols = [*PHONES, None]
    gains = {}
    for label, question in product(range(len(NAMES)), frames.questions):
        own = frames.contexts.label == label
        side = frames.contexts.left if question.context == LEFT else frames.contexts.right
        yes = np.array([symbols[k] in question.phones for k in side[own]])
        x = frames.feats[own]
        if min(yes.sum(), (~yes).sum()) >= min_frames:
            parts = slow_log_likelihood(x[yes]) + slow_log_likelihood(x[~yes])
            gains[label, question] = parts - slow_log_likelihood(x)
    return gains


def test_first_split_is_the_best_of_all(frames: Frames) -> None:
    gains = all_gains(frames, 100)
    best = max(gains.values())
    grown = frames.grow(len(NAMES) + 1, min_frames=100)
    assert grown.after - grown.before == pytest.approx(best, rel=1e-6)
    found = [
        (TOPOLOGY.first_pdf[phone] + state, tree.question)
        for phone, trees in grown.tying.trees.items()
        for state, tree in enumerate(trees)
        if isinstance(tree, Split)
    ]
    assert len(found) == 1
    assert gains[found[0]] == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(("leaves", "right"), [(17, True), (40, True), (25, False)])
def test_gain_is_that_of_the_frames_in_their_leaves(
    frames: Frames, leaves: int, right: bool
) -> None:
    grown = frames.grow(leaves, min_frames=30, right=right)
    pdf_ids = frames.pdf_ids(grown)
    counts = np.bincount(pdf_ids, minlength=grown.tying.num_pdfs)
    assert grown.tying.num_pdfs == len(counts) == leaves
    assert counts.min() >= 30
    slow = sum(slow_log_likelihood(frames.feats[pdf_ids == k]) for k in range(leaves))
    assert grown.after == pytest.approx(slow, rel=1e-6)
    roots = (
        slow_log_likelihood(frames.feats[frames.contexts.label == k]) for k in range(len(NAMES))
    )
    assert grown.before == pytest.approx(sum(roots), rel=1e-6)
    assert np.array_equal(grown.tying.monophone_label[pdf_ids], frames.contexts.label)
    asked = {q[0] for q in grown.tying.to_dict()["questions"]}
    assert asked == ({LEFT, RIGHT} if right else {LEFT})


def test_trees_end_where_frames_do(frames: Frames) -> None:
    tying = frames.grow(10_000, min_frames=150).tying
    counts = np.bincount(frames.pdf_ids(Grown(tying, 0, 0)))
    assert len(NAMES) < tying.num_pdfs < 10_000
    assert counts.min() >= 150
    assert tying.trees["SIL"] == (0,)
    assert frames.grow(len(NAMES)).tying.num_pdfs == len(NAMES)
    with pytest.raises(InputError, match=f"the phones have {len(NAMES)} states"):
        frames.grow(len(NAMES) - 1)


def test_a_state_without_frames_is_a_leaf(frames: Frames) -> None:
    kept = frames.contexts.label != TOPOLOGY.first_pdf["T"]
    contexts = Contexts(*(key[kept] for key in frames.contexts))
    stats = ContextStatistics.of_frames(contexts, frames.feats[kept])
    grown = grow_trees(
        stats, TOPOLOGY, frames.questions, leaves=20, min_frames=20, floor=FLOOR, right=True
    )
    assert isinstance(grown.tying.trees["T"][0], int)
    assert grown.tying.num_pdfs == 20
