"""`compare` on files that others made: sets, pairs, outputs, the gate, bad input."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import asr_kd.cli.compare
from asr_kd.cli.app import app
from asr_kd.errors import InputError
from asr_kd.report import outputs
from asr_kd.report.compare import Settings, compare
from asr_kd.report.fail import WorseError, verdicts
from asr_kd.report.pairs import Chosen, Pair
from asr_kd.score.bootstrap import Interval
from asr_kd.score.pair import TESTS, PairResult
from asr_kd.score.significance import Test

assert asr_kd.cli.compare  # imported, its verbs are registered
SCHEMA = Path(outputs.__file__).parent / "schema" / "compare-1.schema.json"
WORDS = ("the", "cat", "sat", "on", "the", "mat")
UTTS = [f"s{s}-u{u}" for s in range(6) for u in range(10)]


def write(path: Path, text: Mapping[str, Sequence[str]]) -> Path:
    path.write_text("".join(f"{utt} {' '.join(words)}\n" for utt, words in text.items()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reference, and systems that err in 5, 5 (others) and 45 of 60 utterances."""
    rng = np.random.default_rng(3)
    write(tmp_path / "ref", dict.fromkeys(UTTS, WORDS))
    for name, errors in (("a", 5), ("b", 5), ("bad", 45)):
        wrong = set(rng.choice(len(UTTS), errors, replace=False).tolist())
        text = {utt: (("a", *WORDS[1:]) if i in wrong else WORDS) for i, utt in enumerate(UTTS)}
        write(tmp_path / name, text)
    (tmp_path / "utt2spk").write_text("".join(f"{utt} {utt[:2]}\n" for utt in UTTS))
    return tmp_path


def specs(folder: Path, *names: str) -> list[str]:
    return [f"{name}={folder / name}" for name in names]


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(refs=(str(folder / "ref"),), **more)


def results(folder: Path) -> Any:
    found = json.loads((folder / "results.json").read_text())
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


def test_two_text_files_are_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    command = "compare --ref ref a=a bad=bad --out report"
    done = CliRunner().invoke(app, command.split())
    assert done.exit_code == 0, done.output
    report = folder / "report"
    assert {file.name for file in report.iterdir()} == {
        "RESULTS.md", "report.html", "results.json", "systems.csv", "pairs.csv", "manifest.json",
    }  # fmt: skip
    (found,) = results(report)["sets"]
    assert [(row["role"], row["operations"]) for row in found["rows"]] == [
        ("a", [5, 0, 0]), ("bad", [45, 0, 0]),
    ]  # fmt: skip
    assert found["rows"][1]["wer"]["value"] == pytest.approx(45 / 360)
    assert found["rows"][1]["ser"]["value"] == pytest.approx(45 / 60)
    assert found["rows"][1]["cer"]["value"] == pytest.approx(3 * 45 / (22 * 60))  # "the" to "a"
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["blocks"]) == ("bad", "a", "utterances")
    assert pair["difference"] == pytest.approx(40 / 360)
    page = (report / "RESULTS.md").read_text()
    for text in ("60 utterances, 360 words", "bad − a", "outside the noise", "Normaliser: none",
                 "smallest difference that this test set can show", "--ref ref"):  # fmt: skip
        assert text in page
    for column in ("params", "RTF", "frame acc%", "kept %", "sign p"):  # nobody has any
        assert column not in page


def test_csv_says_what_json_says(folder: Path) -> None:
    more = settings(folder, utt2spks=(str(folder / "utt2spk"),))
    compare(specs(folder, "a", "b", "bad"), folder / "out", "T", [], more)
    (found,) = results(folder / "out")["sets"]
    rows = {name: list(csv.DictReader((folder / f"out/{name}.csv").open())) for name in
            ("systems", "pairs", "speakers")}  # fmt: skip
    for line, row in zip(rows["systems"], found["rows"], strict=True):
        assert (line["system"], line["scored"], line["of"]) == (row["role"], "60", "60")
        assert [float(line[k]) for k in ("wer", "wer_low", "wer_high")] == [
            row["wer"]["value"], *row["wer"]["interval"],
        ]  # fmt: skip
        assert line["params"] == ""
    assert len(rows["pairs"]) == len(found["pairs"]) == 3
    for line, pair in zip(rows["pairs"], found["pairs"], strict=True):
        assert float(line["difference"]) == pair["difference"]
        for test in pair["tests"]:
            p = line[f"{test['name']}_p_holm"]
            assert (float(p) if p else None) == test["p_corrected"]
    assert len(rows["speakers"]) == 3 * 6
    errors = sum(float(r["substitutions"]) for r in rows["speakers"] if r["system"] == "bad")
    assert errors == 45
    assert {r["words"] for r in rows["speakers"]} == {"60"}


