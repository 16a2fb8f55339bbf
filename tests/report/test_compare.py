import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.report import outputs
from asr_kd.report.compare import Settings, compare
from asr_kd.report.statistics import Statistics
from asr_kd.report.systems import read_systems

DecodeDir = Callable[..., Path]
SPEAKERS = [f"s{i}" for i in range(12)]
REF = {f"{spk}-{i}": "a b c d e" for spk in SPEAKERS for i in range(2)}
UTT2SPK = {utt: utt.split("-")[0] for utt in REF}
FRAMES = 1000
SCHEMA = Path(outputs.__file__).parent / "schema" / "compare-1.schema.json"


def _hyp(errors: Sequence[int]) -> dict[str, str]:
    """errors[i] deletions in utterance i."""
    words = REF["s0-0"].split()
    return {utt: " ".join(words[n:]) for utt, n in zip(REF, errors, strict=True)}


def _frames(correct: Sequence[float]) -> dict[str, tuple[int, int]]:
    return {utt: (FRAMES, round(n)) for utt, n in zip(REF, correct, strict=True)}


@pytest.fixture
def planted(decode_dir: DecodeDir) -> Callable[..., list[str]]:
    """Teachers, ensemble and students whose share of the gain is known, speaker by speaker."""

    def make(share: float, gain: float, noise: float, seeds: int = 3) -> list[str]:
        rng = np.random.default_rng(11)
        specs = []
        easy = rng.uniform(500, 800, size=len(REF))

        def add(role: str, seed: int, k: int, correct: np.ndarray, errors: int) -> None:
            name = f"{role}{seed}{k}"
            path = decode_dir(name, REF, _hyp([errors] * len(REF)), UTT2SPK, _frames(correct))
            specs.append(f"{role}@{seed}={path}")

        for seed in range(seeds):
            base = easy + rng.normal(0, noise, size=len(REF))
            for k in range(2):  # members lie at equal distance around their mean
                add("teacher", seed, k, base + (20 if k else -20), 2)
            add("ensemble", seed, 0, base + gain + rng.normal(0, noise, len(REF)), 1)
            add("student", seed, 0, base + share * gain + rng.normal(0, noise, len(REF)), 1)
            add("hard-student", seed, 0, base, 2)
        return specs

    return make


def test_planted_share_is_found(planted: Callable[..., list[str]]) -> None:
    statistics = Statistics(read_systems(planted(share=0.8, gain=50, noise=0)))
    rows = {row.role: row for row in statistics.rows()}
    student = rows["student"]
    assert student.share is not None
    assert student.share.value == pytest.approx(0.8, abs=0.01)
    assert student.share.interval.low == pytest.approx(0.8, abs=0.01)
    assert student.share.interval.high == pytest.approx(0.8, abs=0.01)
    hard = rows["hard-student"].share
    assert hard is not None
    assert hard.value == pytest.approx(0, abs=0.01)
    assert rows["teacher"].share is None
    assert rows["ensemble"].share is None
    assert rows["teacher"].folders == 6


def test_noisy_share_lies_in_its_interval(planted: Callable[..., list[str]]) -> None:
    rows = {row.role: row for row in Statistics(read_systems(planted(0.8, 50, 15))).rows()}
    share = rows["student"].share
    assert share is not None
    assert share.interval.holds(0.8)
    assert 0.05 < share.interval.high - share.interval.low < 1


