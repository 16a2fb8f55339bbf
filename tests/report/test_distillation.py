import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.report.comparison import Scoring
from asr_kd.report.distillation import Distillation, distillation
from asr_kd.report.distillation_tables import distillation_tables, word_facts
from asr_kd.report.html.model import Table
from asr_kd.report.sources import find_sources
from asr_kd.report.statistics import Statistics
from asr_kd.report.systems import read_comparisons, read_systems
from asr_kd.report.table import size
from asr_kd.score.calibration import Calibration

DecodeDir = Callable[..., Path]
REF = {f"s{i}-{j}": "a b c" for i in range(6) for j in range(2)}
UTT2SPK = {utt: utt.split("-")[0] for utt in REF}
COSTS = {"multiply_adds_per_second": 2.5e6, "bytes": 120_000}


@pytest.fixture
def folder(decode_dir: DecodeDir) -> DecodeDir:
    """A decode folder: each utterance of 10 frames costs `lost` nats in all."""

    def make(
        name: str, lost: float | Mapping[str, float] = 5.0, sure: float | None = 0.9,
        wrong: str = "", **info: float,
    ) -> Path:  # fmt: skip
        hyp = {utt: "a x c" if utt == wrong else text for utt, text in REF.items()}
        path = decode_dir(name, REF, hyp, UTT2SPK, dict.fromkeys(REF, (10, 5)), **info)
        content = json.loads((path / "frames.json").read_text())
        for utt, one in content["utterances"].items():
            one["cross_entropy"] = lost[utt] if isinstance(lost, Mapping) else lost
        if sure is not None:  # half of the frames are right
            content["calibration"] = Calibration.of([sure] * 120, [True, False] * 60).to_dict()
        (path / "frames.json").write_text(json.dumps(content))
        return path

    return make


def view(*specs: str) -> Distillation:
    found = distillation(read_systems(specs), resamples=200)
    assert found is not None
    return found


def test_planted(folder: DecodeDir) -> None:
    specs = [
        f"teacher@1={folder('t1', 4.0, 0.6, **COSTS)}",
        f"teacher@1={folder('t2', 6.0, 0.8, **{**COSTS, 'bytes': 200_000})}",
        f"teacher@2={folder('t3', 7.0, 0.7, **COSTS)}",
        f"ensemble@1={folder('e1', 3.0, 0.5, **COSTS)}",
        f"ensemble@2={folder('e2', 3.0, 0.5, **COSTS)}",
    ]
    teacher, ensemble = view(*specs).rows
    assert teacher.role == "teacher"
    assert teacher.cross_entropy is not None
    # Seed 1 loses 5 nats in 10 frames on the average of its members, seed 2 loses 7.
    assert teacher.cross_entropy.value == pytest.approx(0.6)
    # Two seeds leave almost everything open, but nothing below 0.
    assert teacher.cross_entropy.interval.low == 0
    assert teacher.cross_entropy.interval.high > 0.7
    assert teacher.calibration_error == pytest.approx((0.1 + 0.3 + 0.2) / 3)
    assert teacher.multiply_adds == (2.5e6, 2.5e6)
    assert teacher.num_bytes == (120_000.0, 200_000.0)
    assert ensemble.cross_entropy is not None
    assert ensemble.cross_entropy.value == pytest.approx(0.3)
    assert list(ensemble.cross_entropy.interval) == pytest.approx([0.3, 0.3])
    assert ensemble.calibration_error == pytest.approx(0)


