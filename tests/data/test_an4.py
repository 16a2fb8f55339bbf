import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.artefact import read_manifest
from asr_kd.data.corpora.an4 import An4Config, prepare
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.errors import InputError
from asr_kd.io.ark import read_matrix
from asr_kd.io.audio import read_audio

DICTIONARY = "A                    AH\nA(2)                 EY\nYES  Y EH S\n"
LM = "\\data\\\nngram 1=1\n\\1-grams:\n-1.0 YES\n\\end\\\n"
TRAIN = {"aa": ["an1-aa-b", "an2-aa-b"], "bb": ["an1-bb-b"], "cc": ["cen1-cc-b"]}
TEST = {"dd": ["an9-dd-b"]}


def write_lists(folder: Path, part: str, group: str, speakers: dict[str, list[str]]) -> None:
    files = [(speaker, name) for speaker, names in speakers.items() for name in names]
    (folder / f"an4_{part}.fileids").write_text(
        "".join(f"{group}/{speaker}/{name}\n" for speaker, name in files)
    )
    (folder / f"an4_{part}.transcription").write_text(
        "".join(f"<s> A YES </s> ({name})\n" for _, name in files)
    )


@pytest.fixture(params=["sph", "mfc"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small AN4 in one of its two distributions, with the official lists."""
    root = tmp_path / "an4"
    (root / "etc").mkdir(parents=True)
    (root / "etc/an4.dic").write_text(DICTIONARY)
    (root / "etc/an4.ug.lm").write_text(LM)
    for part, group, speakers in (("train", "an4_clstk", TRAIN), ("test", "an4test_clstk", TEST)):
        write_lists(root / "etc", part, group, speakers)
        for speaker, names in speakers.items():
            for name in names:
                folder = "wav" if request.param == "sph" else "feat"
                file = root / folder / group / speaker / f"{name}.{request.param}"
                file.parent.mkdir(parents=True, exist_ok=True)
                if request.param == "sph":
                    soundfile.write(file, np.arange(99) / 99, 16000, format="NIST")
                else:
                    feats = np.arange(26, dtype=">f4")
                    file.write_bytes(np.array(26, ">i4").tobytes() + feats.tobytes())
    return root


def test_both_distributions_with_the_official_lists(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, An4Config(dev_speakers=1))
    sets = {name: DataDir.read(out / name) for name in ("train", "dev", "test")}
    assert all(faults(out / name) == [] for name in sets)
    assert sets["test"].utt_ids == ["dd-an9-dd-b"]
    assert len(sets["dev"].spk2utt) == 1
    assert sets["train"].spk2utt.keys() | sets["dev"].spk2utt.keys() == TRAIN.keys()
    assert sum(len(data.utt_ids) for data in sets.values()) == 5
    assert set(sets["train"].text.values()) == {"A YES"}
    if (corpus / "wav").exists():
        samples, rate = read_audio(*sets["test"].audio("dd-an9-dd-b"))
        assert (len(samples), rate) == (99, 16000)
    else:
        matrix = read_matrix(sets["test"].feats["dd-an9-dd-b"])
        np.testing.assert_array_equal(matrix, np.arange(26).reshape(2, 13))
        assert sets["test"].num_frames == {"dd-an9-dd-b": 2}
        assert json.loads((out / "test/feature.json").read_text())["dim"] == 13


def test_dictionary_and_language_model(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, An4Config(dev_speakers=1))
    lexicon = (out / "dict/lexicon.txt").read_text()
    assert lexicon == "<UNK> SIL\nA AH\nA EY\nYES Y EH S\n"
    assert (out / "dict/nonsilence_phones.txt").read_text().split() == ["AH", "EH", "EY", "S", "Y"]
    assert (out / "dict/silence_phones.txt").read_text() == "SIL\n"
    assert (out / "lm.arpa").read_text() == LM


def test_splits_by_lists_of_speakers(corpus: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits"
    splits.mkdir()
    for name, speakers in (("train", "aa\n"), ("dev", "dd\n"), ("test", "bb\n")):
        (splits / f"{name}.speakers").write_text(speakers)
    prepare(corpus, tmp_path / "data", An4Config(splits=splits))
    read = {name: list(DataDir.read(tmp_path / "data" / name).spk2utt)
            for name in ("train", "dev", "test")}  # fmt: skip
    assert read == {"train": ["aa"], "dev": ["dd"], "test": ["bb"]}
    (splits / "dev.speakers").write_text("bb\nzz\n")
    with pytest.raises(InputError) as error:
        prepare(corpus, tmp_path / "data", An4Config(splits=splits))
    assert "zz: the corpus has no such speaker" in error.value.faults[0]
    assert "bb is in dev.speakers too" in error.value.faults[1]


def test_a_second_call_is_skipped_and_a_change_is_not(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, An4Config(dev_speakers=1))
    before = (out / "manifest.json").stat().st_mtime_ns
    prepare(corpus, out, An4Config(dev_speakers=1))
    assert (out / "manifest.json").stat().st_mtime_ns == before
    prepare(corpus, out, An4Config(dev_speakers=2))
    assert read_manifest(out, "prepare").info == {"train": len(DataDir.read(out / "train").utt2spk),
                                                  "dev": len(DataDir.read(out / "dev").utt2spk),
                                                  "test": 1}  # fmt: skip
    assert len(DataDir.read(out / "dev").spk2utt) == 2


def test_what_is_missing_is_listed_whole_before_any_work(corpus: Path, tmp_path: Path) -> None:
    for file in corpus.glob("*/an4_clstk/bb/*"):
        file.unlink()
    transcription = corpus / "etc/an4_train.transcription"
    text = transcription.read_text().replace("<s> A YES </s> (cen1-cc-b)\n", "no file here\n")
    transcription.write_text(text)
    (corpus / "etc/an4.dic").unlink()
    with pytest.raises(InputError) as error:
        prepare(corpus, tmp_path / "data", An4Config())
    faults = "\n".join(error.value.faults)
    for fault in ("an4.dic: no such file", "an4_train.transcription:4: expected",
                  "an4_train.fileids:3: bb-an1-bb-b: no such file",
                  "an4_train.fileids:4: cc-cen1-cc-b: no transcript"):  # fmt: skip
        assert fault in faults
    assert [path.name for path in tmp_path.iterdir()] == ["an4"]


@pytest.mark.parametrize("corpus", ["mfc"], indirect=True)  # audio is read by make-feats only
def test_a_truncated_feature_file_keeps_what_stood_there(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    prepare(corpus, out, An4Config(dev_speakers=1))
    files = sorted(corpus.glob("feat/*/*/*.mfc"))
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:-1])
    before = sorted(str(path) for path in out.rglob("*"))
    with pytest.raises(InputError, match=r"aa-an1-aa-b: .*truncated"):
        prepare(corpus, out, An4Config(dev_speakers=1))
    assert sorted(str(path) for path in out.rglob("*")) == before
    assert DataDir.read(out / "test").utt_ids == ["dd-an9-dd-b"]


def test_without_the_test_list_splits_are_asked_for(corpus: Path, tmp_path: Path) -> None:
    (corpus / "etc/an4_test.fileids").unlink()
    with pytest.raises(InputError, match="splits=DIR"):
        prepare(corpus, tmp_path / "data", An4Config())
    with pytest.raises(InputError, match="--corpus"):
        prepare(None, tmp_path / "data", An4Config())


def test_the_real_corpus(shared_data: Path, tmp_path: Path) -> None:
    config = An4Config(splits=shared_data / "an4/splits")
    prepare(shared_data / "an4", tmp_path / "data", config)
    counts = {}
    for name in ("train", "dev", "test"):
        data = DataDir.read(tmp_path / "data" / name, ("feats", "text", "num_frames"))
        counts[name] = (len(data.spk2utt), len(data.utt_ids), sum(data.num_frames.values()))
        assert faults(data.path) == []
    assert [counts[name][0] for name in counts] == [57, 7, 10]
    assert sum(utterances for _, utterances, _ in counts.values()) == 948
    assert sum(frames for _, _, frames in counts.values()) / 360_000 == pytest.approx(
        0.70, abs=0.01
    )
