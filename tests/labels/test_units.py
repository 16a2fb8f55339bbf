import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

import asr_kd.cli.units  # noqa: F401  (registers with the application)
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.config import load_config
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.unit_stages import UnitsConfig, encode_text, train_units
from asr_kd.labels.units import Units, join_pieces

SENTENCES = ["the cat sat on the mat", "a dog sat", "", "the dog saw a cat <noise> on the mat"] * 4
CONFIGS = {
    "unigram": UnitsConfig(kind="unigram", size=19, user_symbols=("<noise>",)),
    "bpe": UnitsConfig(kind="bpe", size=30, user_symbols=("<noise>",)),
    "char": UnitsConfig(kind="char", user_symbols=("<noise>",)),
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("\n".join(SENTENCES) + "\n")
    return path


@pytest.fixture(scope="module", params=list(CONFIGS))
def folder(request: pytest.FixtureRequest, text: Path) -> Path:
    out = text.parent / request.param
    train_units(text, out, CONFIGS[request.param])
    return out


def test_labels_are_the_blank_and_the_pieces(folder: Path) -> None:
    units = Units.read(folder)
    names = units.label_set.names
    assert names[0] == "<blank>"
    assert "<noise>" in names
    assert not {"<unk>", "<s>", "</s>"} & set(names)
    size = CONFIGS[folder.name].size
    # char: every character once, the mark of words, the symbol, the blank
    assert len(names) == (size or len(set("".join(SENTENCES).replace("<noise>", ""))) + 2)
    assert units.label_set.is_ctc
    assert units.label_set.kind.startswith(f"ctc-{folder.name}-")
    assert LabelSet.load(folder / "labels.json") == units.label_set
    assert read_manifest(folder, "train-units").info["labels"] == len(names)
    spelled = [names[label] for label in units.encode("the <noise> mat")]
    assert "".join(spelled) == "▁the▁<noise>▁mat"
    assert spelled.count("<noise>") == 1


LETTERS = st.sampled_from("acdehmnostw")


@given(st.lists(st.one_of(st.text(LETTERS, min_size=1, max_size=8), st.just("<noise>"))))
@example([])
def test_every_text_of_known_characters_comes_back(folder: Path, words: list[str]) -> None:
    units = Units.read(folder)
    labels = units.encode(" ".join(words))
    assert all(0 < label < len(units.label_set) for label in labels)
    assert units.decode(labels) == " ".join(words)
    # A word is spelled in a sentence as it is alone: what graphs and lexicons rely on.
    assert labels == [label for word in words for label in units.encode(word)]


def test_long_sentences_spell_words_as_they_are_alone(tmp_path: Path) -> None:
    """Unigrams take the best sum of a whole sentence, whose rounding can turn the scale."""
    rng = np.random.default_rng(0)
    parts = ["".join(rng.choice(list("abcdefgh"), 2 + k % 3)) for k in range(40)]
    words = ["".join(rng.choice(parts, 1 + k % 3)) for k in range(600)]
    path = tmp_path / "text"
    path.write_text("\n".join(" ".join(rng.choice(words, 12)) for _ in range(200)) + "\n")
    train_units(path, tmp_path / "units", UnitsConfig(size=120))
    units = Units.read(tmp_path / "units")
    sentence = ["".join(rng.choice(list("abcdefgh"), 9)) for _ in range(20_000)]
    alone = [label for word in sentence for label in units.encode(word)]
    assert units.encode(" ".join(sentence)) == alone


def test_a_byte_order_mark_is_no_unit(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfab ba\r\nb\r\n")
    train_units(path, tmp_path / "units", UnitsConfig(kind="char"))
    assert set(Units.read(tmp_path / "units").label_set.names[1:]) == set("▁ab")


def test_starts_of_words(folder: Path) -> None:
    units = Units.read(folder)
    starts = units.starts_word()
    assert not starts[0]
    assert sum(starts[label] for label in units.encode("the cat <noise> sat")) == 4


def test_pieces_join() -> None:
    assert join_pieces(["▁th", "e", "▁", "c", "at"]) == ["the", "cat"]
    assert join_pieces(["e", "▁a"]) == ["e", "a"]
    assert join_pieces(["▁", "▁"]) == []


def test_training_is_deterministic(folder: Path, text: Path, tmp_path: Path) -> None:
    train_units(text, tmp_path / "again", CONFIGS[folder.name])
    assert (tmp_path / "again" / "units.model").read_bytes() == (
        folder / "units.model"
    ).read_bytes()


def test_unknown_characters_are_named_with_their_utterances(folder: Path) -> None:
    units = Units.read(folder)
    with pytest.raises(InputError) as error:
        units.encode_all({"u1": "the cat", "u2": "zebra cat", "u3": "a ▁ q"}, "data/text")
    with pytest.raises(InputError, match=r"no é U\+0301 U\+200B$"):
        units.encode("e\u0301 a\u200b \u00e9")
    assert error.value.faults == [
        "data/text: u2: the units have no b r z",
        "data/text: u3: the units have no q ▁",
        "correct the text, or train the units again: on text with them, or with another normaliser "
        "(train-units normaliser=...)",
    ]


def test_normaliser_is_part_of_the_units(text: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("name: mine\nversion: 1\nrules:\n  - words: {kitten: cat, pooch: dog}\n")
    upper = tmp_path / "upper"
    upper.write_text(text.read_text().replace("cat", "kitten"))
    config = UnitsConfig(kind="char", normaliser=str(rules))
    train_units(upper, tmp_path / "units", config)
    rules.unlink()  # the folder has its own copy
    units = Units.read(tmp_path / "units")
    assert units.decode(units.encode("kitten pooch")) == "cat dog"
    assert "k" not in units.label_set.names
    copy = tmp_path / "units" / "normaliser.yaml"
    copy.write_text(copy.read_text().replace("cat", "dog"))
    with pytest.raises(InputError, match=r"made with the normaliser mine version 1 .* here is"):
        Units.read(tmp_path / "units")


def test_same_pieces_another_normaliser_other_labels(text: Path, tmp_path: Path) -> None:
    for name in ("none", "kaldi"):
        train_units(text, tmp_path / name, UnitsConfig(kind="char", normaliser=name))
    none, kaldi = (Units.read(tmp_path / name).label_set for name in ("none", "kaldi"))
    assert none != kaldi
    with pytest.raises(InputError, match=r"train-units"):
        none.require_same(kaldi, "one", "other")


def test_sizes_that_the_text_does_not_allow(text: Path, tmp_path: Path) -> None:
    for size, kind, message in (
        (5000, "unigram", r"it allows size=\d+ or less"),
        (5000, "bpe", r"it allows size=\d+ or less"),
        (3, "bpe", r"size=\d+ is the least"),
    ):
        config = UnitsConfig.model_validate({"kind": kind, "size": size})
        with pytest.raises(InputError, match=message) as error:
            train_units(text, tmp_path / "out", config)
        allowed = int(str(error.value).split("; ")[1].split("size=")[1].split()[0])
        train_units(text, tmp_path / "out", config.model_copy(update={"size": allowed}))
        assert len(Units.read(tmp_path / "out").label_set) == allowed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=unigram"], "size is needed"),
        (["kind=char", "size=9"], "leave size out"),
        (["size=9", "user_symbols=[<s>]"], "not <s>"),
        (["size=9", "user_symbols=[a b]"], "not a b"),
        (["size=9", "user_symbols=[a, a]"], "twice"),
        (["kind=word", "size=9"], "kind"),
    ],
)
def test_faulty_configurations(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(UnitsConfig, None, overrides)


def test_faulty_texts(text: Path, tmp_path: Path) -> None:
    def refused(content: str, message: str, **config: object) -> None:
        (tmp_path / "text").write_text(content)
        settings = UnitsConfig.model_validate({"kind": "char", **config})
        with pytest.raises(InputError, match=message):
            train_units(tmp_path / "text", tmp_path / "out", settings)
        assert not (tmp_path / "out").exists()

    refused("\n \n", "no sentence in it")
    refused("a\nb ▁c\n", r"text:2: ▁ \(U\+2581\)")
    refused("!\n", "no sentence in it after the normaliser", normaliser="plain")
    symbols = {"user_symbols": ("<noise>",), "normaliser": "english"}
    refused("a\n", "user symbol <noise>: the normaliser english", **symbols)
    with pytest.raises(InputError, match="no such normaliser"):
        train_units(text, tmp_path / "out", UnitsConfig(kind="char", normaliser="other"))


def test_damaged_folders(text: Path, tmp_path: Path) -> None:
    train_units(text, tmp_path / "units", UnitsConfig(kind="char"))
    other = tmp_path / "other"
    train_units(text, other, CONFIGS["bpe"])
    units = tmp_path / "units"
    model = (units / "units.model").read_bytes()
    for damaged, message in (
        (b"", "empty sentencepiece model"),
        (b"rubbish", "not a sentencepiece model"),
        ((other / "units.model").read_bytes(), "label sets differ"),
    ):
        (units / "units.model").write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            Units.read(units)
    (units / "units.model").write_bytes(model)
    Units.read(units)
    settings = json.loads((units / "units.json").read_text())
    for key in ("format", "kind", "normaliser", "rules"):
        broken = {k: v for k, v in settings.items() if k != key}
        (units / "units.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match=r"units.json: damaged"):
            Units.read(units)
    with pytest.raises(InputError, match="not a folder of units"):
        Units.read(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "text").write_text("s-1 the cat\ns-2\ns-3 a dog\n")
    (folder / "utt2spk").write_text("s-1 s\ns-2 s\ns-3 s\n")
    return folder


def test_tokens(folder: Path, data: Path, tmp_path: Path) -> None:
    encode_text(data, folder, tmp_path / "tokens")
    units = Units.read(tmp_path / "tokens")
    assert units.label_set == Units.read(folder).label_set
    archive = Archive.read(tmp_path / "tokens" / "tokens.scp")
    assert list(archive) == ["s-1", "s-2", "s-3"]
    assert archive["s-1"].tolist() == units.encode("the cat")
    assert archive["s-2"].dtype == np.int32
    assert archive["s-2"].tolist() == []  # no words: all frames are blank
    info = read_manifest(tmp_path / "tokens", "encode-text").info
    assert (info["encoded"], info["wordless"]) == (3, 1)
    assert info["longest"] == len(archive["s-1"])
    assert info["label_set"] == units.label_set.digest


def test_utterances_without_words_are_named(
    text: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_units(text, tmp_path / "units", UnitsConfig(kind="char"))

    def said(lines: str) -> str:
        (data / "text").write_text(lines)
        utts = [line.split()[0] for line in lines.splitlines()]
        (data / "utt2spk").write_text("".join(f"{utt} s\n" for utt in utts))
        with caplog.at_level("INFO"):
            encode_text(data, tmp_path / "units", tmp_path / f"tokens-{len(utts)}")
        return caplog.messages[-1]

    assert said("s-1 a\ns-2 the\n").endswith("; 0 utterances without words")
    assert said("s-1 a\ns-2\ns-3\n").endswith("; 2 utterances without words: s-2 s-3")
    many = "".join(f"s-{i}\n" for i in range(1, 7))
    assert said("s-0 a\n" + many).endswith("without words: s-1 s-2 s-3 s-4 s-5 ...")


def test_transcripts_that_cannot_be_encoded_leave_nothing(text: Path, data: Path) -> None:
    units, out = data.parent / "units", data.parent / "tokens"
    arguments = [str(text), "--out", str(units), "kind=char"]
    assert CliRunner().invoke(app, ["train-units", *arguments]).exit_code == 0
    (data / "text").write_text("s-1 the zoo\ns-2 on\ns-3 xylophone cat\n")
    result = CliRunner().invoke(app, ["encode-text", str(data), str(units), "--out", str(out)])
    assert isinstance(result.exception, InputError)
    assert result.exception.faults[:2] == [
        f"{data / 'text'}: s-1: the units have no z",
        f"{data / 'text'}: s-3: the units have no l p x y",
    ]
    assert not out.exists()


def test_a_data_directory_is_a_text(data: Path, tmp_path: Path) -> None:
    train_units(data, tmp_path / "units", UnitsConfig(kind="char"))
    assert set(Units.read(tmp_path / "units").label_set.names[1:]) == set("▁thecadog")