def test_cross_entropy_is_drawn_as_frame_accuracy_is(decode_dir: DecodeDir) -> None:
    """A frame that is wrong costs a nat: the one's interval follows from the other's."""
    rng = np.random.default_rng(0)
    specs = []
    for seed in range(4):
        for role in ("teacher", "student"):
            correct = {utt: int(rng.integers(60, 70)) for utt in REF}
            frames = {utt: (100, n) for utt, n in correct.items()}
            path = decode_dir(f"{role}{seed}", REF, REF, UTT2SPK, frames)
            content = json.loads((path / "frames.json").read_text())
            for utt, one in content["utterances"].items():
                one["cross_entropy"] = 100 - correct[utt]
            (path / "frames.json").write_text(json.dumps(content))
            specs.append(f"{role}@{seed}={path}")
    comparison = read_systems(specs)
    found = distillation(comparison)
    assert found is not None
    for row, figures in zip(Statistics(comparison).rows(), found.rows, strict=True):
        assert row.frame_accuracy is not None
        assert figures.cross_entropy is not None
        low, high = row.frame_accuracy.interval
        assert list(figures.cross_entropy.interval) == pytest.approx([1 - high, 1 - low])


def test_folders_of_an_earlier_version_still_compare(folder: DecodeDir) -> None:
    old, new = folder("old", sure=None), folder("new", **COSTS)
    teacher, student = view(f"teacher={old}", f"student={new}").rows
    assert teacher.cross_entropy is not None  # was recorded from the start
    assert teacher.calibration_error is None
    assert teacher.multiply_adds is None
    assert teacher.num_bytes is None
    assert student.calibration_error == pytest.approx(0.4)
    (both,) = [row for row in view(f"teacher={old}", f"teacher={new}", f"student={new}").rows
               if row.role == "teacher"]  # fmt: skip
    assert both.calibration_error is None  # not the mean of some
    assert both.num_bytes is None


def test_texts_have_inheritance_alone(tmp_path: Path) -> None:
    (tmp_path / "ref").write_text("u-1 a b c\n")
    for name, words in (("t", "a x c"), ("s", "a x y")):
        (tmp_path / name).write_text(f"u-1 {words}\n")
    sources = find_sources(
        [f"teacher={tmp_path / 't'}", f"student={tmp_path / 's'}"], [str(tmp_path / "ref")]
    )
    (comparison,) = read_comparisons(sources, Scoring())
    found = distillation(comparison, resamples=50)
    assert found is not None
    assert found.rows == []
    tables = distillation_tables(found, Statistics(comparison, 50).rows(), None)
    assert [_texts(table) for table in tables] == [[["student", "2", "1", "1", "1", "100 [100, 100]"]]]  # noqa: E501  # fmt: skip
    assert [column.name for column in tables[0].columns] == [
        "system", "wrong", "inherited", "same word", "own", "errors inherited %",
    ]  # fmt: skip


def _texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_without_roles_there_is_no_view(folder: DecodeDir) -> None:
    path = folder("a", **COSTS)
    assert distillation(read_systems([f"mine={path}", f"yours={path}", f"teacher={path}"])) is None


def test_a_part_of_the_utterances_has_no_calibration_error(folder: DecodeDir, tmp_path: Path) -> None:  # noqa: E501  # fmt: skip
    lost = {utt: 5.0 if utt != "s0-0" else 1000.0 for utt in REF}
    specs = [f"teacher={folder('t', lost)}", f"student={tmp_path / 'hyp'}"]
    (tmp_path / "hyp").write_text("".join(f"{u} {t}\n" for u, t in REF.items() if u != "s0-0"))
    ref = str(folder("t2") / "ref")
    (comparison,) = read_comparisons(find_sources(specs, [ref]), Scoring(partial=True))
    found = distillation(comparison, resamples=50)
    assert found is not None
    teacher = found.rows[0]
    assert teacher.calibration_error is None
    assert teacher.cross_entropy is not None
    assert teacher.cross_entropy.value == pytest.approx(0.5)  # without the one left out
    assert comparison.partial is not None
    rows = Statistics(comparison, 50).rows()
    titles = [one.title for one in distillation_tables(found, rows, comparison.partial)]
    assert titles == ["Distillation PARTIAL 11/12", "Inherited errors PARTIAL 11/12"]


