import math
from pathlib import Path

import numpy as np
import pytest

from asr_kd.artefact import read_manifest
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.unit_stages import UnitsConfig, train_units
from asr_kd.labels.units import Units
from asr_kd.search.ctc_stages import CtcGraphConfig, make_ctc_graph
from asr_kd.search.ngram import Entry, NgramModel
from asr_kd.search.open_graph import OpenGraph
from asr_kd.search.stages import LmConfig, train_lm
from asr_kd.search.unit_lm import UnitLm

SENTENCES = ["THE CAT SAT", "A CAT", "THE MAT SAT ON A CAT"]
OPEN = CtcGraphConfig(open_vocabulary=True)


class Folders:
    def __init__(self, root: Path) -> None:
        self.root, self.text = root, root / "text"
        self.text.write_text("\n".join(SENTENCES) + "\n")
        self.units = root / "units"
        config = UnitsConfig(kind="bpe", size=20, normaliser="plain")
        train_units(self.text, self.units, config)
        self.word_lm, self.unit_lm = root / "word-lm", root / "unit-lm"
        train_lm(self.text, self.word_lm, LmConfig())
        train_lm(self.text, self.unit_lm, LmConfig(order=3), units=self.units)
        self.closed, self.open = root / "closed", root / "open"
        make_ctc_graph(self.units, self.word_lm, self.closed, CtcGraphConfig())
        make_ctc_graph(self.units, self.unit_lm, self.open, OPEN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("ctc"))


def scores_of(units: Units, text: str, blanks: int = 1) -> np.ndarray:
    path = [0]
    for label in units.encode(text):
        path += [label, *[0] * blanks]
    scores = np.full((len(path), len(units.label_set)), -8, np.float32)
    scores[np.arange(len(path)), path] = 0
    return scores


def search(folder: Path, scores: np.ndarray, penalty: float = 0.0) -> tuple[list[str], bool]:
    return OpenGraph(folder, scores.shape[1], 30.0, 7000).search(scores, penalty, "u")


def test_words_of_the_language_model_are_found(made: Folders) -> None:
    """The words are the model's own, although the units spell their normal form."""
    units = Units.read(made.closed)
    assert units.decode(units.encode("THE")) == "the"
    for sentence in (*SENTENCES, ""):
        assert search(made.closed, scores_of(units, sentence)) == (sentence.split(), True)
    assert LabelSet.load(made.closed / "labels.json") == units.label_set
    assert read_manifest(made.closed, "make-ctc-graph").info["words"] == 6
    # No word outside the language model, however it is spelled.
    words, _ = search(made.closed, scores_of(units, "tom"))
    assert set(words) <= set(" ".join(SENTENCES).split())


def test_open_vocabulary_spells_words_that_no_text_had(made: Folders) -> None:
    units = Units.read(made.open)
    for sentence in ("the cat sat", "tom scat on the hat", ""):
        assert search(made.open, scores_of(units, sentence)) == (sentence.split(), True)


def test_penalties_count_words_not_pieces(made: Folders) -> None:
    units = Units.read(made.open)
    scores = scores_of(units, "scat on hat")
    graph = OpenGraph(made.open, scores.shape[1], 60.0, 7000)
    kept = {}
    for penalty in (0.0, 2.0):
        (first, cost, acoustic), *_ = graph.nbest(scores, penalty, 3, 8.0, "u")
        assert first == ["scat", "on", "hat"]
        kept[penalty] = cost
        path = graph._decoder(penalty).decode(scores)
        assert path.cost == pytest.approx(cost + acoustic + 3 * penalty, abs=1e-2)
    assert kept[0.0] == pytest.approx(kept[2.0], abs=1e-2)
    lists = graph.nbest(scores, 0.0, 20, 30.0, "u")
    words = [tuple(one[0]) for one in lists]
    assert len(words) > 1
    assert len(set(words)) == len(words)


def test_words_that_units_cannot_spell_are_left_out(
    made: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text").write_text("THE CAT\nTHE ZEBRA\n! CAT\n<UNK> CAT\nTHE <unk>\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig())
    make_ctc_graph(made.units, tmp_path / "lm", tmp_path / "graph", CtcGraphConfig())
    assert read_manifest(tmp_path / "graph").info["words"] == 2
    left_out = "2 words of the language model are left out, as the units cannot spell them: ! ZEBRA"
    assert left_out in [record.getMessage() for record in caplog.records]


def test_symbols_of_graphs_are_no_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text").write_text("a #0 <eps> b\n")
    train_units(tmp_path / "text", tmp_path / "units", UnitsConfig(kind="char"))
    unigrams = {(word,): Entry(-0.5) for word in ("a", "#0", "<eps>", "#12", "</s>")}
    NgramModel([unigrams]).write_arpa(tmp_path / "lm.arpa")
    make_ctc_graph(tmp_path / "units", tmp_path / "lm.arpa", tmp_path / "graph", CtcGraphConfig())
    symbols = (tmp_path / "graph" / "words.txt").read_text().split()[::2]
    assert symbols == ["<eps>", "a", "#0", "<s>", "</s>"]
    assert "3 words of the language model are left out" in caplog.text


def test_faults(made: Folders, tmp_path: Path) -> None:
    def refused(units: Path, lm: Path, config: CtcGraphConfig, message: str) -> None:
        with pytest.raises(InputError, match=message):
            make_ctc_graph(units, lm, tmp_path / "out", config)
        assert not (tmp_path / "out").exists()

    refused(made.units, made.unit_lm, CtcGraphConfig(), "say open_vocabulary=true")
    refused(made.units, made.word_lm, OPEN, "language model of words")
    # A file tells as well as its folder: pieces inside of words look like words.
    refused(made.units, made.word_lm / "lm.arpa", OPEN, "language model of words")
    refused(made.units, made.unit_lm / "lm.arpa", CtcGraphConfig(), "say open_vocabulary=true")
    (tmp_path / "foreign.arpa").write_text(
        "\\data\\\nngram 1=2\n\\1-grams:\n-0.3 ▁zebra\n-0.3 </s>\n\\end\\\n"
    )
    refused(made.units, tmp_path / "foreign.arpa", OPEN, "has not one unit")
    other = tmp_path / "other"
    train_units(made.text, other, UnitsConfig(kind="char"))
    refused(other, made.unit_lm, OPEN, "label sets differ")
    (tmp_path / "text").write_text("zebra\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig())
    refused(made.units, tmp_path / "lm", CtcGraphConfig(), "not one word that the units can spell")
    with pytest.raises(InputError, match="text: 1: the units have no b r z"):
        train_lm(tmp_path / "text", tmp_path / "lm2", LmConfig(), units=made.units)
    with pytest.raises(InputError, match="not both"):
        train_lm(made.text, tmp_path / "lm2", LmConfig(), lang=other, units=made.units)


def test_probabilities_of_units(made: Folders) -> None:
    units = Units.read(made.units)
    model = NgramModel.read_arpa(made.unit_lm / "lm.arpa")
    lm = UnitLm(model, units.label_set)
    tokens = units.encode("the cat")
    names = [units.label_set.names[token] for token in tokens]
    for i, name in enumerate((*names, "</s>")):
        token = None if i == len(tokens) else tokens[i]
        expected = math.log(10) * model.log_prob(name, ("<s>", *names[:i]))
        assert lm.log_prob(token, tokens[:i]) == pytest.approx(expected)
    every = [lm.log_prob(t, tokens) for t in (None, *range(1, len(units.label_set)))]
    assert np.exp(every).sum() == pytest.approx(1)
