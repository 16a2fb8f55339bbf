import math
from itertools import product
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.labels.topology import Topology
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.decoder import Path as DecodedPath
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.graph import TrainingGraphs, decoding_graph
from asr_kd.search.ngram import Entry, NgramModel

# Two homophones (BE, BEE), a prefix (B of BE), a word with two variants, an <UNK> of silence.
LEXICON = Lexicon(
    (
        Pronunciation("A", 1.0, ("AH",)),
        Pronunciation("A", 0.5, ("EY", "IY")),
        Pronunciation("BE", 1.0, ("B", "IY")),
        Pronunciation("BEE", 1.0, ("B", "IY")),
        Pronunciation("B", 1.0, ("B",)),
        Pronunciation("<UNK>", 1.0, ("SIL",)),
    ),
    ("SIL",),
    "SIL",
    ("AH", "B", "EY", "IY"),
)


@pytest.fixture(params=[(3, 5), (1, 1), (2, 3)], ids=str)
def lang(request: pytest.FixtureRequest) -> Lang:
    states, silence_states = request.param
    return Lang.build(LEXICON, states, silence_states, "<UNK>", 0.5)


def utterance(lang: Lang, phones: str, frames_per_state: int = 2) -> np.ndarray:
    """pdf-ids of a sequence of phones that go through their states in turn."""
    topology = lang.topology
    pdf_ids = [
        topology.first_pdf[phone] + state
        for phone in phones.split()
        for state in range(topology.hmms[phone].num_states)
        for _ in range(frames_per_state)
    ]
    return np.array(pdf_ids, np.int32)


def planted(lang: Lang, pdf_ids: np.ndarray, strength: float = 20.0) -> np.ndarray:
    scores = np.random.default_rng(0).normal(size=(len(pdf_ids), len(lang.label_set)))
    scores[np.arange(len(pdf_ids)), pdf_ids] += strength
    return scores.astype(np.float32)


def align(lang: Lang, words: str, scores: np.ndarray) -> DecodedPath:
    graph = TrainingGraphs(lang)([lang.words[word] for word in words.split()])
    return GraphDecoder(graph, len(lang.label_set), beam=100.0).decode(scores)


@pytest.mark.parametrize(
    "phones",
    [
        "AH B IY",  # first variant, no silence
        "EY IY B IY",  # second variant
        "SIL AH B IY",  # silence before, between, after
        "AH SIL B IY",
        "AH B IY SIL",
        "SIL EY IY SIL B IY SIL",
    ],
)
def test_planted_variant_and_silence_are_found(lang: Lang, phones: str) -> None:
    pdf_ids = utterance(lang, phones)
    path = align(lang, "A BE", planted(lang, pdf_ids))
    assert path.complete
    assert path.labels.tolist() == pdf_ids.tolist()
    assert path.words == [lang.words["A"], lang.words["BE"]]


def test_no_transcript_is_silence(lang: Lang) -> None:
    pdf_ids = utterance(lang, "SIL")
    path = align(lang, "", planted(lang, pdf_ids))
    assert path.complete
    assert path.labels.tolist() == pdf_ids.tolist()
    assert path.words == []


def test_shortest_alignment_has_min_frames(lang: Lang) -> None:
    needed = lang.min_frames([lang.words["A"], lang.words["BE"]])
    num_labels = len(lang.label_set)
    assert align(lang, "A BE", np.zeros((needed, num_labels), np.float32)).complete
    assert not align(lang, "A BE", np.zeros((needed - 1, num_labels), np.float32)).complete


def test_cost_is_the_sum_of_its_parts() -> None:
    lang = Lang.build(LEXICON, 1, 1, "<UNK>", 0.2)
    transitions = dict.fromkeys(("EY", "IY"), lang.topology.hmms["EY"].transitions[0])
    stay, leave = (prob for _, prob in transitions["EY"])
    pdf_ids = utterance(lang, "EY IY", 3)
    scores = planted(lang, pdf_ids)
    path = align(lang, "A", scores)
    graph = -math.log(0.8) * 2 - math.log(0.5)  # no silence twice, the second variant
    # Self-loops and leaving, both at the scale of 0.1; one state has one successor.
    hmm = -0.1 * (4 * math.log(stay) + 2 * math.log(leave))
    expected = graph + hmm - scores[np.arange(6), pdf_ids].sum()
    assert path.cost == pytest.approx(expected, abs=1e-3)


def uniform(words: list[str]) -> NgramModel:
    log_prob = math.log10(1 / (len(words) + 1))
    return NgramModel([{(word,): Entry(log_prob) for word in [*words, "</s>"]}])


