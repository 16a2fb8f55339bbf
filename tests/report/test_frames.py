import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.report.evaluations import read_evaluations
from asr_kd.report.frame_statistics import FrameStatistics
from asr_kd.report.frames import FrameReport, compare_frames

DecodeDir = Callable[..., Path]
EvalDir = Callable[..., Path]
SPEAKERS = [f"s{i}" for i in range(12)]
FRAMES = 1000


@pytest.fixture
def eval_dir(tmp_path: Path) -> EvalDir:
    """An output of `evaluate` with planted errors, speaker by speaker."""

    def make(
        name: str,
        errors: Sequence[float],
        data_set: str = "test",
        speakers: Sequence[str] = SPEAKERS,
        by_label: dict[str, tuple[int, int]] | None = None,
        cross_entropy: float = 1.5,
        params: int = 1000,
        models: Sequence[str] | None = None,
    ) -> Path:
        inputs = {f"model{k}": model for k, model in enumerate(models or [name])}
        artefact = Artefact(tmp_path / name, "evaluate", {"name": name}, inputs)
        figures = {
            speaker: [FRAMES, round(n), cross_entropy * FRAMES]
            for speaker, n in zip(speakers, errors, strict=True)
        }
        total = sum(round(n) for n in errors)
        content = {
            "set": data_set,
            "models": [name],
            "num_params": params,
            "num_frames": FRAMES * len(figures),
            "errors": total,
            "by_label": by_label or {"a": (FRAMES * len(figures), total)},
            "by_speaker": figures,
        }
        (artefact.begin() / "frames.json").write_text(json.dumps(content))
        artefact.publish()
        return artefact.path

    return make


@pytest.fixture
def planted(eval_dir: EvalDir) -> Callable[..., list[str]]:
    """Much data, little of it hard and soft: how much of the loss comes back is known."""

    def make(share: float, loss: float, noise: float) -> list[str]:
        rng = np.random.default_rng(3)
        hard = rng.uniform(300, 500, len(SPEAKERS))
        specs = []
        for seed in (1, 2, 3):
            for role, gain in (("full", 1.0), ("hard", 0.0), ("soft", share)):
                errors = hard - gain * loss + rng.normal(0, noise, len(SPEAKERS))
                path = eval_dir(f"seed{seed}/{role}/test", errors)
                specs.append(f"{role}@{seed}={path}")
        return specs

    return make


def test_planted_share_is_won_back(planted: Callable[..., list[str]]) -> None:
    statistics = FrameStatistics(read_evaluations(planted(share=0.87, loss=100, noise=0)))
    share = statistics.won_back("full", "hard", "soft").by_set["test"]
    assert share is not None
    assert share.value == pytest.approx(0.87, abs=0.005)
    assert share.interval.low == pytest.approx(0.87, abs=0.005)
    assert share.interval.high == pytest.approx(0.87, abs=0.005)
    pair = statistics.difference("soft", "hard").accuracy["test"]
    assert pair.value == pytest.approx(0.087, abs=5e-4)
    assert not pair.inside_noise


def test_figures_are_those_of_the_folders_whatever_is_drawn(
    planted: Callable[..., list[str]],
) -> None:
    comparison = read_evaluations(planted(share=0.87, loss=100, noise=40))
    few, many = (FrameStatistics(comparison, resamples=n, seed=n) for n in (20, 300))
    for one, other in zip(few.rows(), many.rows(), strict=True):
        accuracies = [1 - e.errors / (FRAMES * len(SPEAKERS)) for e in comparison.of(one.role)]
        assert one.sets["test"].accuracy.value == pytest.approx(np.mean(accuracies), rel=1e-12)
        assert one.sets["test"].accuracy.value == other.sets["test"].accuracy.value
        assert one.sets["test"].accuracy.interval != other.sets["test"].accuracy.interval


def seed_weights(rng: np.random.Generator) -> dict[str, float]:
    """Of three seeds: normal numbers around their mean, over the root of a mean chi-squared."""
    z = rng.standard_normal(3)
    return dict(zip("123", 1 + (z - z.mean()) / np.sqrt(rng.chisquare(2) / 3), strict=True))


