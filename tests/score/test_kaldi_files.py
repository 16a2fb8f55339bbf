from pathlib import Path

import numpy as np
import pytest

from asr_kd.score.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION, Alignments, align
from asr_kd.score.join import Partial
from asr_kd.score.kaldi_files import write_kaldi_files

REF = {"u1": "a bb ccc", "u2": "dddd", "u3": "a a", "u4": ""}
HYP = {"u1": "a longer-than-sixteen-characters ccc", "u2": "", "u3": "a a bb", "u4": ""}
UTT2SPK = {"u1": "s1", "u2": "s1", "u3": "B", "u4": "s2"}
ALIGNMENTS = Alignments(
    ("u1", "u2", "u3", "u4"),
    np.array(
        [CORRECT, SUBSTITUTION, CORRECT, DELETION, CORRECT, CORRECT, INSERTION], dtype=np.uint8
    ),
    np.array([0, 3, 4, 7, 7]),
)

# Made by Kaldi's utils/scoring/wer_{per_utt,per_spk,ops}_details.pl of the alignments above, the
# last with `LC_ALL=C sort -b -i -k 1,1 -k 4,4rn -k 2,2 -k 3,3`, as score_kaldi_wer.sh does.
GOLDEN = Path(__file__).parent / "kaldi_details"


def _written(folder: Path, **more: object) -> Path:
    ref, hyp = ({u: words.split() for u, words in side.items()} for side in (REF, HYP))
    write_kaldi_files(folder, Path("exp/tri/decode"), ref, hyp, ALIGNMENTS, UTT2SPK, **more)
    return folder


def test_details_are_what_kaldis_scripts_write(tmp_path: Path) -> None:
    details = _written(tmp_path) / "scoring_kaldi" / "wer_details"
    for name in ("per_utt", "per_spk", "ops"):
        assert (details / name).read_text() == (GOLDEN / name).read_text()
    assert (details / "lmwt").read_text() == "1\n"
    assert (details / "wip").read_text() == "0.0\n"


def test_wer_files_are_what_compute_wer_and_best_wer_write(tmp_path: Path) -> None:
    _written(tmp_path, lmwt="12", wip="0.5")
    line = "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]"
    assert (tmp_path / "wer_12_0.5").read_text().splitlines() == [
        line,
        "%SER 75.00 [ 3 / 4 ]",
        "Scored 4 sentences, 0 not present in hyp.",
    ]
    best = (tmp_path / "scoring_kaldi" / "best_wer").read_text()
    assert best == f"{line} exp/tri/decode/wer_12_0.5\n"
    # As score_kaldi_wer.sh finds the scales again.
    assert best.split()[-1].split("_")[-2:] == ["12", "0.5"]


def test_a_partial_score_says_so(tmp_path: Path) -> None:
    _written(tmp_path, partial=Partial(4, 6, {"hyp": ["x", "y"]}, {}))
    lines = (tmp_path / "wer_1_0.0").read_text().splitlines()
    assert lines[0].endswith(" sub ] [PARTIAL]")
    assert lines[2] == "Scored 4 sentences, 2 not present in hyp."
    assert "[PARTIAL] exp/tri" in (tmp_path / "scoring_kaldi" / "best_wer").read_text()


def test_without_speakers_there_is_no_table_of_them(tmp_path: Path) -> None:
    text = {"u": ["a"]}
    write_kaldi_files(tmp_path, tmp_path, text, text, align(text, text))
    details = tmp_path / "scoring_kaldi" / "wer_details"
    assert sorted(path.name for path in details.iterdir()) == ["lmwt", "ops", "per_utt", "wip"]


@pytest.mark.parametrize("words", [10_000])
def test_a_very_long_utterance(tmp_path: Path, words: int) -> None:
    ref, hyp = {"u": ["a", "b"] * (words // 2)}, {"u": ["a"] * words}
    write_kaldi_files(tmp_path, tmp_path, ref, hyp, align(ref, hyp), {"u": "s"})
    assert (tmp_path / "wer_1_0.0").read_text().startswith(f"%WER 50.00 [ {words // 2} / {words},")
