import math
from pathlib import Path

import kaldifst
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation
from asr_kd.search.grammar_fst import grammar_fst
from asr_kd.search.ngram import Entry, NgramModel
from asr_kd.search.smoothing import Smoothing, estimate

WORDS = ["A", "B", "C", "D"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=8), min_size=1, max_size=15)
SMOOTHINGS = st.sampled_from(["witten-bell", "kneser-ney"])


def prob(model: NgramModel, word: str, *history: str) -> float:
    return 10 ** model.log_prob(word, history)


def test_witten_bell_by_hand() -> None:
    model = estimate([["A", "B"], ["A"]], 2, "witten-bell")
    # Unigrams: A 2, B 1, </s> 2 of 5 tokens and 3 types, the rest of the mass spread over 3 words.
    assert prob(model, "A") == pytest.approx((2 + 3 / 3) / 8)
    assert prob(model, "B") == pytest.approx((1 + 3 / 3) / 8)
    assert prob(model, "</s>") == pytest.approx(3 / 8)
    # After <s>: A twice, one type. After A: B and </s> once each, two types.
    assert prob(model, "A", "<s>") == pytest.approx((2 + 3 / 8) / 3)
    assert prob(model, "B", "A") == pytest.approx((1 + 2 * 2 / 8) / 4)
    assert prob(model, "</s>", "A") == pytest.approx((1 + 2 * 3 / 8) / 4)
    assert prob(model, "</s>", "B") == pytest.approx((1 + 3 / 8) / 2)
    # Not seen: the back-off weight of the history times the unigram.
    assert prob(model, "B", "<s>") == pytest.approx(1 / 3 * 2 / 8)
    assert prob(model, "A", "A") == pytest.approx(1 / 2 * 3 / 8)


def test_kneser_ney_by_hand() -> None:
    # Too little text for discounts of its own: 0.5, 1, 1.5.
    model = estimate([["A", "B"], ["A"]], 2, "kneser-ney")
    # Unigrams count different words before: A after <s>; B after A; </s> after A and B.
    gamma = (0.5 + 0.5 + 1.0) / 4
    a, b, end = 0.5 / 4 + gamma / 3, 0.5 / 4 + gamma / 3, 1.0 / 4 + gamma / 3
    assert prob(model, "A") == pytest.approx(a)
    assert prob(model, "B") == pytest.approx(b)
    assert prob(model, "</s>") == pytest.approx(end)
    assert prob(model, "A", "<s>") == pytest.approx(1 / 2 + 1 / 2 * a)
    assert prob(model, "B", "A") == pytest.approx(0.5 / 2 + 1 / 2 * b)
    assert prob(model, "</s>", "A") == pytest.approx(0.5 / 2 + 1 / 2 * end)
    assert prob(model, "</s>", "B") == pytest.approx(0.5 + 0.5 * end)
    assert prob(model, "B", "B") == pytest.approx(0.5 * b)


def test_kneser_ney_estimates_its_discounts() -> None:
    # Four words once, two twice, one three times, </s> four times: n1..n4 = 4, 2, 1, 1.
    sentences = [["a", "b", "c", "d"], ["e", "e", "f", "f"], ["g", "g", "g"], []]
    model = estimate(sentences, 1, "kneser-ney")
    y = 4 / (4 + 2 * 2)
    d1, d2, d3 = 1 - 2 * y * 2 / 4, 2 - 3 * y * 1 / 2, 3 - 4 * y * 1 / 1
    assert (d1, d2, d3) == (0.5, 1.25, 1.0)
    gamma = (4 * d1 + 2 * d2 + 2 * d3) / 15
    assert prob(model, "a") == pytest.approx((1 - d1) / 15 + gamma / 8)
    assert prob(model, "e") == pytest.approx((2 - d2) / 15 + gamma / 8)
    assert prob(model, "g") == pytest.approx((3 - d3) / 15 + gamma / 8)
    assert prob(model, "</s>") == pytest.approx((4 - d3) / 15 + gamma / 8)


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(1, 4), SMOOTHINGS)
def test_probabilities_sum_to_one_after_every_history(
    sentences: list[list[str]], order: int, smoothing: Smoothing
) -> None:
    model = estimate(sentences, order, smoothing, [*WORDS, "UNSEEN"])
    vocabulary = [*WORDS, "UNSEEN", "</s>"]
    histories = {ngram[:-1] for level in model.ngrams for ngram in level}
    for history in [*histories, ("UNSEEN",), ("D", "D", "D", "D")]:
        total = sum(prob(model, word, *history) for word in vocabulary)
        assert total == pytest.approx(1, abs=1e-9), history


@settings(max_examples=40, deadline=None)
@given(sentences=SENTENCES, order=st.integers(1, 4), smoothing=SMOOTHINGS)
def test_arpa_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[str]],
    order: int,
    smoothing: Smoothing,
) -> None:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    model = estimate(sentences, order, smoothing)
    model.write_arpa(path)
    again = NgramModel.read_arpa(path)
    assert again.order == order
    for level, other in zip(model.ngrams, again.ngrams, strict=True):
        assert level.keys() == other.keys()
        for ngram, entry in level.items():
            backoff = entry.backoff if len(ngram) < order else 0.0
            assert tuple(other[ngram]) == pytest.approx((entry.log_prob, backoff), abs=1e-6)