def test_intervals_are_those_of_a_slow_paired_loop(planted: Callable[..., list[str]]) -> None:
    comparison = read_evaluations(planted(share=0.7, loss=60, noise=25))
    statistics = FrameStatistics(comparison, resamples=20_000)
    table = {
        (e.role, e.seed, s): e.by_speaker[s][1] for e in comparison.evaluations for s in SPEAKERS
    }
    rng = np.random.default_rng(1)
    shares, gains = [], []
    for _ in range(3_000):
        weights, speakers = seed_weights(rng), rng.choice(SPEAKERS, len(SPEAKERS))
        full, hard, soft = (
            sum(
                table[role, seed, drawn] + (w - 1) * table[role, seed, s]
                for seed, w in weights.items()
                for drawn, s in zip(speakers, SPEAKERS, strict=True)
            )
            for role in ("full", "hard", "soft")
        )
        shares.append((hard - soft) / (hard - full))
        gains.append((hard - soft) / (3 * len(SPEAKERS) * FRAMES))
    share = statistics.won_back("full", "hard", "soft").by_set["test"]
    assert share is not None
    for estimate, draws in (
        (share, shares),
        (statistics.difference("soft", "hard").accuracy["test"], gains),
    ):
        low, high = np.percentile(draws, [2.5, 97.5])
        assert estimate.interval.low == pytest.approx(low, abs=0.08 * (high - low))
        assert estimate.interval.high == pytest.approx(high, abs=0.08 * (high - low))
    assert share.interval.holds(0.7)