def test_p_values_are_corrected_over_all_pairs_and_sets(folder: Path) -> None:
    write(folder / "other_ref", dict.fromkeys(UTTS[:30], WORDS[:5]))
    for name in ("a", "b", "bad"):
        lines = (folder / name).read_text().splitlines()[:30]
        (folder / f"other_{name}").write_text("\n".join(lines) + "\n")
    systems = specs(folder, "a", "b", "bad")
    systems += [f"{name}:other={folder}/other_{name}" for name in ("a", "b", "bad")]
    refs = (str(folder / "ref"), f"other={folder}/other_ref")
    compare(systems, folder / "out", "T", ["a note"], Settings(refs=refs))
    found = results(folder / "out")["sets"]
    assert [(one["name"], one["utterances"]) for one in found] == [("test", 60), ("other", 30)]
    for name in TESTS:
        tests = [t for one in found for p in one["pairs"] for t in p["tests"] if t["name"] == name]
        assert len(tests) == 6
        known = sorted((t for t in tests if t["p_value"] is not None), key=lambda t: t["p_value"])
        highest = 0.0
        for rank, test in enumerate(known):
            highest = max(highest, min(1.0, (len(known) - rank) * test["p_value"]))
            assert test["p_corrected"] == pytest.approx(highest)
    page = (folder / "out" / "RESULTS.md").read_text()
    parts = [page.index(text) for text in ("# T", "## test", "## other", "## All test sets")]
    assert parts == sorted(parts)
    assert page.count("Test data: ") == 2
    assert page.count("- a note") == 1
    assert "Holm for 6 comparisons" in page


@pytest.mark.parametrize(
    ("chosen", "pairs"),
    [
        (Chosen(), ["b:a", "bad:a", "bad:b"]),
        (Chosen(baseline="bad"), ["a:bad", "b:bad"]),
        (Chosen(differences=("a:bad",)), ["a:bad"]),
        (Chosen("b", ("a:bad", "a:b")), ["a:b", "bad:b", "a:bad"]),
    ],
)
def test_which_pairs(folder: Path, chosen: Chosen, pairs: Sequence[str]) -> None:
    more = settings(folder, chosen=chosen)
    compare(specs(folder, "a", "b", "bad"), folder / "out", "T", [], more)
    (found,) = results(folder / "out")["sets"]
    assert [f"{p['a']}:{p['b']}" for p in found["pairs"]] == pairs


def test_students_come_before_their_controls() -> None:
    pairs = Chosen().of(["teacher", "ensemble", "student", "hard-student"])
    assert ("student", "hard-student") in pairs
    assert ("student", "teacher") in pairs
    assert len(pairs) == 6


@pytest.mark.parametrize(
    ("system", "alpha", "code", "said"),
    [
        ("bad", 0.05, 3, "test: bad is worse than a: WER +11.1"),
        ("a", 0.05, 0, "a is not shown to be worse than bad: WER -11.1"),
    ],
)
def test_the_gate(folder: Path, system: str, alpha: float, code: int, said: str) -> None:
    arguments = ["compare", *specs(folder, "a", "bad"), "--ref", str(folder / "ref"), "--out",
                 str(folder / "out"), "--fail-if-worse", system, "--alpha", str(alpha)]  # fmt: skip
    for _ in range(2):  # what is up to date fails, too
        done = CliRunner().invoke(app, arguments)
        assert (done.exit_code == 0) == (code == 0)
        if code:
            assert isinstance(done.exception, WorseError)
            assert done.exception.exit_code == code
            assert said in str(done.exception)
        assert said in (folder / "out" / "RESULTS.md").read_text()


def test_a_gate_over_equal_systems_holds(folder: Path) -> None:
    more = settings(folder, fail_if_worse="c")
    compare([f"a={folder / 'a'}", f"c={folder / 'a'}"], folder / "out", "T", [], more)
    assert "c is not shown to be worse than a" in (folder / "out" / "RESULTS.md").read_text()


