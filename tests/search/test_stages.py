from dataclasses import replace
from itertools import count
from pathlib import Path

import kaldifst
import pytest

from asr_kd.artefact import read_manifest
from asr_kd.errors import InputError
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.lang import Lang
from asr_kd.labels.tying import LEFT, Question, Split, Tying
from asr_kd.labels.unit_stages import UnitsConfig, train_units
from asr_kd.search.decoder import num_input_labels
from asr_kd.search.ngram import NgramModel
from asr_kd.search.stages import (
    GraphConfig,
    LangConfig,
    LmConfig,
    make_graph,
    prepare_lang,
    train_lm,
)


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    folder = tmp_path / "dict"
    folder.mkdir()
    (folder / "lexicon.txt").write_text("A AH\nA EY\nBE B IY\n")
    for name in ("silence_phones", "optional_silence"):
        (folder / f"{name}.txt").write_text("SIL\n")
    return folder


@pytest.fixture
def lang(tmp_path: Path, dictionary: Path) -> Path:
    prepare_lang(dictionary, tmp_path / "lang", LangConfig())
    return tmp_path / "lang"


def test_language_folder(lang: Path) -> None:
    info = read_manifest(lang, "prepare-lang").info
    assert info == {"words": 2, "pronunciations": 3, "phones": 5, "labels": 17, "oov": None}
    assert (lang / "words.txt").read_text() == "<eps> 0\nA 1\nBE 2\n#0 3\n<s> 4\n</s> 5\n"
    plain, disambiguated = (
        kaldifst.StdVectorFst.read(str(lang / f"{name}.fst")) for name in ("L", "L_disambig")
    )
    assert plain.start >= 0
    assert disambiguated.num_states > plain.num_states


def test_faulty_dictionary_leaves_the_former_language(lang: Path, dictionary: Path) -> None:
    (dictionary / "lexicon.txt").write_text("A AH\nB\n")
    with pytest.raises(InputError, match=r"lexicon.txt:2: B has no phones"):
        prepare_lang(dictionary, lang, LangConfig())
    assert Lang.read(lang).lexicon.words == ["A", "BE"]


def test_lm_covers_the_language(tmp_path: Path, lang: Path) -> None:
    text = tmp_path / "text"
    text.write_text("A A\n\nA\n")
    train_lm(text, tmp_path / "lm", LmConfig(), lang)
    model = NgramModel.read_arpa(tmp_path / "lm" / "lm.arpa")
    assert set(model.words) == {"A", "BE", "<s>", "</s>"}
    assert read_manifest(tmp_path / "lm", "train-lm").info["sentences"] == 2


def test_text_faults_with_their_lines(tmp_path: Path, lang: Path) -> None:
    text = tmp_path / "text"
    text.write_text("A C\n<s> A </s>\n#0\n")
    with pytest.raises(InputError) as error:
        train_lm(text, tmp_path / "lm", LmConfig(), lang)
    assert [fault.split(": ")[0] for fault in error.value.faults] == [
        f"{text}:1", f"{text}:2", f"{text}:2", f"{text}:3",
    ]  # fmt: skip
    assert "'C' is not in the lexicon" in error.value.faults[0]
    assert not (tmp_path / "lm").exists()
    text.write_text("\n \n")
    with pytest.raises(InputError, match="no sentence in it"):
        train_lm(text, tmp_path / "lm", LmConfig())
    with pytest.raises(InputError, match="no such file"):
        train_lm(tmp_path / "nothing", tmp_path / "lm", LmConfig())


def test_unknown_word_takes_what_the_lexicon_lacks(tmp_path: Path, dictionary: Path) -> None:
    (dictionary / "lexicon.txt").write_text("A AH\n<UNK> SIL\n")
    prepare_lang(dictionary, tmp_path / "lang", LangConfig())
    (tmp_path / "text").write_text("A ZEBRA\n")
    config = LmConfig(smoothing="kneser-ney")
    train_lm(tmp_path / "text", tmp_path / "lm", config, tmp_path / "lang")
    model = NgramModel.read_arpa(tmp_path / "lm" / "lm.arpa")
    assert ("A", "<UNK>") in model.ngrams[1]
    assert "ZEBRA" not in model.words


