from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import asr_kd.cli.data  # noqa: F401  registers the verbs
from asr_kd.cli.app import app
from asr_kd.data.corpora import fsdd, yesno
from asr_kd.data.corpora.fsdd import FsddConfig
from asr_kd.data.corpora.yesno import YesnoConfig
from asr_kd.data.directory import DataDir
from asr_kd.data.validate import faults
from asr_kd.errors import InputError

SETS = ("train", "dev", "test")


def make(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        soundfile.write(folder / f"{name}.wav", np.zeros(800), 8000)
    return folder


def read(out: Path) -> dict[str, DataDir]:
    assert all(faults(out / name) == [] for name in SETS)
    return {name: DataDir.read(out / name, ("wav", "text")) for name in SETS}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    names = [f"{d}_{s}_{i}" for d in (0, 7) for s in ("jo", "al") for i in (0, 4, 5, 9, 10, 49)]
    make(tmp_path / "fsdd/recordings", names)
    return tmp_path / "fsdd"


def index(utt_id: str) -> int:
    return int(utt_id.rsplit("_", 1)[1])


def test_fsdd_official(digits: Path, tmp_path: Path) -> None:
    fsdd.prepare(digits, tmp_path / "data", FsddConfig())
    sets = read(tmp_path / "data")
    indices = {name: {index(utt) for utt in data.utt_ids} for name, data in sets.items()}
    assert indices == {"train": {10, 49}, "dev": {5, 9}, "test": {0, 4}}
    assert sets["test"].text["jo-7_jo_0"] == "SEVEN"
    assert sets["test"].utt2spk["jo-7_jo_0"] == "jo"
    lexicon = {line.split()[0] for line in (tmp_path / "data/dict/lexicon.txt").open()}
    text = (tmp_path / "data/lm_train.txt").read_text().splitlines()
    assert sorted(text) == ["SEVEN"] * 4 + ["ZERO"] * 4
    assert set(text) <= lexicon


def test_fsdd_without_a_speaker(digits: Path, tmp_path: Path) -> None:
    fsdd.prepare(digits / "recordings", tmp_path / "data", FsddConfig(leave_out="al"))
    sets = read(tmp_path / "data")
    assert {name: set(data.utt2spk.values()) for name, data in sets.items()} == {
        "train": {"jo"}, "dev": {"jo"}, "test": {"al"},
    }  # fmt: skip
    assert len(sets["test"].utt_ids) == 12
    with pytest.raises(InputError, match="leave_out=zz: the speakers are al, jo"):
        fsdd.prepare(digits, tmp_path / "data", FsddConfig(leave_out="zz"))


def test_fsdd_faults(digits: Path, tmp_path: Path) -> None:
    make(tmp_path / "odd", ["hello", "3_al", "3_al_7"])
    with pytest.raises(InputError) as error:
        fsdd.prepare(tmp_path / "odd", tmp_path / "data", FsddConfig())
    assert len(error.value.faults) == 2
    with pytest.raises(InputError, match="train: no recordings are left"):
        fsdd.prepare(digits, tmp_path / "data", FsddConfig(dev_indices=(5, 99)))
    for absent in (None, tmp_path / "absent"):
        with pytest.raises(InputError, match="recordings"):
            fsdd.prepare(absent, tmp_path / "data", FsddConfig())
    assert not (tmp_path / "data").exists()


def test_yesno(tmp_path: Path) -> None:
    names = [f"{i:03b}".replace("", "_").strip("_") for i in range(8)]
    make(tmp_path / "yesno/waves_yesno", names)
    yesno.prepare(tmp_path / "yesno", tmp_path / "data", YesnoConfig(dev_every=4))
    sets = read(tmp_path / "data")
    assert sets["dev"].text == {"speaker-0_1_1": "NO YES YES"}
    assert list(sets["test"].text) == [f"speaker-{name}" for name in names[4:]]
    assert len(sets["train"].text) == 3
    make(tmp_path / "odd", ["1_0_2"])
    with pytest.raises(InputError, match="1_0_2"):
        yesno.prepare(tmp_path / "odd", tmp_path / "data", YesnoConfig())


def test_the_verb(digits: Path, tmp_path: Path) -> None:
    arguments = ["prepare", "fsdd", "--corpus", str(digits), "--out", str(tmp_path / "data")]
    assert CliRunner().invoke(app, [*arguments, "leave_out=jo"]).exit_code == 0
    assert set(read(tmp_path / "data")["test"].utt2spk.values()) == {"jo"}
    result = CliRunner().invoke(app, [*arguments, "leave_ot=jo"])
    assert "did you mean 'leave_out'" in str(result.exception)


def test_the_real_corpora(shared_data: Path, tmp_path: Path) -> None:
    fsdd.prepare(shared_data / "fsdd", tmp_path / "fsdd", FsddConfig())
    yesno.prepare(shared_data / "yesno", tmp_path / "yesno", YesnoConfig())
    sizes = {
        name: [len(DataDir.read(tmp_path / name / part, ("wav",)).utt_ids) for part in SETS]
        for name in ("fsdd", "yesno")
    }
    assert sizes == {"fsdd": [2400, 300, 300], "yesno": [25, 6, 29]}