def test_partial_stands_beside_every_figure(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / "b").read_text().splitlines()
    (folder / "b").write_text("\n".join([*lines[3:], "extra-1 oh"]) + "\n")
    with pytest.raises(InputError) as refused:
        compare(specs(folder, "a", "b"), folder / "out", "T", [], settings(folder))
    for utt in ("s0-u0", "s0-u1", "s0-u2", "extra-1"):
        assert utt in str(refused.value)
    assert not (folder / "out").exists()
    capsys.readouterr()
    more = settings(folder, partial=True, fail_if_worse="b")
    compare(specs(folder, "a", "b"), folder / "out", "T", [], more)
    shown = capsys.readouterr().out
    (found,) = results(folder / "out")["sets"]
    assert found["partial"] == {"scored": 57, "of": 60, "missing": {"b": 3}, "extra": {"b": 1}}
    assert found["utterances"] == 57
    page = (folder / "out" / "RESULTS.md").read_text()
    for title in ("Systems", "Differences"):
        assert f"### {title} PARTIAL 57/60\n" in page
    for text in (shown, page, (folder / "out" / "report.html").read_text()):
        assert text.count("PARTIAL") >= 4
    assert "test PARTIAL 57/60: b is not shown" in page
    with (folder / "out" / "systems.csv").open() as file:
        assert [(line["scored"], line["of"]) for line in csv.DictReader(file)] == [("57", "60")] * 2


def test_a_normaliser_is_told_with_its_changes(folder: Path) -> None:
    write(folder / "loud", dict.fromkeys(UTTS, tuple(word.upper() for word in WORDS)))
    more = settings(folder, normaliser="plain")
    compare(specs(folder, "loud", "a"), folder / "out", "T", [], more)
    found = results(folder / "out")
    assert found["normaliser"]["name"] == "plain"
    (one,) = found["sets"]
    assert [row["wer"]["value"] for row in one["rows"]] == [0, pytest.approx(5 / 360)]
    assert [folder["words_changed"] for folder in one["folders"]] == [360, 0]
    page = (folder / "out" / "RESULTS.md").read_text()
    assert "reference 0, loud 360, a 0" in page
    assert found["normaliser"]["sha256"][:8] in page


def test_another_alignment_makes_the_report_anew(folder: Path) -> None:
    made = []
    for method in ("levenshtein", "sclite", "sclite"):
        compare(specs(folder, "a"), folder / "out", "T", [], settings(folder, alignment=method))
        made.append((results(folder / "out")["alignment"],
                     (folder / "out" / "manifest.json").stat().st_mtime_ns))  # fmt: skip
    assert [method for method, _ in made] == ["levenshtein", "sclite", "sclite"]
    assert made[0] != made[1] == made[2]


def test_all_faults_together_and_nothing_written(folder: Path) -> None:
    (folder / "broken").write_bytes(b"u1 \xff\xfe\x00\n")
    with pytest.raises(InputError) as refused:
        compare(
            [*specs(folder, "a", "broken"), f"x:nowhere={folder / 'none'}"],
            folder / "out", "T", [], settings(folder),
        )  # fmt: skip
    assert "none" in str(refused.value)
    with pytest.raises(InputError, match="broken"):
        compare(specs(folder, "a", "broken"), folder / "out", "T", [], settings(folder))
    assert not (folder / "out").exists()


def test_systems_that_are_none(folder: Path) -> None:
    more = settings(folder, chosen=Chosen("nobody", ("a", "a:c", "a:a")), fail_if_worse="worst")
    with pytest.raises(InputError) as refused:
        compare(specs(folder, "a", "b"), None, "T", [], more)
    message = str(refused.value)
    for text in ("'nobody'", "--difference a:", "'c'", "--difference a:a", "--fail-if-worse worst"):
        assert text in message


def test_a_reference_without_words(folder: Path) -> None:
    write(folder / "ref", dict.fromkeys(UTTS, ()))
    with pytest.raises(InputError, match="no words"):
        compare(specs(folder, "a"), None, "T", [], settings(folder))


def test_nothing_at_all() -> None:
    with pytest.raises(InputError, match="no systems"):
        compare([], None, "T", [])


def test_a_system_named_twice(folder: Path) -> None:
    with pytest.raises(InputError, match=f"a={folder}/a: named twice"):
        compare([*specs(folder, "a"), *specs(folder, "a")], None, "T", [], settings(folder))


