"""What the outputs of `compare` show, and when they are made anew."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from asr_kd.report.compare import Settings, compare
from asr_kd.report.pairs import Chosen
from asr_kd.report.publish import _run_names


def text(path: Path, lines: str) -> str:
    path.write_text(lines)
    return str(path)


def test_another_reference_of_the_same_folders_makes_the_report_anew(
    tmp_path: Path, decode_dir: Callable[..., Path]
) -> None:
    words = {"s-1": "a b", "s-2": "c d"}
    systems = [f"x={decode_dir('x', words, words, {'s-1': 's', 's-2': 't'})}"]
    made = []
    for name, last in (("one", "d"), ("two", "e")):
        ref = text(tmp_path / name, f"s-1 a b\ns-2 c {last}\n")
        compare(systems, tmp_path / "out", "T", [], Settings(refs=(ref,)))
        found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]
        made.append((found["rows"][0]["wer"]["value"], found["speakers"]))
    speakers = text(tmp_path / "utt2spk", "s-1 s\ns-2 s\n")
    compare(systems, tmp_path / "out", "T", [], Settings(refs=(ref,), utt2spks=(speakers,)))
    found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]
    made.append((found["rows"][0]["wer"]["value"], found["speakers"]))
    assert made == [(0.0, 2), (0.25, 2), (0.25, 1)]


ROLES = ("teacher", "ensemble", "hard-student", "student")


@pytest.fixture
def roles(tmp_path: Path) -> tuple[list[str], Settings]:
    """Roles over 4 of 5 utterances of two speakers; words that Markdown would eat."""
    ref = {f"{s}-{i}": ["<unk>", "b", "c", "_d_"] for s in "st" for i in range(3)}
    text(tmp_path / "ref", "".join(f"{utt} {' '.join(words)}\n" for utt, words in ref.items()))
    text(tmp_path / "utt2spk", "".join(f"{utt} {utt[0]}\n" for utt in ref))
    for k, role in enumerate(ROLES):
        lines = [
            f"{utt} {' '.join('x' if (i * 7 + j * 3 + k) % (k + 2) == 0 else w for j, w in enumerate(words))}\n"  # noqa: E501
            for i, (utt, words) in enumerate(ref.items())
        ]
        text(tmp_path / role, "".join(lines[k == 3 :]))
    refs, speakers = (str(tmp_path / "ref"),), (str(tmp_path / "utt2spk"),)
    specs = [f"{role}={tmp_path / role}" for role in ROLES]
    return specs, Settings(refs=refs, utt2spks=speakers, partial=True)


def test_partial_is_marked_in_every_table_section_and_csv(
    roles: tuple[list[str], Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs, settings = roles
    compare(specs, tmp_path / "out", "T", [], settings)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    titles = re.findall("^### (.*)", page, re.MULTILINE)
    mark = " PARTIAL 5/6"
    assert titles == [f"{t}{mark}" for t in ("Systems", "Differences", "Inherited errors")] + [
        "Method"
    ]
    shown = capsys.readouterr().out
    html = (tmp_path / "out" / "report.html").read_text()
    for title in titles[:-1]:
        assert title in shown
        assert f">{title}</h2>" in html
    assert f'"mark":"{mark}"' in html
    for name in ("systems", "pairs", "speakers", "inherited"):
        with (tmp_path / "out" / f"{name}.csv").open() as file:
            assert {(row["scored"], row["of"]) for row in csv.DictReader(file)} == {("5", "6")}


def test_facts_stand_below_their_table(roles: tuple[list[str], Settings], tmp_path: Path) -> None:
    specs, settings = roles
    compare(specs, tmp_path / "out", "T", ["a *note*"], settings)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    parts = re.split("^### ", page, flags=re.MULTILINE)[1:]
    for part, facts in zip(parts, [
        ("Test data: 5 utterances, 20 words, 2 speakers.", "Left out: "),
        ("The smallest difference", "Noise: "), ("Inherited: ",), ("p: ", "WER: ", "a *note*"),
    ], strict=True):  # fmt: skip
        for fact in facts:
            assert f"\n- {fact}" in part
    assert "Seeds of training" not in page  # nobody named any
    assert "Words of student" not in page
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Words of student" in html
    assert "asr-kd compare \\\n    teacher=" in html  # its lines stay
    assert re.search(r"^\|.*", page, re.MULTILINE)[0].startswith("| system | WER % |")  # type: ignore[index]


def test_two_decimals(roles: tuple[list[str], Settings], tmp_path: Path) -> None:
    specs, settings = roles
    compare(specs, tmp_path / "out", "T", [], settings)
    found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    for row in found["rows"]:
        assert f"| {row['role']} | {100 * row['wer']['value']:.2f} [" in page
    for pair in found["pairs"]:
        name = f"| {pair['a']} − {pair['b']} | "
        (line,) = [line for line in page.splitlines() if line.startswith(name)]
        assert line.startswith(f"{name}{100 * pair['difference']:+.2f} [")
        if pair["smallest"] is not None:
            assert line.endswith(f" | {100 * pair['smallest']:.2f} |")
    assert any(pair["smallest"] is not None for pair in found["pairs"])


def test_names_and_words_read_as_they_stand(tmp_path: Path) -> None:
    ref = text(tmp_path / "ref", "u-1 a b\nu-2 c d\n")
    text(tmp_path / "x", "u-1 a b\nu-2 c e\n")
    name = "*<b>_x_*"
    sets = [f"{name}:{of}={tmp_path / 'x'}" for of in ("<unk>", "two*three*")]
    compare(sets, tmp_path / "out", "<i>T</i>", [], Settings(refs=(ref,)))
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    shown = MarkdownIt("commonmark").enable("table").render(page.split("Made on")[0])
    plain = unescape(re.sub("<[^>]*>", "", shown))
    assert plain.count(name) == 2
    for one in ("<i>T</i>", "<unk>", "two*three*"):
        assert one in plain


def test_the_verdict_is_the_corrected_test_s(tmp_path: Path) -> None:
    utts = [f"u{i:03}" for i in range(60)]
    ref = text(tmp_path / "ref", "".join(f"{u} a b c\n" for u in utts))
    specs = []
    for k, wrong in enumerate(([], utts[:5], utts[20:24], utts[40:43])):
        lines = "".join(f"{u} {'x' if u in wrong else 'a'} b c\n" for u in utts)
        specs.append(f"s{k}={text(tmp_path / f's{k}', lines)}")
    compare(specs, tmp_path / "out", "T", [], Settings(refs=(ref,)))
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]["pairs"]
    corrected = []
    for pair in found:
        (line,) = [row for row in page.splitlines() if f"| {pair['a']} − {pair['b']} |" in row]
        p = pair["tests"][0]["p_corrected"]
        assert ("outside the noise" in line) == (p < 0.05)
        low, high = pair["percentile"]
        corrected.append((low > 0 or high < 0) and p >= 0.05)
    assert any(corrected)  # an interval without 0 is not enough among six pairs
    assert "Intervals are not corrected." in page


def many_systems(folder: Path, count: int) -> list[str]:
    utts = [f"u{u:02}" for u in range(20)]
    text(folder / "ref", "".join(f"{utt} a b c\n" for utt in utts))
    specs = []
    for k in range(count):
        lines = "".join(f"{u} {'x' if u in utts[k::5] else 'a'} b c\n" for u in utts)
        specs.append(f"s0{k}={text(folder / f's0{k}', lines)}")
    return specs


def test_many_systems_are_shown_against_the_first(tmp_path: Path) -> None:
    specs = many_systems(tmp_path, 7)
    settings = Settings(refs=(str(tmp_path / "ref"),))
    compare(specs, tmp_path / "out", "T", [], settings)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "Shown: differences from s00; pairs.csv has all 21." in page
    shown = re.findall(r"^\| (s0\d) − (s0\d) \|", page, re.MULTILINE)
    assert shown == [(f"s0{k}", "s00") for k in range(1, 7)]
    assert len((tmp_path / "out" / "pairs.csv").read_text().splitlines()) == 1 + 21
    chosen = Chosen(differences=("s03:s05", "s04:s05"))
    compare(specs, tmp_path / "out", "T", [], replace(settings, chosen=chosen))
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert re.findall(r"^\| (s0\d) − ", page, re.MULTILINE) == ["s03", "s04"]
    assert "Shown: " not in page


def test_costs_and_quality_in_csv(tmp_path: Path, decode_dir: Callable[..., Path]) -> None:
    words = {"s-1": "a b", "s-2": "c d"}
    speakers = {"s-1": "s", "s-2": "t"}
    frames = {"s-1": (10, 5), "s-2": (10, 5)}
    made = [
        f"{role}={decode_dir(role, words, words, speakers, frames, **costs)}"
        for role, costs in (
            ("teacher", {"multiply_adds_per_second": 2e6, "bytes": 4_000}),
            ("student", {"multiply_adds_per_second": None, "bytes": None, "params": None}),
        )
    ]
    compare(made, tmp_path / "out", "T", [])
    with (tmp_path / "out" / "systems.csv").open() as file:
        teacher, student = csv.DictReader(file)
    assert (teacher["multiply_adds"], teacher["bytes"], teacher["params"]) == (
        "2000000.0", "4000.0", "1000",
    )  # fmt: skip
    assert float(teacher["cross_entropy"]) == pytest.approx(2 / 20)
    assert (student["multiply_adds"], student["bytes"], student["params"]) == ("", "", "")
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    tables = [line for line in page.splitlines() if line.startswith("| system ")]
    assert tables[:2] == [
        "| system | frame acc% | WER % | S/D/I | CER % | SER % |",
        "| system | cross-entropy | params | mult-adds/s | RTF | bytes |",
    ]
    (row,) = [line for line in page.splitlines() if line.startswith("| student | 0.100")]
    assert row.endswith("| — | — | 0.030 | — |")


def test_latency_of_systems_that_stream(tmp_path: Path, decode_dir: Callable[..., Path]) -> None:
    words = {"s-1": "a b", "s-2": "c d"}
    speakers = {"s-1": "s", "s-2": "t"}
    latencies = {
        "teacher": None, "half@1": None, "half@2": 30.0, "student@1": 120.0, "student@2": 240.0,
    }  # fmt: skip
    made = [
        f"{system}={decode_dir(system, words, words, speakers, latency_ms=ms)}"
        for system, ms in latencies.items()
    ]
    compare(made, tmp_path / "out", "T", [])
    with (tmp_path / "out" / "systems.csv").open() as file:
        rows = {row["system"]: row["latency_ms"] for row in csv.DictReader(file)}
    assert rows == {"teacher": "", "half": "", "student": "240.0"}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    told = {row["role"]: row["latency_ms"] for row in results["sets"][0]["rows"]}
    assert told == {"teacher": None, "half": None, "student": [120.0, 240.0]}
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    table = re.search(r"^\| system .* latency ms \|\n(?:\|.*\n)+", page, re.MULTILINE)
    assert table is not None
    assert re.findall(r" ([^|]+) \|$", table[0], re.MULTILINE)[2:] == ["—", "—", "120 to 240"]


@pytest.mark.parametrize(("correct", "said"), [(3, "the ensemble loses"), (5, "may gain nothing")])
def test_why_kept_is_not_defined(
    tmp_path: Path, decode_dir: Callable[..., Path], correct: int, said: str
) -> None:
    words = {f"s{i}-1": "a b" for i in range(4)}
    speakers = {utt: utt[:2] for utt in words}
    specs = []
    for role, right in (("teacher", 5), ("ensemble", correct), ("student", 4)):
        path = decode_dir(role, words, words, speakers, dict.fromkeys(words, (10, right)))
        specs.append(f"{role}={path}")
    compare(specs, tmp_path / "out", "T", [])
    assert f"not defined: {said}" in (tmp_path / "out" / "RESULTS.md").read_text().replace(
        "the ensemble may", "may"
    )


def test_runs_have_short_names() -> None:
    def made(*seeds_paths: tuple[str | None, str]) -> list[str]:
        return _run_names([SimpleNamespace(seed=s, path=Path(p)) for s, p in seeds_paths])  # type: ignore[misc]

    assert made(("1", "a/x")) == [""]
    assert made(("1", "a/x"), ("2", "b/x")) == ["seed 1", "seed 2"]
    assert made((None, "a/x"), (None, "a/y")) == ["x", "y"]
    assert made((None, "a/x"), (None, "b/x")) == ["run 1", "run 2"]
    assert made(("1", "a/x"), ("1", "a/y"), ("2", "a/z")) == [
        "seed 1, run 1", "seed 1, run 2", "seed 2, run 1",
    ]  # fmt: skip
