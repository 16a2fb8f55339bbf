"""What is kept of a language model is, for the sentences asked for, the whole of it."""

import gzip
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
from asr_kd.search.needed_ngrams import read_needed
from asr_kd.search.ngram import NgramModel
from asr_kd.search.smoothing import Smoothing, estimate

WORDS = ["A", "B", "Ç", "D"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), max_size=8), min_size=1, max_size=15)
SMOOTHINGS = st.sampled_from(["witten-bell", "kneser-ney"])


def cost_by(model: NgramModel, sentence: tuple[str, ...]) -> float:
    marked = ["<s>", *sentence, "</s>"]
    return -math.log(10) * sum(
        model.log_prob(word, marked[:i]) for i, word in enumerate(marked) if i
    )


def least_cost_by(model: NgramModel, sentence: tuple[str, ...]) -> float:
    """The cheapest path of a sentence through G, by composition."""
    entries = tuple(Pronunciation(word, 1.0, (word.lower(),)) for word in WORDS)
    lang = Lang.build(
        Lexicon(entries, ("SIL",), "SIL", tuple(w.lower() for w in WORDS)), 1, 1, "<UNK>", 0.5
    )
    grammar = grammar_fst(lang, model)
    said = kaldifst.make_linear_acceptor([lang.words[word] for word in sentence])
    # #0 is read from nothing.
    for state in range(said.num_states):
        said.add_arc(state, kaldifst.StdArc(0, lang.words["#0"], 0.0, state))
    kaldifst.arcsort(said, "olabel")
    paths = kaldifst.StdVectorFst(kaldifst.compose(said, grammar))
    best = kaldifst.shortest_path(paths)
    return kaldifst.get_linear_symbol_sequence(best)[3].value if best.start >= 0 else math.inf


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(1, 4), SMOOTHINGS, SENTENCES, st.booleans())
def test_costs_are_those_of_the_whole_model(
    tmp_path_factory: pytest.TempPathFactory,
    text: list[list[str]],
    order: int,
    smoothing: Smoothing,
    asked: list[list[str]],
    packed: bool,
) -> None:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    estimate(text, order, smoothing, WORDS).write_arpa(path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    whole = NgramModel.read_arpa(path)
    sentences = {tuple(words) for words in asked}
    kept = read_needed(path, sentences)
    for sentence in sentences:
        assert kept.cost(sentence) == pytest.approx(cost_by(whole, sentence), abs=1e-9)
        assert kept.least_cost(sentence) == pytest.approx(least_cost_by(whole, sentence), abs=1e-3)
        assert kept.least_cost(sentence) <= kept.cost(sentence) + 1e-9
    stands = [("<s>", *sentence, "</s>") for sentence in sentences]
    for level in kept.model.ngrams:
        for ngram in level:
            n = len(ngram)
            assert any(s[i : i + n] == ngram for s in stands for i in range(len(s)))


LM = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-0.5 </s>
-99 <s> -0.1
-0.7\tA\t-0.2
-1.5 <UNK> -0.3

\\2-grams:
-0.2 <s> A
-0.4 A <UNK>
-0.6 <UNK> </s>

\\end\\
"""


def read(tmp_path: Path, text: str, *sentences: tuple[str, ...]) -> object:
    path = tmp_path / "lm.arpa"
    path.write_text(text)
    return read_needed(path, sentences)


def test_words_that_the_model_lacks_are_its_unknown_word(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(LM)
    model = read_needed(path, [("A", "QUIXOTIC")])
    assert model.missing == {"QUIXOTIC"}
    assert model.unknown == "<UNK>"
    assert model.cost(("A", "QUIXOTIC")) == pytest.approx(math.log(10) * (0.2 + 0.4 + 0.6))
    without = LM.replace("<UNK>", "B")
    path.write_text(without)
    model = read_needed(path, [("A", "QUIXOTIC")])
    assert model.unknown is None
    # <s> A, a word of the probability 1e-99, and the end without any history.
    assert model.cost(("A", "QUIXOTIC")) == pytest.approx(math.log(10) * (0.2 + 99 + 0.5))
    assert model.least_cost(("A", "QUIXOTIC")) == math.inf


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\\data\\\n", "\n", "no line \\data\\"),
        ("\\end\\", "", "the end of the file instead of \\3-grams: or \\end\\"),
        ("\\2-grams:", "\\3-grams:", "\\3-grams: instead of \\2-grams:"),
        ("ngram 1=4", "ngram 1=5", "[5, 3] n-grams are announced, [4, 3] found"),
        ("ngram 2=3", "ngram 3=3", "lm.arpa:3: expected ngram ORDER=COUNT"),
        ("-0.7\tA\t-0.2", "x A -0.2", "lm.arpa:8: b'x' or b'-0.2' is not a number"),
        ("-0.7\tA\t-0.2", "0.7 A -0.2", "lm.arpa:8: 0.7 is no log10 probability"),
        ("-0.2 <s> A", "-0.2 <s>", "lm.arpa:12: expected a number, 2 words"),
        ("-0.4 A <UNK>", "-0.4 <s> A", "lm.arpa:13: <s> A stands already"),
        ("-0.5 </s>", "-0.5 B", "no unigram </s>"),
    ],
)
def test_faults_with_their_lines(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in LM
    with pytest.raises(InputError) as error:
        read(tmp_path, LM.replace(old, new, 1), ("A",))
    assert fault in str(error.value)


def test_packed_files_that_are_cut_off_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress(LM.encode())[:-20])
    for reader in (NgramModel.read_arpa, lambda p: read_needed(p, [("A",)])):
        with pytest.raises(InputError, match=r"lm\.arpa\.gz: damaged or cut off"):
            reader(path)
    path.write_bytes(gzip.compress(LM.encode()))
    assert NgramModel.read_arpa(path).log_prob("A", ["<s>"]) == -0.2
    with pytest.raises(InputError, match=r"none\.arpa: no such file"):
        read_needed(tmp_path / "none.arpa", [("A",)])
