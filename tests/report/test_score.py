import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import asr_kd.cli.main
import asr_kd.cli.score
import asr_kd.report.score
from asr_kd.artefact import Artefact, read_manifest
from asr_kd.cli.app import app
from asr_kd.errors import InputError
from asr_kd.report.compare import Settings, compare

runner = CliRunner()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "ref").write_text("u1 a b c\nu2 d\nu3 e f\n")
    (tmp_path / "hyp").write_text("u1 a x c\nu2\nu3 e f g\n")
    (tmp_path / "utt2spk").write_text("u1 s1\nu2 s1\nu3 s2\n")
    return tmp_path


def shown(*arguments: str) -> str:
    result = runner.invoke(app, ["score", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())  # titles are broken


def test_prints_and_writes(files: Path) -> None:
    output = shown("ref", "hyp", "--utt2spk", "utt2spk", "--out", "out")
    assert "The intervals are drawn from only 2 speakers, and too narrow." in output
    assert "S/D/I" in output
    for part in ("50.00", "1/1/1", "95% interval over speakers", "Character errors 44.44%",
                 "sentence errors 100.00%", "none (version 1", "levenshtein"):  # fmt: skip
        assert part in output
    assert "PARTIAL" not in output
    facts = json.loads((files / "out" / "wer.json").read_text())
    assert facts["wer"] == 0.5
    best = (files / "out" / "scoring_kaldi" / "best_wer").read_text()
    assert best == "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ] out/wer_1_0.0\n"
    assert read_manifest(files / "out", "score").config["alignment"] == "levenshtein"
    before = (files / "out" / "wer.json").stat().st_mtime_ns
    shown("ref", "hyp", "--utt2spk", "utt2spk", "--out", "out")
    assert (files / "out" / "wer.json").stat().st_mtime_ns == before
    shown("ref", "hyp", "--utt2spk", "utt2spk", "--normaliser", "plain", "--out", "out")
    facts = json.loads((files / "out" / "wer.json").read_text())
    assert facts["normaliser"]["name"] == "plain"
    shown("ref", "hyp", "--normaliser", "plain", "--alignment", "sclite", "--out", "out")
    facts = json.loads((files / "out" / "wer.json").read_text())
    assert (facts["speakers"], facts["alignment"]) == (0, "sclite")


@pytest.mark.parametrize("what", ["METHOD", "FORMAT"])
def test_another_method_makes_it_anew(
    files: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    made = []
    for value in ("old", "new", "new"):
        monkeypatch.setattr(asr_kd.report.score, what, value)
        shown("ref", "hyp", "--out", "out")
        made.append((files / "out" / "wer.json").stat().st_mtime_ns)
    assert made[0] != made[1] == made[2]


def test_paths_are_taken_as_they_stand(files: Path) -> None:
    for name in ("ref=1.txt", "{seed}", "r[1]*"):
        (files / name).write_text((files / "ref").read_text())
        assert "1/1/1" in shown(name, "hyp")
        assert "0/0/0" in shown("ref", name)


def test_speakers_of_what_is_scored(files: Path) -> None:
    (files / "hyp").write_text("u1 a x c\nu3 e f g\n")
    (files / "utt2spk").write_text("u1 s1\nu3 s2\n")
    assert "over speakers" in shown("ref", "hyp", "--partial", "--utt2spk", "utt2spk")
    (files / "hyp.csv").write_text("id,text,speaker\nu1,a x c,s1\nu3,e f g,s2\n")
    assert "over speakers" in shown("ref", "hyp.csv", "--partial")
    compare(["a=hyp.csv"], files / "t", "T", [], Settings(refs=("ref",), partial=True))
    assert "2 speakers" in (files / "t" / "RESULTS.md").read_text()
    (files / "utt2spk").write_text("u1 s1\n")
    with pytest.raises(InputError, match="u3: no speaker"):
        shown("ref", "hyp", "--partial", "--utt2spk", "utt2spk")
    more = Settings(refs=("ref",), utt2spks=("utt2spk",), partial=True)
    with pytest.raises(InputError) as refused:
        compare(["a=hyp", "b=hyp.csv"], None, "T", [], more)
    assert refused.value.faults == ["utt2spk: u3: no speaker"]


def test_a_reference_without_words_is_named(files: Path) -> None:
    (files / "ref").write_text("u1\nu2\nu3\n")
    with pytest.raises(InputError, match=r"^ref: the reference has no words"):
        shown("ref", "hyp")


def test_formats_are_found_out(files: Path) -> None:
    (files / "ref.trn").write_text("a b c (u1)\nd (u2)\ne f (u3)\n")
    (files / "hyp.jsonl").write_text(
        '{"id": "u1", "text": "a x c"}\n{"id": "u2", "text": ""}\n{"id": "u3", "text": "e f g"}\n'
    )
    (files / "odd").write_text("id,said\nu1,a x c\nu2,\nu3,e f g\n")
    assert "1/1/1" in shown("ref.trn", "hyp.jsonl")
    assert "1/1/1" in shown("ref", "odd,format=csv:said")


def test_ctm_with_stm(files: Path) -> None:
    (files / "ref.stm").write_text("f 1 spk1 0.0 2.0 a b c\nf 1 spk2 2.0 4.0 d\n")
    (files / "hyp.ctm").write_text("f 1 0.1 0.2 a\nf 1 0.9 0.2 x\nf 1 1.5 0.2 c\nf 1 2.5 .2 d\n")
    output = shown("ref.stm", "hyp.ctm")
    assert "25.00" in output
    assert "spk2" in output


def test_a_decode_folder_of_ours(files: Path) -> None:
    artefact = Artefact(files / "exp" / "decode", "decode", {}, {})
    work = artefact.begin()
    for name in ("ref", "hyp", "utt2spk"):
        (work / name).write_text((files / name).read_text())
    artefact.publish({"scales": {"acoustic_scale": 0.08, "insertion_penalty": -0.5}})
    assert "over speakers" in shown("exp/decode", "--out", "out")
    line = (files / "out" / "wer_12.5_-0.5").read_text().splitlines()[0]
    assert line == "%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]"
    (files / "other").write_text("u1 a\nu2 d\nu3 e\n")
    assert "166.67" in shown("other", "exp/decode")


def test_a_decode_folder_of_kaldi(files: Path) -> None:
    folder = files / "exp" / "tri" / "decode"
    (folder / "scoring_kaldi" / "penalty_0.5").mkdir(parents=True)
    (folder / "wer_9_0.5").write_text("%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]\n")
    (folder / "scoring_kaldi" / "test_filt.txt").write_text((files / "ref").read_text())
    text = folder / "scoring_kaldi" / "penalty_0.5" / "9.txt"
    text.write_text((files / "hyp").read_text())
    output = shown("exp/tri/decode", "--out", "out")
    assert "1/1/1" in output
    scales = "LM weight 9, word insertion penalty 0.5: "
    assert f"penalty_0.5/9.txt: {scales}the only ones that were scored." in output
    assert (files / "out" / "wer_9_0.5").is_file()
    with pytest.raises(InputError, match="format=trn is for files; this is a decode folder"):
        shown("exp/tri/decode,format=trn")
    output = shown("exp/tri/decode,dev=exp/tri/decode", "--out", "out")
    chosen = "the best on exp/tri/decode (50.0%), the test set itself, which flatters"
    assert f"{scales}{chosen}." in output
    facts = json.loads((files / "out" / "wer.json").read_text())
    names = ("lmwt", "wip", "chosen_on", "chosen_wer", "hyp")
    assert [facts[name] for name in names] == [
        "9", "0.5", "exp/tri/decode", 50.0, str(text.relative_to(files)),
    ]  # fmt: skip
    (folder / "scoring_kaldi" / "test_filt.txt").unlink()
    with pytest.raises(InputError, match="asr-kd score REF exp/tri/decode"):
        shown("exp/tri/decode")
    assert "1/1/1" in shown("ref", "exp/tri/decode")


def test_an_older_folder_of_kaldi_tried_no_penalty(files: Path) -> None:
    (files / "d" / "scoring").mkdir(parents=True)
    (files / "d" / "wer_10").write_text("%WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]\n")
    (files / "d" / "scoring" / "10.txt").write_text((files / "hyp").read_text())
    (files / "d" / "scoring" / "test_filt.txt").write_text((files / "ref").read_text())
    assert "LM weight 10, word insertion penalty 0.0: the only" in shown("d", "--out", "out")
    assert (files / "out" / "wer_10_0.0").is_file()
    assert (files / "out" / "scoring_kaldi/wer_details/wip").read_text() == "0.0\n"
    assert json.loads((files / "out" / "wer.json").read_text())["wip"] is None
    compare(["d=d"], files / "table", "T", [])
    assert "word insertion penalty 0.0: the only" in (files / "table" / "RESULTS.md").read_text()


def test_sclite_and_rules(files: Path) -> None:
    (files / "rules.yaml").write_text("name: mine\nversion: 3\nrules:\n- words: {x: b, g: }\n")
    output = shown("ref", "hyp", "--alignment", "sclite", "--normaliser", "rules.yaml")
    assert "0/1/0" in output
    assert "mine (version 3" in output
    changes = "replaced, removed or put in: reference 0 (of 6 before), hypotheses 2 (of 6 before)"
    assert f"{changes}. Alignment: sclite" in output


def test_missing_hypotheses_are_refused_or_said(files: Path) -> None:
    (files / "hyp").write_text("u1 a b c\nu9 z\n")
    with pytest.raises(InputError) as refused:
        shown("ref", "hyp", "--out", "out")
    named = [fault.split(": ")[1] for fault in refused.value.faults[1:]]
    assert named == ["u2", "u3", "u9"]
    assert not (files / "out").exists()
    output = shown("ref", "hyp", "--partial", "--out", "out")
    assert "PARTIAL word error rate" in output
    assert "PARTIAL: 1 of 3 reference utterances" in output
    facts = json.loads((files / "out" / "wer.json").read_text())
    assert (facts["not_scored"]["scored"], facts["not_scored"]["of"]) == (1, 3)
    assert "[PARTIAL]" in (files / "out" / "wer_1_0.0").read_text()
    assert "[PARTIAL]" in (files / "out" / "scoring_kaldi" / "best_wer").read_text()


def test_many_speakers_are_not_printed(files: Path) -> None:
    text = "".join(f"u{i:03} a\n" for i in range(150))
    (files / "many").write_text(text)
    (files / "u2s").write_text("".join(f"u{i:03} s{i:03}\n" for i in range(150)))
    output = shown("many", "many", "--utt2spk", "u2s", "--out", "out")
    assert "s001" not in output
    assert "150 speakers, too many to be printed; --out writes each" in output
    assert "too narrow" not in output
    assert "s001" in (files / "out/scoring_kaldi/wer_details/per_spk").read_text()


def test_what_cannot_be_scored_is_said(files: Path) -> None:
    for one in ("hyp", "hyp,format=kaldi"):
        with pytest.raises(InputError, match=f"hyp: no reference; name .*: asr-kd score REF {one}"):
            shown(one)
    (files / "hyp2").write_text("u1\n")
    with pytest.raises(InputError, match=r"hyp\*: no such file"):
        shown("ref", "hyp*")
    with pytest.raises(InputError, match="dev=x is for decode folders of Kaldi only"):
        shown("ref,dev=x", "hyp")
    with pytest.raises(InputError, match="nothing"):
        shown("ref", "nothing")
    with pytest.raises(InputError, match="would be replaced"):
        shown("ref", "hyp", "--out", ".")
    assert runner.invoke(app, ["score", "ref", "hyp", "hyp2"]).exit_code == 2