def test_nothing_is_won_back_where_nothing_was_lost(
    planted: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = planted(0.8, loss=0.2, noise=30)
    report = FrameReport(won_back=("full:hard:soft",), baseline="hard")
    compare_frames(specs, tmp_path / "out", report)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| (soft − hard) / (full − hard) | not defined |" in page
    assert page.count("inside the noise") == 2
    assert "outside the noise" not in page


def test_medians_of_errors_and_of_those_on_some_labels(eval_dir: EvalDir, tmp_path: Path) -> None:
    specs = []
    for seed, (errors, on_three, on_five) in enumerate(((70, 9, 3), (80, 7, 1), (60, 20, 0))):
        rest = errors - on_three - on_five
        by_label = {"3": (400, on_three), "5": (350, on_five), "8": (250, rest)}
        path = eval_dir(f"s{seed}", [errors], speakers=["all"], by_label=by_label)
        specs.append(f"student@{seed}={path}")
    report = FrameReport(errors=True, labels=("3", "[5]"))
    compare_frames(specs, tmp_path / "out", report)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| system | test errors | test errors on 3, [5] | test CE | params |" in page
    assert "| student (3 runs) | 70 [60, 80] | 12 [8, 20] | 1.500 | 1.00 k |" in page
    assert "One speaker in test: its intervals hold the seeds alone." in page


def test_one_seed_and_one_speaker_show_no_intervals(eval_dir: EvalDir, tmp_path: Path) -> None:
    specs = [f"{r}={eval_dir(r, [n], speakers=['x'])}" for r, n in (("a", 200), ("b", 100))]
    compare_frames(specs, tmp_path / "out", FrameReport(differences=("b:a",)))
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| b − a | +10.00 |" in page
    assert "| a | 80.0 |" in page
    assert "noise" not in page


def test_folders_of_outputs_data_sets_and_words(
    eval_dir: EvalDir, decode_dir: DecodeDir, tmp_path: Path
) -> None:
    ref = {f"{speaker}-1": "a b c d" for speaker in SPEAKERS}
    utt2spk = {utt: utt.split("-")[0] for utt in ref}
    for role, kept in (("one", "a b c"), ("two", "a b c d")):
        for data_set, errors in (("dev", 100), ("test", 300), ("train", 10), ("noisy", 500)):
            eval_dir(
                f"{role}/{data_set}", [errors] * 12, data_set, params=len(role) * 1000,
                models=[role],
            )  # fmt: skip
        decode_dir(f"{role}/words", ref, dict.fromkeys(ref, kept), utt2spk, models=[role])
    eval_dir("three/dev", [200] * 12, "dev")
    (tmp_path / "three" / ".test.building").mkdir()
    specs = [f"{role}={tmp_path / role}" for role in ("one", "two", "three")]
    compare_frames(specs, tmp_path / "out", FrameReport(differences=("two:one", "three:one")))
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    head = "| system | train acc% | dev acc% | test acc% | noisy acc% | train CE | dev CE |"
    assert head in page
    assert "| one | 99.0 [99.0, 99.0] | 90.0 [90.0, 90.0] | 70.0 [70.0, 70.0] |" in page
    assert "| 25.0 [25.0, 25.0] | 3.00 k |" in page
    assert "| three | — | 80.0 [80.0, 80.0] | — | — |" in page
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["differences"][0]["wer"]["value"] == pytest.approx(-0.25)
    assert results["differences"][1]["wer"] is None
    assert list(results["differences"][1]["accuracy"]) == ["dev"]
    assert results["sets"]["dev"] == {"frames": 12 * FRAMES, "speakers": 12}
    accuracies = {f["set"]: f["accuracy"] for f in results["folders"] if f["role"] == "two"}
    assert accuracies == {"dev": 0.9, "test": 0.7, "train": 0.99, "noisy": 0.5}


@pytest.fixture
def words(decode_dir: DecodeDir) -> Callable[..., Path]:
    """An output of `decode` by models, of two utterances of each speaker."""
    ref = {f"{speaker}-{k}": "a b c d" for speaker in SPEAKERS for k in range(2)}
    utt2spk = {utt: utt.split("-")[0] for utt in ref}
    return lambda name, models: decode_dir(name, ref, ref, utt2spk, models=models)


def test_models_decoded_are_those_evaluated(eval_dir: EvalDir, words: Callable[..., Path]) -> None:
    six = [f"m{k}=feats" for k in range(6)]
    specs = [f"one@{n}={eval_dir(f'one{n}', [9] * 12, models=[f'o{n}'])}" for n in (1, 2)]
    specs += [f"all@{n}={eval_dir(f'all{n}', [5] * 12, models=six)}" for n in (1, 2)]
    other = words("other", six[:5])
    swapped, right = words("one_1", ["o1"]), words("all_2", [m.replace("ts", "") for m in six])
    with pytest.raises(InputError) as refused:
        read_evaluations([
            *specs, f"one@2={swapped}", f"one@1={words('one_2', ['o2'])}",
            f"all@1={other}", f"all@2={right}",
        ])  # fmt: skip
    text = str(refused.value)
    assert len(refused.value.faults) == 3
    assert f"{other}: role all was decoded by other models (5) than were evaluated in" in text
    assert "all1 (6)" in text
    assert f"{swapped}: role one was decoded by other models (1)" in text
    with pytest.raises(InputError, match=r"role one was decoded for the seed 3, but .* for 1, 2"):
        read_evaluations([*specs, f"one@3={swapped}"])
    read_evaluations([*specs, f"one@1={swapped}"])


def test_word_errors_of_a_part_are_said_to_be(
    eval_dir: EvalDir, words: Callable[..., Path], tmp_path: Path
) -> None:
    specs = [
        f"member@{n}={eval_dir(f'm{n}{k}', [9] * 12, models=[f'{n}{k}'])}"
        for n in (1, 2, 3)
        for k in (1, 2)
    ]
    specs += [f"member@{n}={words(f'w{n}', [f'{n}1'])}" for n in (1, 2)]
    compare_frames(specs, tmp_path / "out", FrameReport())
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "- WER of 2 of 3 seeds.\n- WER of member: 2 of 4 folders.\n" in page
    specs += [f"member@{n}={words(f'v{n}', [f'{n}2'])}" for n in (1, 2)]
    specs += [f"member@3={words(f'v3{k}', [f'3{k}'])}" for k in (1, 2)]
    compare_frames(specs, tmp_path / "all", FrameReport())
    assert "WER of" not in (tmp_path / "all" / "RESULTS.md").read_text()


def test_members_are_averaged_and_a_role_without_seeds_serves_all(eval_dir: EvalDir) -> None:
    specs = [f"best={eval_dir('best', [100] * 12)}"]
    for seed in (1, 2):
        for k in (1, 2):
            path = eval_dir(f"m{seed}{k}", [100 * (seed + k)] * 12, cross_entropy=seed + k)
            specs.append(f"member@{seed}={path}")
    statistics = FrameStatistics(read_evaluations(specs))
    best, member = statistics.rows()
    assert (best.folders, member.folders) == (1, 4)
    assert member.sets["test"].accuracy.value == pytest.approx(0.7)
    assert member.sets["test"].cross_entropy.value == pytest.approx(3)
    assert member.sets["test"].errors.median == 3600
    pair = statistics.difference("best", "member").accuracy["test"]
    assert pair.value == pytest.approx(0.2)
    # That of the t test of two seeds with differences of 0.15 and 0.25.
    assert pair.interval == pytest.approx((0.2 - 0.635, 0.2 + 0.635), abs=0.06)


def test_page_is_made_once_and_tells_its_command(
    planted: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = planted(0.8, 100, 5)
    report = FrameReport("My title", ("a [note]",), baseline="hard", won_back=("full:hard:soft",))
    compare_frames(specs, tmp_path / "out", report)
    page = (tmp_path / "out" / "RESULTS.md").read_text()
    shown = capsys.readouterr().out
    for text in ("My title", "a [note]", "12,000 frames of 12 speakers", "Seeds of training: 3"):
        assert text in page
        assert text in shown
    assert (
        "of 10,000 bootstrap resamples of speakers, the same draws for all systems; the mean of 3 "
        "seeds moves by Student's t with 2 degrees of freedom" in page
    )
    for text in ("--baseline hard", "--won-back full:hard:soft", "--note 'a [note]'"):
        assert text in page
    made = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    compare_frames(specs, tmp_path / "out", report)
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == made


def test_every_reason_against_a_comparison_is_listed(eval_dir: EvalDir, tmp_path: Path) -> None:
    first = eval_dir("first", [1] * 12)
    other = eval_dir("other", [1] * 11, speakers=SPEAKERS[1:])
    ali = eval_dir("ali", [1] * 12, by_label={"a": (11_000, 5), "b": (1_000, 7)})
    align = Artefact(tmp_path / "aligned", "align", {}, {})
    align.begin()
    align.publish()
    (tmp_path / "empty").mkdir()
    systems = [
        f"x@1={first}", f"y@1={other}", f"z@2={ali}", "nothing", f"q={tmp_path / 'aligned'}",
        f"q={tmp_path / 'empty'}", f"q={tmp_path / 'none'}",
    ]  # fmt: skip
    with pytest.raises(InputError) as refused:
        read_evaluations(systems, ["b", "z*"])
    message = str(refused.value)
    for text in (
        f"{other}: test: other speakers or numbers of frames than in {first}",
        f"{ali}: test: another alignment or label set than in {first}",
        "'nothing': expected ROLE=FOLDER", "made by `asr-kd align`", "empty: holds no output",
        "none: not the finished output", "role x: test was evaluated for the seeds ['1']",
        "no label matches 'z*'; the labels are a, b",
    ):  # fmt: skip
        assert text in message


@pytest.mark.parametrize("content", ['{"set": "test", "num_par', "[]", '{"set": "test"}'])
def test_damaged_figures_are_named(eval_dir: EvalDir, content: str) -> None:
    folder = eval_dir("first", [1] * 12)
    (folder / "frames.json").write_text(content)
    with pytest.raises(InputError, match=r"frames\.json: not what `asr-kd evaluate` writes"):
        read_evaluations([f"x={folder}"])


def test_roles_that_are_not_there(eval_dir: EvalDir, tmp_path: Path) -> None:
    specs = [f"a={eval_dir('a', [1] * 12)}", f"b={eval_dir('b', [2] * 12)}"]
    for report, text in (
        (FrameReport(differences=("a:c",)), "no role 'c'; the roles are a, b"),
        (FrameReport(baseline="c"), "no role 'c'"),
        (FrameReport(won_back=("a:b",)), "'a:b': expected 3 roles with colons between"),
        (FrameReport(won_back=("a:b:c",)), "no role 'c'"),
    ):
        with pytest.raises(InputError, match=text):
            compare_frames(specs, tmp_path / "out", report)
    with pytest.raises(InputError) as refused:
        compare_frames(
            [*specs, "nothing"], tmp_path / "out",
            FrameReport(baseline="c", differences=("a:d",), won_back=("a:b:e", "a:b:d")),
        )  # fmt: skip
    assert [fault.split(";")[0] for fault in refused.value.faults[1:]] == [
        "no role 'c'", "no role 'd'", "no role 'e'",
    ]  # fmt: skip
    with pytest.raises(InputError) as refused:
        compare_frames(specs, tmp_path / "out", FrameReport(differences=("a",), won_back=("a:b",)))
    assert len(refused.value.faults) == 2
    assert not (tmp_path / "out").exists()


def test_other_processes_leave_the_table_to_the_first(
    eval_dir: EvalDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [f"a={eval_dir('a', [1] * 12)}"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        compare_frames(specs, tmp_path / "out", FrameReport())
        assert (tmp_path / "out").exists() == (rank == "0")