def test_one_system_has_no_pair(folder: Path) -> None:
    compare(specs(folder, "a"), folder / "out", "T", [], settings(folder))
    (found,) = results(folder / "out")["sets"]
    assert found["pairs"] == []
    page = (folder / "out" / "RESULTS.md").read_text()
    assert "not known: it depends on how two systems differ, and here is none" in page


def test_a_sentence_is_wrong_once(folder: Path) -> None:
    write(folder / "c", dict.fromkeys(UTTS, WORDS) | {"s0-u0": ("no", "word", "is", "right")})
    compare(specs(folder, "c"), folder / "out", "T", [], settings(folder))
    (row,) = results(folder / "out")["sets"][0]["rows"]
    assert row["ser"]["value"] == pytest.approx(1 / 60)
    assert row["wer"]["value"] == pytest.approx(6 / 360)


def test_the_gate_wants_both_tests() -> None:
    interval = Interval(0.01, 0.03)

    def told(**p_values: float | None) -> tuple[list[str], bool]:
        tests = tuple(Test(name, 1.0, p, 9, "why") for name, p in p_values.items())
        result = PairResult(
            "new", "old", 0.12, 0.10, 0.02, interval, interval, "speakers", 0.0, tests, 0.1, 0.1
        )
        compared = SimpleNamespace(name="test", partial=None)
        return verdicts("new", 0.05, [(compared, [Pair(result, None, p_values)])])  # type: ignore[list-item]

    assert told(bootstrap=0.001, mapsswe=0.01)[1]
    for bootstrap, mapsswe, name in ((0.001, 0.06, "MAPSSWE"), (0.06, 0.001, "bootstrap")):
        (line,), worse = told(bootstrap=bootstrap, mapsswe=mapsswe)
        assert not worse
        assert "new is not shown to be worse than old" in line
        assert f"p 0.060 ({name})" in line
    for bootstrap, mapsswe, name in ((0.001, None, "MAPSSWE"), (None, 0.001, "bootstrap")):
        (line,), worse = told(bootstrap=bootstrap, mapsswe=mapsswe)
        assert not worse
        assert "no verdict on whether new is worse than old" in line
        assert f"{name} not defined (why)" in line


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, ["bootstrap: drawn from only 1 utterance: nothing varies.",
             "MAPSSWE: only one segment has an error."]),
        (2, ["MAPSSWE: all 2 segments differ by the same."]),
    ],
)  # fmt: skip
def test_a_handful_of_utterances_fails_nobody(
    tmp_path: Path, count: int, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    utts = UTTS[:count]
    write(tmp_path / "ref", dict.fromkeys(utts, WORDS))
    write(tmp_path / "a", dict.fromkeys(utts, WORDS))
    write(tmp_path / "b", dict.fromkeys(utts, WORDS[:-1]))
    more = settings(tmp_path, fail_if_worse="b")
    compare(specs(tmp_path, "a", "b"), tmp_path / "out", "T", [], more)
    shown, page = capsys.readouterr().out, (tmp_path / "out" / "RESULTS.md").read_text()
    of = f"{count} utterance{'s' if count > 1 else ''}"
    for text in (" ".join(shown.split()), page, (tmp_path / "out" / "report.html").read_text()):
        assert f"intervals are drawn from only {of}, and too narrow" in text
        assert "no verdict on whether b is worse than a: WER +16.67" in text
        assert "these make the same errors" not in text
        assert "all resamples of utterances show the same difference between these" in text
    for line in (*told, "Wilcoxon, sign: there are no speakers to look at."):
        assert f"Not defined: {line}" in page
    drawn = "bootstrap on resamples, " * (count > 1)
    assert f"p: {drawn}McNemar on sentences: two-sided." in page
    assert ("inside the noise" in page) == (count > 1)
    assert "outside the noise" not in page


def test_five_speakers_fail_nobody_and_six_do(folder: Path) -> None:
    for speakers, code in ((5, 0), (6, 3)):
        names = [f"{utt} {int(utt[1]) % speakers}\n" for utt in UTTS]
        (folder / "utt2spk").write_text("".join(names))
        arguments = ["compare", *specs(folder, "a", "bad"), "--ref", str(folder / "ref"),
                     "--utt2spk", str(folder / "utt2spk"), "--fail-if-worse", "bad"]  # fmt: skip
        done = CliRunner().invoke(app, arguments)
        assert getattr(done.exception, "exit_code", 0) == code