def test_graph_from_folder_or_file(tmp_path: Path, lang: Path) -> None:
    (tmp_path / "text").write_text("A BE\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig(), lang)
    make_graph(lang, tmp_path / "lm", tmp_path / "g1", GraphConfig())
    make_graph(lang, tmp_path / "lm" / "lm.arpa", tmp_path / "g2", GraphConfig())
    graphs = [(tmp_path / g / "HCLG.fst").read_bytes() for g in ("g1", "g2")]
    assert graphs[0] == graphs[1]
    assert LabelSet.load(tmp_path / "g1" / "labels.json") == Lang.read(lang).label_set
    assert (tmp_path / "g1" / "words.txt").read_text() == (lang / "words.txt").read_text()


def test_graph_takes_trained_transitions(tmp_path: Path, lang: Path) -> None:
    (tmp_path / "text").write_text("A BE\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig(), lang)
    make_graph(lang, tmp_path / "lm", tmp_path / "g", GraphConfig())
    before = (tmp_path / "g" / "HCLG.fst").read_bytes()
    (tmp_path / "ali").mkdir()
    Lang.read(lang).topology.trained({(5, 5): 9000, (5, 6): 10}).save(tmp_path / "ali/topo.json")
    # The same folder again, because another input is another graph.
    make_graph(lang, tmp_path / "lm", tmp_path / "g", GraphConfig(), tmp_path / "ali")
    assert (tmp_path / "g" / "HCLG.fst").read_bytes() != before


def test_graph_of_tied_states_is_keyed_by_the_trees(tmp_path: Path, lang: Path) -> None:
    (tmp_path / "text").write_text("A BE\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig(), lang)
    language = Lang.read(lang)
    stat = []
    for left in ("SIL", "SIL", "AH"):  # the second time nothing has changed
        numbers = count()
        trees = {
            phone: tuple(next(numbers) for _ in range(hmm.num_states))
            for phone, hmm in language.topology.hmms.items()
        }
        question = Question(LEFT, frozenset({left, None}))
        trees["AH"] = (Split(question, trees["AH"][0], next(numbers)), *trees["AH"][1:])
        tied = replace(language, tying=Tying(False, trees))
        tied.write(tmp_path / "tied")
        # Transition probabilities of phones serve their tied states too.
        make_graph(tmp_path / "tied", tmp_path / "lm", tmp_path / "g", GraphConfig(), lang)
        assert LabelSet.load(tmp_path / "g" / "labels.json") == tied.label_set
        stat.append((tmp_path / "g" / "HCLG.fst").stat().st_ino)
    assert stat[0] == stat[1] != stat[2]
    graph = kaldifst.StdVectorFst.read(str(tmp_path / "g" / "HCLG.fst"))
    assert num_input_labels(graph) == len(tied.label_set) == len(language.label_set) + 1


def test_graph_refuses_transitions_of_other_states(
    tmp_path: Path, lang: Path, dictionary: Path
) -> None:
    prepare_lang(dictionary, tmp_path / "other", LangConfig(states=2))
    (tmp_path / "text").write_text("A BE\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig(), lang)
    with pytest.raises(InputError, match="label sets differ"):
        make_graph(lang, tmp_path / "lm", tmp_path / "g", GraphConfig(), tmp_path / "other")
    assert not (tmp_path / "g").exists()


def test_lm_of_other_words_is_refused(tmp_path: Path, lang: Path) -> None:
    (tmp_path / "text").write_text("X Y\n")
    train_lm(tmp_path / "text", tmp_path / "lm", LmConfig())
    with pytest.raises(InputError, match="has not one of its words"):
        make_graph(lang, tmp_path / "lm", tmp_path / "g", GraphConfig())
    assert not (tmp_path / "g").exists()


def test_transcripts_with_ids_are_no_sentences(tmp_path: Path, lang: Path) -> None:
    (tmp_path / "text").write_text("s-1 A B\n")
    (tmp_path / "utt2spk").write_text("s-1 s\n")
    for make in (
        lambda: train_lm(tmp_path / "text", tmp_path / "lm", LmConfig(), lang),
        lambda: train_units(tmp_path / "text", tmp_path / "units", UnitsConfig(kind="char")),
    ):
        with pytest.raises(InputError, match=r"lines begin with utterance ids; .*cut -d' ' -f2- "):
            make()