def test_share_is_not_defined_without_a_gain(
    planted: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = planted(0.8, gain=1, noise=30)
    statistics = Statistics(read_systems(specs))
    gain = statistics.gain()
    assert gain is not None
    assert gain.inside_noise
    assert all(row.share is None for row in statistics.rows())
    compare(specs, tmp_path / "out", "T", [])
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert page.count("not defined") == 3  # of two students, and the sentence about the gain
    assert "not defined: the ensemble may gain nothing." in page
    students = [row for row in page.splitlines() if row.startswith("| student (")]
    assert [" | not defined | " in row for row in students] == [False, True]  # in Distillation


def test_share_is_not_defined_where_the_ensemble_is_worse(
    planted: Callable[..., list[str]],
) -> None:
    statistics = Statistics(read_systems(planted(0.8, gain=-50, noise=0)))
    gain = statistics.gain()
    assert gain is not None
    assert not gain.inside_noise
    assert all(row.share is None for row in statistics.rows())


def test_intervals_are_those_of_a_slow_paired_loop(planted: Callable[..., list[str]]) -> None:
    comparison = read_systems(planted(0.7, 40, 10))
    statistics = Statistics(comparison, resamples=20_000)
    rng = np.random.default_rng(0)

    def correct(role: str, seed: str, speaker: str) -> float:
        members = [d for d in comparison.of(role) if d.seed == seed]
        return float(np.mean([
            sum(n for utt, (_, n) in d.frames.items() if UTT2SPK[utt] == speaker) for d in members
        ]))  # fmt: skip

    roles = ("student", "teacher", "ensemble")
    table = {(r, s, k): correct(r, s, k) for r in roles for s in comparison.seeds for k in SPEAKERS}
    shares = []
    for _ in range(3_000):
        # The mean of the seeds moves by a t of two degrees of freedom in units of its error.
        z = rng.standard_normal(3)
        weights = 1 + (z - z.mean()) / np.sqrt(rng.chisquare(2) / 3)
        seeds = list(zip(comparison.seeds, weights, strict=True))
        speakers = rng.choice(SPEAKERS, len(SPEAKERS))
        a, b, c = (
            sum(
                table[r, s, drawn] + (w - 1) * table[r, s, k]
                for s, w in seeds
                for drawn, k in zip(speakers, SPEAKERS, strict=True)
            )
            for r in roles
        )
        shares.append((a - b) / (c - b))
    low, high = np.percentile(shares, [2.5, 97.5])
    share = next(row.share for row in statistics.rows() if row.role == "student")
    assert share is not None
    assert share.interval.low == pytest.approx(low, abs=0.08 * (high - low))
    assert share.interval.high == pytest.approx(high, abs=0.08 * (high - low))


def test_figures_of_each_column(decode_dir: DecodeDir) -> None:
    errors = [1] * len(REF)
    a = decode_dir("a", REF, _hyp(errors), UTT2SPK, _frames([600] * len(REF)), partial=1, params=10)
    b = decode_dir("b", REF, _hyp([0] * len(REF)), UTT2SPK, _frames([800] * len(REF)), params=30)
    row = Statistics(read_systems([f"x={a}", f"x={b}"])).rows()[0]
    assert row.wer.value == pytest.approx(0.1)
    assert row.frame_accuracy is not None
    assert row.frame_accuracy.value == pytest.approx(0.7)
    assert row.operations == (0, len(REF) / 2, 0)
    assert row.params == (10, 30)
    assert row.rtf == pytest.approx((0.01, 0.02))
    assert row.partial == (1, 2 * len(REF))


def test_difference_inside_and_outside_the_noise(decode_dir: DecodeDir) -> None:
    rng = np.random.default_rng(5)
    one = decode_dir("one", REF, _hyp(rng.integers(0, 3, len(REF))), UTT2SPK)
    same = decode_dir("same", REF, _hyp(rng.integers(0, 3, len(REF))), UTT2SPK)
    good = decode_dir("good", REF, _hyp([0] * len(REF)), UTT2SPK)
    statistics = Statistics(read_systems([f"student={one}", f"hard-student={same}"]))
    noisy = statistics.difference("student", "hard-student")
    assert noisy.wer.inside_noise
    assert noisy.frame_accuracy is None
    statistics = Statistics(read_systems([f"student={good}", f"teacher={one}"]))
    clear = statistics.difference("student", "teacher")
    assert not clear.wer.inside_noise
    assert clear.wer.value < 0


def test_a_role_without_seeds_serves_all_of_them(
    planted: Callable[..., list[str]], decode_dir: DecodeDir
) -> None:
    gmm = decode_dir("gmm", REF, _hyp([3] * len(REF)), UTT2SPK)
    statistics = Statistics(read_systems([f"baseline={gmm}", *planted(0.8, 50, 0)]))
    row = statistics.rows()[0]
    assert row.role == "baseline"
    assert row.frame_accuracy is None
    assert row.wer.value == pytest.approx(0.6)
    assert (statistics.words, statistics.frames) == (5 * len(REF), FRAMES * len(REF))


def test_page_and_json(
    planted: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = planted(0.8, 50, 5)
    compare(specs, tmp_path / "out", "My title", ["first [note]", "second"])
    shown = capsys.readouterr().out
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert page.startswith("# My title\n")
    for text in ("first [note]", "second", "Seeds of training: 3", "12 speakers", "120 words"):
        assert text in page
        assert text in shown
    assert "student − hard-student" in page
    assert "24,000 aligned frames" in page
    assert (
        f"W={tmp_path}\nasr-kd compare \\\n    teacher@0=$W/teacher00 teacher@0=$W/teacher01"
        in page
    )
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    jsonschema.validate(content, json.loads(SCHEMA.read_text()))
    (results,) = content["sets"]
    assert [row["role"] for row in results["rows"]] == [
        "teacher", "ensemble", "student", "hard-student",
    ]  # fmt: skip
    assert len(results["folders"]) == len(specs)
    view = results["distillation"]
    assert [row["role"] for row in view["rows"]] == [row["role"] for row in results["rows"]]
    assert view["rows"][0]["cross_entropy"]["value"] == pytest.approx(1 / FRAMES)
    assert "| cross-entropy |" in page
    # Two of five words are wrong in the teachers and in hard-student, one in ensemble and student.
    assert [(row["role"], row["lost"], row["kept"]) for row in view["inheritance"]["rows"]] == [
        ("student", 0, len(REF)), ("hard-student", len(REF), 0),
    ]  # fmt: skip
    fates = (tmp_path / "out" / "inherited.csv").read_text().splitlines()
    assert sum(",hard-student," in line and ",lost," in line for line in fates) == len(REF)
    made = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    compare(specs, tmp_path / "out", "My title", ["first [note]", "second"])
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == made


def test_other_processes_leave_the_table_to_the_first(
    decode_dir: DecodeDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = decode_dir("p", REF, _hyp([0] * len(REF)), UTT2SPK)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        compare([f"baseline={path}"], tmp_path / "out", "T", [])
        assert (tmp_path / "out").exists() == (rank == "0")


def test_partial_paths_stand_in_the_table(
    decode_dir: DecodeDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = decode_dir("p", REF, _hyp([0] * len(REF)), UTT2SPK, partial=3)
    compare([f"baseline={path}"], tmp_path / "out", "T", [])
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert f"| 3/{len(REF)} |" in page
    assert "3 paths did not reach a final state" in page


def _changed(table: Mapping[str, str], utt_id: str, value: str) -> dict[str, str]:
    return {**table, utt_id: value}


def test_every_reason_against_a_comparison_is_listed(decode_dir: DecodeDir) -> None:
    hyp = _hyp([0] * len(REF))
    first = decode_dir("first", REF, hyp, UTT2SPK, _frames([1] * len(REF)))
    fewer = {utt: text for utt, text in REF.items() if utt != "s3-0"}
    short = decode_dir("short", fewer, {u: hyp[u] for u in fewer}, {u: UTT2SPK[u] for u in fewer})
    ref = decode_dir("other_ref", _changed(REF, "s1-1", "x y"), hyp, UTT2SPK)
    spk = decode_dir("other_spk", REF, hyp, _changed(UTT2SPK, "s2-0", "nobody"))
    ali = decode_dir("other_ali", REF, hyp, UTT2SPK, _frames([1] * len(REF)), ali="another")
    systems = [f"x={path}" for path in (first, short, ref, spk, ali)]
    with pytest.raises(InputError) as refused:
        read_systems(systems)
    message = str(refused.value)
    for text in (
        f"{short}/hyp: s3-0: no hypothesis", f"{ref}/ref: s1-1", f"{spk}/utt2spk: s2-0",
        f"{ali}: frame accuracy against another alignment",
    ):  # fmt: skip
        assert text in message


def test_words_of_systems_with_other_labels_are_compared_without_frames(
    decode_dir: DecodeDir, tmp_path: Path
) -> None:
    hyp = _hyp([0] * len(REF))
    one = decode_dir("one", REF, hyp, UTT2SPK, _frames([1] * len(REF)))
    two = decode_dir("two", REF, hyp, UTT2SPK, _frames([2] * len(REF)), ali="another")
    out = tmp_path / "out"
    compare([f"one={one}", f"two={two}"], out, "T", [], Settings(frames=False))
    page = (out / "RESULTS.md").read_text()
    assert "frame acc" not in page
    assert "--no-frames" in page


def test_arguments_and_folders_that_are_none(decode_dir: DecodeDir, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_systems(["no-equals-sign", f"x={tmp_path}"])
    assert len(refused.value.faults) == 2
    assert "ROLE=PATH" in refused.value.faults[0]
    assert "asr-kd decode" in refused.value.faults[1]


def test_seeds_must_be_complete(decode_dir: DecodeDir) -> None:
    paths = [decode_dir(f"d{i}", REF, _hyp([i % 2] * len(REF)), UTT2SPK) for i in range(3)]
    systems = [f"student@1={paths[0]}", f"student@2={paths[1]}", f"ensemble@1={paths[2]}"]
    with pytest.raises(InputError, match="role ensemble"):
        read_systems(systems)