def lang_of(words: list[str]) -> Lang:
    entries = tuple(Pronunciation(word, 1.0, (word.lower(),)) for word in words)
    return Lang.build(
        Lexicon(entries, ("SIL",), "SIL", tuple(w.lower() for w in words)), 1, 1, "<UNK>", 0.5
    )


def grammar_cost(lang: Lang, model: NgramModel, sentence: list[str]) -> float:
    """Cost of a sentence in G if a back-off arc is taken only where there is no other way."""
    fst = grammar_fst(lang, model)
    state, cost = fst.start, 0.0
    for word in [*sentence, None]:
        while True:
            arcs = {arc.ilabel: arc for arc in kaldifst.ArcIterator(fst, state)}
            assert len(arcs) == fst.num_arcs(state), "G is deterministic"
            if word is None and fst.final(state).value < math.inf:
                return cost + fst.final(state).value
            found = word is not None and lang.words[word] in arcs
            arc = arcs[lang.words[word] if word is not None and found else lang.words["#0"]]
            cost, state = cost + arc.weight.value, arc.nextstate
            if found:
                break
    raise AssertionError


@settings(max_examples=40, deadline=None)
@given(SENTENCES, st.integers(1, 4), SMOOTHINGS, st.lists(st.sampled_from(WORDS), max_size=6))
def test_grammar_gives_the_models_probability(
    sentences: list[list[str]], order: int, smoothing: Smoothing, sentence: list[str]
) -> None:
    model = estimate(sentences, order, smoothing, WORDS)
    expected, history = 0.0, ["<s>"]
    for word in [*sentence, "</s>"]:
        expected -= math.log(10) * model.log_prob(word, history)
        history.append(word)
    assert grammar_cost(lang_of(WORDS), model, sentence) == pytest.approx(expected, abs=1e-3)


def test_back_off_weights_of_histories_without_ngrams_are_paid() -> None:
    # (A, B) has a back-off weight but no trigram begins with it; (B) has none of its own.
    unigrams = {(w,): Entry(-1.0, -0.5) for w in WORDS} | {("</s>",): Entry(-0.3)}
    bigrams = {("A", "B"): Entry(-0.2, -0.7), ("C", "D"): Entry(-0.4)}
    model = NgramModel([unigrams, bigrams, {("C", "D", "A"): Entry(-0.1)}])
    expected = -math.log(10) * (
        model.log_prob("A", ["<s>"]) + model.log_prob("B", ["<s>", "A"])
        + model.log_prob("C", ["A", "B"]) + model.log_prob("</s>", ["B", "C"])
    )  # fmt: skip
    assert model.log_prob("C", ["A", "B"]) == pytest.approx(-0.7 - 0.5 - 1.0)
    assert grammar_cost(lang_of(WORDS), model, ["A", "B", "C"]) == pytest.approx(expected, abs=1e-4)


GOOD = """Something that an old tool wrote: \\data\\ begins below
ngram 1=nr

\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-0.5 </s> -99
-99 <s> 0.0
-0.5 A -0.3

\\2-grams:
0.0 <s> </s>
\\end\\
junk after the end
"""


def test_reads_what_old_tools_wrote(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GOOD)
    model = NgramModel.read_arpa(path)
    assert model.ngrams[0][("A",)] == Entry(-0.5, -0.3)
    assert model.ngrams[1] == {("<s>", "</s>"): Entry(0.0)}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\n\\data\\\n", "\n", "no line \\data\\"),
        ("\\end\\", "", "truncated: no line \\end\\"),
        ("-0.5 A -0.3", "-0.5 A x", "lm.arpa:11: '-0.5' or 'x' is not a number"),
        ("-0.5 A -0.3", "0.5 A -0.3", "lm.arpa:11: 0.5 is no log10 probability"),
        ("-0.5 A -0.3", "nan A -0.3", "lm.arpa:11: nan is no log10 probability"),
        ("-0.5 A -0.3", "-0.5 A B C", "lm.arpa:11: expected a number, 1 words"),
        ("-0.5 A -0.3", "-0.5 A\n-0.5 A", "lm.arpa:12: A stands already"),
        ("ngram 1=3", "ngram 1=4", "[4, 1] n-grams are announced, [3, 1] found"),
        ("ngram 1=3", "ngram 1=x", "lm.arpa:5: 'ngram 1=x': expected ngram 1=COUNT"),
        ("\\2-grams:", "\\3-grams:", "expected \\2-grams: or \\end\\"),
        ("-0.5 </s> -99", "-0.5 B", "no unigram </s>"),
    ],
)
def test_faults_with_their_lines(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "lm.arpa"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        NgramModel.read_arpa(path)
    assert fault in str(error.value)


def test_lm_of_an4(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = NgramModel.read_arpa(shared_data / "an4" / "etc" / "an4.ug.lm")
    assert [len(level) for level in model.ngrams] == [107, 1]
    grammar = grammar_fst(lang_of(["A", "ZERO"]), model)
    assert "words of the language model are left out" in caplog.text
    assert "probabilities after <s> sum to 1.99" in caplog.text
    assert grammar.num_states == 2