def test_planted_words_are_recognised(lang: Lang) -> None:
    graph = decoding_graph(lang, grammar_fst(lang, uniform(["A", "B", "BE"])))
    decoder = GraphDecoder(graph, len(lang.label_set), beam=200.0)
    for phones, words in (
        ("SIL EY IY SIL B AH", "A B A"),
        ("B SIL B IY AH SIL", "B BE A"),
        ("AH", "A"),
        ("SIL", ""),
    ):
        pdf_ids = utterance(lang, phones)
        path = decoder.decode(planted(lang, pdf_ids))
        assert path.complete
        assert path.labels.tolist() == pdf_ids.tolist()
        assert [word for n in path.words for word, m in lang.words.items() if m == n] == (
            words.split()
        )


BIGRAMS = NgramModel(
    [
        {
            ("A",): Entry(-0.7, -0.2), ("BE",): Entry(-0.6, -0.1), ("BEE",): Entry(-0.5, -0.3),
            ("B",): Entry(-0.8), ("</s>",): Entry(-0.4), ("<s>",): Entry(-99, -0.25),
        },
        {
            ("<s>", "A"): Entry(-0.3), ("A", "BE"): Entry(-0.2), ("BEE", "A"): Entry(-0.1),
            ("A", "</s>"): Entry(-0.35), ("BE", "BEE"): Entry(-0.15),
        },
    ]
)  # fmt: skip


def lm_cost(model: NgramModel, words: tuple[str, ...]) -> float:
    history = ["<s>"]
    total = 0.0
    for word in (*words, "</s>"):
        total += model.log_prob(word, history)
        history.append(word)
    return -math.log(10) * total


def test_decoding_is_exhaustive_search_over_sentences() -> None:
    lang = Lang.build(LEXICON, 1, 2, "<UNK>", 0.5)
    graph = decoding_graph(lang, grammar_fst(lang, BIGRAMS))
    decoder = GraphDecoder(graph, len(lang.label_set), beam=1000.0)
    graphs = TrainingGraphs(lang)
    rng = np.random.default_rng(3)
    for trial in range(12):
        scores = (rng.normal(size=(4, len(lang.label_set))) * 2).astype(np.float32)
        costs = {}
        for length in range(4):
            for words in product(("A", "BE", "BEE", "B"), repeat=length):
                transcript = graphs([lang.words[word] for word in words])
                path = GraphDecoder(transcript, len(lang.label_set), 100.0).decode(scores)
                if path.complete:
                    costs[words] = path.cost + lm_cost(BIGRAMS, words)
        best = min(costs, key=lambda words: costs[words])
        path = decoder.decode(scores)
        assert path.cost == pytest.approx(costs[best], abs=2e-2), trial
        assert [lang.words[word] for word in best] == path.words


def test_trained_transitions_enter_the_graph() -> None:
    lang = Lang.build(LEXICON, 1, 1, "<UNK>", 0.5)
    ah = lang.topology.first_pdf["AH"]
    trained: Topology = lang.topology.trained({(ah, ah): 10**6, (ah, -1): 10**3})
    scores = planted(lang, utterance(lang, "AH", 5))
    before = align(lang, "A", scores).cost
    after = align(Lang(LEXICON, trained, "<UNK>", 0.5), "A", scores).cost
    stay, leave = 1 / 1.001, 0.001 / 1.001
    expected = -0.1 * (4 * math.log(stay / 0.75) + math.log(leave / 0.25))
    assert after - before == pytest.approx(expected, abs=1e-2)


def test_words_without_sound_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    lang = Lang.build(LEXICON, 1, 1, "<UNK>", 0.5)
    grammar = grammar_fst(lang, uniform(["A", "<UNK>", "ZEBRA"]))  # <UNK> is no word to miss
    assert sum(grammar.num_arcs(s) for s in range(grammar.num_states)) == 1
    left_out = "1 words of the language model are left out, as the lexicon has no sound for them"
    assert f"{left_out}: ZEBRA" in caplog.text
    assert "3 words of the lexicon are not in the language model" in caplog.text
    endless = NgramModel([{("A",): Entry(-0.1), ("</s>",): Entry(-99)}])
    with pytest.raises(InputError, match="allows no sequence"):
        decoding_graph(lang, grammar_fst(lang, endless))


def test_graph_survives_a_file(tmp_path: Path) -> None:
    lang = Lang.build(LEXICON, 3, 5, "<UNK>", 0.5)
    graph = decoding_graph(lang, grammar_fst(lang, BIGRAMS))
    assert graph.write(str(tmp_path / "HCLG.fst"))
    again = kaldifst.StdVectorFst.read(str(tmp_path / "HCLG.fst"))
    scores = planted(lang, utterance(lang, "SIL AH B IY"), 3.0)
    paths = [GraphDecoder(g, len(lang.label_set)).decode(scores) for g in (graph, again)]
    assert paths[0].words == paths[1].words
    assert paths[0].cost == paths[1].cost
