"""LibriSpeech's layout → data directories."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import asr_kd.cli.data  # noqa: F401  registers the verbs
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.data.corpora.librispeech import LibriSpeechConfig, prepare
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.errors import InputError
from asr_kd.io.table import read_table

RATE = 1000  # so that an hour is small
SECONDS = 36  # a hundredth of an hour each
# part → reader → utterances in each of two chapters
PARTS = {
    "train-clean-100": {"84": 3, "103": 3, "1034": 2, "19": 2},
    "train-clean-360": {"200": 1},
    "dev-clean": {"1272": 2},
    "dev-other": {"116": 1},
    "test-clean": {"61": 2},
    "test-other": {"367": 1},
}
ARPA = b"\\data\\ and so on"
FEMALE = {"103", "1034", "1272", "61"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """LibriSpeech/, with lexicon/ beside it."""
    root = tmp_path / "corpus/LibriSpeech"
    speakers = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for part, readers in PARTS.items():
        for reader, count in readers.items():
            sex = "F" if reader in FEMALE else "M"
            speakers.append(f"{reader:5}| {sex} | {part:17}| 25.03 | 'A' | B")
            for chapter in ("7", "121123"):
                folder = root / part / reader / chapter
                folder.mkdir(parents=True)
                names = [f"{reader}-{chapter}-{n:04d}" for n in range(count)]
                for name in names:
                    soundfile.write(folder / f"{name}.flac", np.zeros(SECONDS * RATE), RATE)
                lines = "".join(f"{name} A LINE OF {reader}'S\n" for name in names)
                (folder / f"{reader}-{chapter}.trans.txt").write_text(lines)
    (root / "SPEAKERS.TXT").write_text("\n".join(speakers) + "\n")
    lexicon = tmp_path / "corpus/lexicon/librispeech-lexicon.txt"
    lexicon.parent.mkdir()
    lexicon.write_text("A\tAH0\nA\tEY1\nA\tEY2\nLINE  L AY1 N\nOF\tAH1 V\nOF\tAH0 V\n")
    model = tmp_path / "corpus/lm/3-gram.pruned.3e-7/3-gram.pruned.3e-7.arpa.gz"
    model.parent.mkdir(parents=True)
    model.write_bytes(gzip.compress(ARPA))
    return root


def made(root: Path, out: Path, **options: object) -> dict[str, DataDir]:
    prepare(root, out, LibriSpeechConfig(**options))
    names = [path.name for path in sorted(out.iterdir()) if (path / "utt2spk").exists()]
    assert all(faults(out / name, ("utt2spk", "spk2utt", "wav", "text")) == [] for name in names)
    return {name: DataDir.read(out / name, ("wav", "text")) for name in names}


def readers(data: DataDir) -> set[str]:
    return {speaker.split("-")[0] for speaker in data.utt2spk.values()}


def test_the_official_sets(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    sets = made(root.parent, out)
    assert {name: readers(data) for name, data in sets.items()} == {
        "train": {"84", "103", "1034", "19"}, "dev": {"1272", "116"}, "test-clean": {"61"},
        "test-other": {"367"},
    }  # fmt: skip
    train = sets["train"]
    assert len(train.utt2spk) == 20
    assert train.utt2spk["84-121123-0002"] == "84-121123"
    assert train.text["84-121123-0002"] == "A LINE OF 84'S"
    flac = root / "train-clean-100/84/121123/84-121123-0002.flac"
    assert train.wav["84-121123-0002"] == str(flac)
    assert read_table(out / "dev/spk2gender") == {
        "116-121123": "m", "116-7": "m", "1272-121123": "f", "1272-7": "f",
    }  # fmt: skip
    assert (out / "lm_train.txt").read_text().splitlines().count("A LINE OF 19'S") == 4
    assert (out / "dict/lexicon.txt").read_text() == (
        "<UNK> SIL\nA AH\nA EY\nLINE L AY N\nOF AH V\n"
    )
    assert (out / "3-gram.pruned.3e-7.arpa").read_bytes() == ARPA
    assert not list(out.rglob("*.flac"))
    info = read_manifest(out, "prepare").info
    assert info == {"train": 20, "dev": 6, "test-clean": 4, "test-other": 2}


def test_parts_and_stress(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sets = made(
        root, tmp_path / "data", train=("train-clean-100", "train-clean-360"), dev=("dev-clean",),
        test=("dev-other",), stress=True,
    )  # fmt: skip
    assert readers(sets["train"]) == {"84", "103", "1034", "19", "200"}
    assert set(sets) == {"train", "dev", "dev-other"}
    assert "OF AH1 V\nOF AH0 V\n" in (tmp_path / "data/dict/lexicon.txt").read_text()
    assert "dev-other: 2 of 8 words are not in the lexicon" in caplog.text  # 116'S, twice


def test_dev_of_other_readers_of_both_genders(root: Path, tmp_path: Path) -> None:
    chosen = set()
    for seed in range(4):
        sets = made(root, tmp_path / f"{seed}", dev=(), dev_speakers=2, seed=seed)
        dev = readers(sets["dev"])
        assert len(dev) == 2
        assert len(dev & FEMALE) == 1
        assert dev | readers(sets["train"]) == {"84", "103", "1034", "19"}
        assert not dev & readers(sets["train"])
        chosen |= dev
    assert len(chosen) > 2  # the seed draws


def test_so_many_utterances(root: Path, tmp_path: Path) -> None:
    some = [made(root, tmp_path / f"{n}", train_utterances=n)["train"].utt2spk for n in (4, 9, 20)]
    assert [len(utts) for utts in some] == [4, 9, 20]
    assert set(some[0]) < set(some[1]) < set(some[2])
    assert some[0] != made(root, tmp_path / "s", train_utterances=4, seed=1)["train"].utt2spk


def test_so_many_hours(root: Path, tmp_path: Path) -> None:
    few = made(root, tmp_path / "few", train_hours=0.045)["train"].utt2spk
    assert len(few) == 5  # the fewest of 0.01 h that reach it
    assert set(few) == set(made(root, tmp_path / "n", train_utterances=5)["train"].utt2spk)
    assert len(made(root, tmp_path / "all", train_hours=0.2)["train"].utt2spk) == 20
    with pytest.raises(InputError, match=r"train_hours=0.21: there are 0.2 in train-clean-100"):
        made(root, tmp_path / "more", train_hours=0.21)


def test_made_once_and_anew_when_the_corpus_changes(root: Path, tmp_path: Path) -> None:
    made(root, tmp_path / "data")
    first = (tmp_path / "data/manifest.json").stat().st_mtime_ns
    made(root.parent, tmp_path / "data")
    assert (tmp_path / "data/manifest.json").stat().st_mtime_ns == first
    transcript = root / "dev-clean/1272/7/1272-7.trans.txt"
    transcript.write_text(transcript.read_text().replace("LINE", "WORD", 1))
    assert made(root, tmp_path / "data")["dev"].text["1272-7-0000"] == "A WORD OF 1272'S"


def test_language_models(root: Path, tmp_path: Path) -> None:
    made(root, tmp_path / "none", lm=())
    assert not list((tmp_path / "none").glob("*.arpa"))
    packed = root.parent / "lm/3-gram.pruned.3e-7/3-gram.pruned.3e-7.arpa.gz"
    packed.rename(root.parent / "lm" / packed.name)  # all in one folder is as good
    made(root, tmp_path / "flat")
    assert (tmp_path / "flat/3-gram.pruned.3e-7.arpa").read_bytes() == ARPA
    (root.parent / "lm" / packed.name).write_bytes(gzip.compress(ARPA)[:-4])
    with pytest.raises(InputError, match=r"3e-7\.arpa\.gz: damaged or cut off"):
        made(root, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def _shorten(root: Path) -> None:
    (root / "dev-clean/1272/7/1272-7-0001.flac").unlink()


def _lengthen(root: Path) -> None:
    (root / "dev-clean/1272/7/1272-7-0009.flac").write_bytes(b"fLaC")


def _untell(root: Path) -> None:
    (root / "dev-clean/1272/7/1272-7.trans.txt").unlink()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).open("a").write(text)


def _unlist(root: Path) -> None:
    speakers = (root / "SPEAKERS.TXT").read_text().replace("367  | M", "367  | X")
    (root / "SPEAKERS.TXT").write_text(speakers)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_shorten, ["1272-7.trans.txt:2: 1272-7-0001: no such file "]),
        (_lengthen, ["1272-7-0009.flac: no transcript in 1272-7.trans.txt"]),
        (_untell, ["1272-7.trans.txt: cannot be read", "1272-7-0000.flac: no transcript"]),
        (_unlist, ["SPEAKERS.TXT:10: expected `reader | M or F | ...`",
                   "test-other/367: reader 367 is not in SPEAKERS.TXT"]),
        (_write("dev-clean/1272/7/1272-7.trans.txt", "1272-7-0001 AGAIN\n"),
         [":3: 1272-7-0001: stands twice"]),
        (_write("dev-clean/1272/7/1272-7.trans.txt", "1272-8-0001 X\n1272-7-0007\n"),
         [":3: 1272-8-0001: expected `1272-7-NUMBER WORDS`",
          ":4: 1272-7-0007: expected `1272-7-NUMBER WORDS`"]),
        (lambda root: (root / "dev-clean/1272/x").mkdir(),
         ["dev-clean/1272/x: expected folders reader/chapter, both numbers"]),
        (lambda root: (root / "SPEAKERS.TXT").unlink(), ["SPEAKERS.TXT: cannot be read"]),
        (lambda root: (root.parent / "lexicon/librispeech-lexicon.txt").unlink(),
         ["librispeech-lexicon.txt: no such file; `asr-kd download librispeech --parts PARTS"]),
        (_write("../lexicon/librispeech-lexicon.txt", "MUTE\n"), [":7: MUTE has no phones"]),
        (lambda root: next(root.parent.rglob("*.gz")).unlink(),
         ["3-gram.pruned.3e-7.arpa.gz: no such file; `asr-kd download librispeech --parts 3-gram"]),
    ],
)  # fmt: skip
def test_damage(
    damage: Callable[[Path], object], told: list[str], root: Path, tmp_path: Path
) -> None:
    damage(root)
    with pytest.raises(InputError) as error:
        prepare(root, tmp_path / "data", LibriSpeechConfig())
    for line in told:
        assert any(line in fault for fault in error.value.faults), error.value.faults
    assert not list(tmp_path.glob("*data*"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"train": ("train-clean-100", "train-x")}, "there are: dev-clean, dev-other, test-clean"),
        ({"train": ("dev-clean",)}, "dev-clean: named twice"),
        ({"dev": ()}, "expected one of the two: parts, or readers"),
        ({"dev_speakers": 3}, "expected one of the two: parts, or readers"),
        ({"dev": (), "dev_speakers": 4}, "dev_speakers=4: only 4 train"),
        ({"train_hours": 1, "train_utterances": 1}, "train_hours and train_utterances"),
        ({"train_utterances": 21}, "train_utterances=21: there are 20 in train-clean-100"),
        ({"test": ("train",)}, "test=train: this is the name of another set"),
    ],
)
def test_options_that_cannot_be_met(
    options: dict[str, object], told: str, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        prepare(root, tmp_path / "data", LibriSpeechConfig(**options))
    assert told in str(error.value)
    assert not (tmp_path / "data").exists()


def test_a_reader_in_two_sets(root: Path, tmp_path: Path) -> None:
    (root / "dev-other/19").mkdir()
    (root / "train-clean-100/19/7").rename(root / "dev-other/19/7")
    with pytest.raises(InputError, match="dev: reader 19 is in train too"):
        prepare(root, tmp_path / "data", LibriSpeechConfig())


def test_the_verb(root: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [
        "prepare", "librispeech", "--corpus", str(root), "--out", str(tmp_path / "data"), "dev=[]",
        "dev_speakers=1", "test=[test-clean]", f"lexicon={root.parent / 'lexicon'}",
    ])  # fmt: skip
    assert isinstance(done.exception, InputError)  # a folder is no lexicon
    done = CliRunner().invoke(app, [
        "prepare", "librispeech", "--corpus", str(root), "--out", str(tmp_path / "data"), "dev=[]",
        "dev_speakers=1", "test=[test-clean]",
    ])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert (tmp_path / "data/test-clean/text").exists()
    done = CliRunner().invoke(app, ["prepare", "librispeech", "--out", str(tmp_path / "data")])
    assert "--corpus DIR is needed" in str(done.exception)
