from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon, Pronunciation


def write_dict(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    defaults = {
        "lexicon": "A AH\nA EY\nBE B IY\n",
        "silence_phones": "SIL\n",
        "optional_silence": "SIL\n",
    }
    for name, text in (defaults | files).items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_reads_variants_and_sorts_of_phones(tmp_path: Path) -> None:
    lexicon = Lexicon.read(write_dict(tmp_path))
    assert lexicon.pronunciations == (
        Pronunciation("A", 1.0, ("AH",)),
        Pronunciation("A", 1.0, ("EY",)),
        Pronunciation("BE", 1.0, ("B", "IY")),
    )
    assert lexicon.words == ["A", "BE"]
    assert lexicon.nonsilence_phones == ("AH", "B", "EY", "IY")
    lexicon.write(tmp_path / "again")
    assert Lexicon.read(tmp_path / "again") == lexicon


def test_probabilities_come_from_lexiconp(tmp_path: Path) -> None:
    folder = write_dict(tmp_path, lexiconp="A 1.0 AH\nA 0.25 EY\n")
    assert [p.prob for p in Lexicon.read(folder).pronunciations] == [1.0, 0.25]


def test_all_faults_together_with_their_lines(tmp_path: Path) -> None:
    folder = write_dict(
        tmp_path,
        lexicon="A AH\n\nB\nA AH\n<eps> AH\n<s> AH\nC QQ\n#1 AH\n",
        nonsilence_phones="AH\nSIL\nAH\n#2\n",
        optional_silence="NSN\n",
    )
    with pytest.raises(InputError) as error:
        Lexicon.read(folder)
    faults = error.value.faults
    expected = {
        "lexicon.txt:2": "blank line",
        "lexicon.txt:3": "B has no phones",
        "lexicon.txt:4": "stands already in line 1",
        "lexicon.txt:5": "<eps> is reserved",
        "lexicon.txt:6": "<s> is reserved",
        "lexicon.txt:7": "phone QQ is neither",
        "lexicon.txt:8": "#1 is reserved",
        "nonsilence_phones.txt:2": "SIL is also in silence_phones.txt",
        "nonsilence_phones.txt:3": "AH stands already in line 1",
        "nonsilence_phones.txt:4": "#2 is reserved",
        "optional_silence.txt": "exactly one of the silence phones",
    }
    for place, what in expected.items():
        assert any(f"{folder / place}:" in fault and what in fault for fault in faults), place
    assert len(faults) == len(expected)


@pytest.mark.parametrize("prob", ["0", "1.5", "nan", "x"])
def test_bad_probability(tmp_path: Path, prob: str) -> None:
    folder = write_dict(tmp_path, lexiconp=f"A 1 AH\nA {prob} EY\n")
    with pytest.raises(InputError, match=r"lexiconp.txt:2: A: .* is not a probability"):
        Lexicon.read(folder)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    folder = write_dict(tmp_path, silence_phones="")
    (folder / "lexicon.txt").unlink()
    with pytest.raises(InputError) as error:
        Lexicon.read(folder)
    assert f"{folder / 'lexicon.txt'}: no such file" in error.value.faults
    assert f"{folder / 'silence_phones.txt'}: empty" in error.value.faults


def test_disambiguation_marks_homophones_and_prefixes(tmp_path: Path) -> None:
    text = "RED R EH D\nREAD R EH D\nRE R EH\nBE B IY\nBEE B IY\nBI B IY\nGO G OW\n"
    lexicon = Lexicon.read(write_dict(tmp_path, lexicon=text))
    symbols = lexicon.disambiguation()
    assert symbols == [1, 2, 1, 1, 2, 3, 0]
    ended = [(*p.phones, k) for p, k in zip(lexicon.pronunciations, symbols, strict=True)]
    assert len(set(ended)) == len(ended)


def build(folder: Path, **files: str) -> Lang:
    return Lang.build(Lexicon.read(write_dict(folder, **files)), 3, 5, "<UNK>", 0.5)


def test_lang_round_trip(tmp_path: Path) -> None:
    lang = build(tmp_path / "dict")
    lang.write(tmp_path / "lang")
    again = Lang.read(tmp_path / "lang")
    assert again == lang
    assert again.label_set == lang.label_set
    assert lang.label_set.names[:6] == ("SIL_0", "SIL_1", "SIL_2", "SIL_3", "SIL_4", "AH_0")
    assert len(lang.label_set) == 5 + 3 * 4
    assert lang.words == {"<eps>": 0, "A": 1, "BE": 2, "#0": 3, "<s>": 4, "</s>": 5}
    assert list(lang.phones)[:3] == ["<eps>", "SIL", "AH"]


def test_transcripts(tmp_path: Path) -> None:
    lang = build(tmp_path)
    assert lang.encode({"u": "BE A", "v": ""}, "text") == {"u": [2, 1], "v": []}
    assert lang.min_frames([1, 2]) == 3 + 6
    with pytest.raises(InputError) as error:
        lang.encode({"u": "BE X Y X", "v": "#0"}, "data/text")
    assert error.value.faults[:3] == [
        "data/text: u: 'X' is not in the lexicon",
        "data/text: u: 'Y' is not in the lexicon",
        "data/text: v: '#0' is not in the lexicon",
    ]


def test_unknown_word_stands_for_all_others(tmp_path: Path) -> None:
    lang = build(tmp_path, lexicon="A AH\n<UNK> SIL\n")
    assert lang.oov == "<UNK>"
    assert lang.encode({"u": "A X"}, "text") == {"u": [lang.words["A"], lang.words["<UNK>"]]}


def test_lang_whose_files_do_not_belong_together(tmp_path: Path) -> None:
    folder = tmp_path / "lang"
    with pytest.raises(InputError, match="not a language folder"):
        Lang.read(folder)
    build(tmp_path / "dict").write(folder)
    lexicon = folder / "lexiconp.txt"
    lexicon.write_text(lexicon.read_text() + "NEW 1.0 AH\n")
    with pytest.raises(InputError, match=r"words.txt: does not belong"):
        Lang.read(folder)
    build(tmp_path / "dict").write(folder)
    other = build(tmp_path / "dict2", lexicon="A AH\n")
    other.label_set.save(folder / "labels.json")
    with pytest.raises(InputError, match="label sets differ"):
        Lang.read(folder)
