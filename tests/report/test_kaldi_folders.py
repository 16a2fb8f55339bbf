"""Kaldi's decode folders: the choice of `best_wer.sh`, and folders that lack what is needed."""

import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.report.kaldi_folders import (
    best_scoring,
    hypothesis_file,
    is_kaldi_folder,
    reference_file,
    scorings,
    the_scoring,
)


def _wer_file(rate: str) -> str:
    return (
        "compute-wer --text --mode=present ark:test_filt.txt ark,p:- \n"
        f"%WER {rate} [ 82 / 773, 9 ins, 18 del, 55 sub ]\n%SER 41.54 [ 54 / 130 ]\n"
        "Scored 130 sentences, 0 not present in hyp.\n"
    )


def _folder(path: Path, rates: Mapping[str, str], texts: bool = True) -> Path:
    """Rates: `LMWT_WIP` → percent."""
    for name, rate in rates.items():
        lmwt, _, wip = name.partition("_")
        path.mkdir(parents=True, exist_ok=True)
        (path / f"wer_{name}").write_text(_wer_file(rate))
        text = path / f"scoring_kaldi/penalty_{wip}/{lmwt}.txt"
        if texts:
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text(f"u1 {name}\n")
            (path / "scoring_kaldi/test_filt.txt").write_text("u1 ref\n")
    return path


def test_best_of_dev_is_applied_to_test(tmp_path: Path) -> None:
    dev = _folder(tmp_path / "dev", {"7_0.0": "11.00", "9_0.5": "9.87", "10_0.0": "10.20"})
    test = _folder(tmp_path / "test", {"7_0.0": "5.00", "9_0.5": "8.00", "10_0.0": "7.00"})
    chosen = the_scoring(test, dev)
    assert (chosen.lmwt, chosen.wip, chosen.wer) == ("9", "0.5", 9.87)
    assert hypothesis_file(test, chosen).read_text() == "u1 9_0.5\n"
    assert reference_file(test).read_text() == "u1 ref\n"
    assert the_scoring(test, test).lmwt == "7"


def test_ties_go_to_the_lowest_penalty_then_the_lowest_weight(tmp_path: Path) -> None:
    dev = _folder(tmp_path, {"7_0.5": "9.0", "11_0.0": "9.00", "9_0.0": "9.00", "100_0.0": "9.00"})
    assert best_scoring(dev).name == "wer_9_0.0"
    assert [one.name for one in scorings(dev)] == [
        "wer_9_0.0", "wer_11_0.0", "wer_100_0.0", "wer_7_0.5",
    ]  # fmt: skip


@pytest.mark.skipif(shutil.which("awk") is None, reason="needs awk")
def test_choice_against_a_shell_pipeline(tmp_path: Path) -> None:
    # What best_wer.sh does with score_kaldi_wer.sh's loops, in other tools: the first lowest.
    script = (
        "for wip in 0.0 0.5 1.0; do for lmwt in $(seq 7 17); do grep -H '^%WER' "
        "wer_${lmwt}_${wip}; done; done | awk '!n++ || $2 < best { best = $2; line = $1 } "
        'END { sub(/:.*/, "", line); print line }\''
    )
    for seed in range(3):
        rng = random.Random(seed)
        rates = {
            f"{lmwt}_{wip}": f"{rng.randrange(900, 906) / 100:.2f}"
            for lmwt in range(7, 18)
            for wip in ("0.0", "0.5", "1.0")
        }
        folder = _folder(tmp_path / str(seed), rates, texts=False)
        command = ["bash", "-c", script]
        shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert best_scoring(folder).name == shown.stdout.strip()


def test_without_dev_only_one_scoring_will_do(tmp_path: Path) -> None:
    many = _folder(tmp_path / "many", {f"{n}_0.0": "9.0" for n in range(7, 18)})
    with pytest.raises(InputError, match=r"many: 11 scorings \(wer_7_0.0, wer_8_0.0, …, wer_17"):
        the_scoring(many, None)
    one = _folder(tmp_path / "one", {"7_0.0": "9.0"})
    assert the_scoring(one, None).name == "wer_7_0.0"


def test_older_layouts(tmp_path: Path) -> None:
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring/test_filt.txt").write_text("u1 ref\n")
    for name, text, content in [
        ("wer_10", "10.tra", "u1 a b\n"),
        ("wer_11_0.5", "11.0.5.txt", "u1 c 1\n"),
        ("wer_12", "12.tra", "u1 23 4\nu2\n"),
    ]:
        (tmp_path / name).write_text(_wer_file("9.0"))
        (tmp_path / "scoring" / text).write_text(content)
    first, numbers, second = scorings(tmp_path)
    assert hypothesis_file(tmp_path, first).name == "10.tra"
    assert hypothesis_file(tmp_path, second).name == "11.0.5.txt"
    with pytest.raises(InputError, match=r"12\.tra: numbers in place of words; .*int2sym"):
        hypothesis_file(tmp_path, numbers)
    assert reference_file(tmp_path) == tmp_path / "scoring/test_filt.txt"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    dev = _folder(tmp_path / "dev", {"18_0.0": "9.0"})
    test = _folder(tmp_path / "test", {"7_0.0": "9.0", "8_0.0": "9.0"}, texts=False)
    with pytest.raises(InputError, match=r"test: wer_18_0\.0 is the best on .*/dev, but was not"):
        the_scoring(test, dev)
    with pytest.raises(InputError, match=r"nowhere: no such folder \(dev of"):
        the_scoring(test, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"not its text: no scoring_kaldi/penalty_0\.0/7\.txt or"):
        hypothesis_file(test, scorings(test)[0])
    with pytest.raises(InputError, match=r"no reference .*scoring_kaldi/test_filt\.txt"):
        reference_file(test)
    (test / "wer_9_0.0").write_text("LOG: broken off\n")
    (test / "wer_10_0.0").write_text("%WER -nan [ 0 / 0, 0 ins, 0 del, 0 sub ]\n")
    with pytest.raises(InputError) as refused:
        the_scoring(test, None)
    assert [Path(f.partition(":")[0]).name for f in refused.value.faults] == [
        "wer_10_0.0", "wer_9_0.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [("lat.1.gz", "lattices only; score them"), ("score_10/a.ctm", "scored by sclite"),
     ("num_jobs", "no scores in files")],
)  # fmt: skip
def test_unscored_folders(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    (tmp_path / "num_jobs").touch()
    assert is_kaldi_folder(tmp_path)
    with pytest.raises(InputError, match=message):
        the_scoring(tmp_path, None)


def test_other_files_do_not_make_a_kaldi_folder(tmp_path: Path) -> None:
    (tmp_path / "wer_details").touch()
    (tmp_path / "wer.json").touch()
    assert not is_kaldi_folder(tmp_path)