def test_a_label_of_probability_0(folder: DecodeDir) -> None:
    lost = {utt: 5.0 if utt != "s0-0" else math.inf for utt in REF}
    comparison = read_systems([f"teacher={folder('t', lost)}", f"student={folder('s')}"])
    found = distillation(comparison, resamples=50)
    assert found is not None
    assert found.rows[0].cross_entropy is not None
    assert found.rows[0].cross_entropy.value == math.inf
    (table,) = distillation_tables(found, Statistics(comparison, 50).rows(), None)[:1]
    names = [column.name for column in table.columns]
    column = [row[names.index("cross-entropy")].text for row in table.rows]
    assert column == ["∞", "0.500 [0.500, 0.500]"]


def test_broken_figures_are_named_together(folder: DecodeDir) -> None:
    paths = [folder("one"), folder("two")]
    comparison = read_systems([f"teacher={paths[0]}", f"student={paths[1]}"])
    for path, calibration in zip(paths, ({"frames": [1]}, "x"), strict=True):
        content = json.loads((path / "frames.json").read_text())
        (path / "frames.json").write_text(json.dumps({**content, "calibration": calibration}))
    with pytest.raises(InputError) as refused:
        distillation(comparison)
    assert [str(path) in fault for path, fault in zip(paths, refused.value.faults, strict=True)] == [True, True]  # noqa: E501  # fmt: skip


def test_tables(folder: DecodeDir) -> None:
    bigger = {"multiply_adds_per_second": 3e9, "bytes": 2_500_000}
    specs = [
        f"teacher={folder('t1', wrong='s0-0', **COSTS)}",
        f"teacher={folder('t2', wrong='s1-0', **bigger)}",
        f"ensemble={folder('e', wrong='s1-0', **bigger)}",
        f"hard-student={folder('h', wrong='s0-0', **COSTS)}",
        f"student={folder('s', wrong='s1-0', **COSTS)}",
    ]
    comparison = read_systems(specs)
    found = distillation(comparison, resamples=50)
    assert found is not None
    statistics = Statistics(comparison, 50)
    knowledge, inherited = distillation_tables(found, statistics.rows(), None, statistics.gain())
    assert [column.name for column in knowledge.columns] == [
        "system",
        "cross-entropy",
        "ECE %",
        "kept %",
        "params",
        "mult-adds/s",
        "RTF",
        "bytes",
    ]
    assert _texts(knowledge)[0][:3] == ["teacher (mean of 2)", "0.500 [0.500, 0.500]", "40.0"]
    assert _texts(knowledge)[0][4:] == [
        "1.00 k", "2.50 M to 3.00 G", "0.030", "120 kB to 2.50 MB",
    ]  # fmt: skip
    # One of two teachers is wrong where the ensemble is right: half a word fixed, and kept.
    assert _texts(inherited) == [
        ["hard-student", "1", "0", "0", "0.5", "0.5", "0 [0, 0]", "0 [0, 0]"],
        ["student", "1", "1", "1", "0", "0", "100 [100, 100]", "100 [100, 100]"],
    ]
    notes = [*knowledge.notes, *inherited.notes]
    facts = dict(note.split(": ", 1) for note in notes)
    assert facts["What the ensemble does"] == (
        "of 36 reference words the mean teacher gets 1 wrong, the ensemble 1: it fixed 0.5 and "
        "broke 0.5."
    )
    assert "15 equal bins" in facts["ECE"]
    assert found.inheritance is not None
    words = dict(word_facts(found.inheritance))
    assert words["Words of student, most frequent first"] == "inherited b 1."
    assert facts["student − hard-student, share of the ensemble's fixes kept, points"] == (
        "+100.0 [+100.0, +100.0] outside the noise."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (950, "950"), (999.6, "1.00 k"), (12_345, "12.3 k"), (1.25e6, "1.25 M"),
     (59e9, "59.0 G"), (123e9, "123 G"), (999_600, "1.00 M"), (999.9e6, "1.00 G"),
     (3e13, "30.0 T")],
)  # fmt: skip
def test_quantities(value: float, text: str) -> None:
    assert size(value) == text
    assert size(value, "B") == (f"{text}B" if text[-1].isalpha() else f"{text} B")
