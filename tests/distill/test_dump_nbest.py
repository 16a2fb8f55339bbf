"""n-best lists of teachers against the enumeration of all paths, and what is made of them."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import asr_kd.cli.sequences  # noqa: F401  (registers with the application)
from asr_kd.artefact import hash_file, read_manifest
from asr_kd.cli.app import app
from asr_kd.data.directory import DataDir
from asr_kd.distill import dump_nbest as module
from asr_kd.distill.dump_nbest import NbestDump, dump_nbest, nbest_entries
from asr_kd.distill.nbest_lists import Entry, NbestHeader, read_lists
from asr_kd.distill.pseudo_label import PseudoLabelConfig, pseudo_label
from asr_kd.ensemble.teachers import open_teachers
from asr_kd.ensemble.weights import (
    Figures,
    Means,
    Rule,
    TeacherWeights,
    WeighedTeacher,
    WeightsFrom,
)
from asr_kd.errors import InputError
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.table import read_table, write_table
from asr_kd.labels.character_units import character_units
from asr_kd.labels.ctc import collapse
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import Units
from asr_kd.score.normalise import NONE
from asr_kd.search.prefix_beam import PrefixSearch

UNITS = character_units(["▁", "A", "B"], NONE)
FRAMES = {"a-1": 4, "a-2": 2, "b-1": 3}
WEIGHTS = (3.0, 1.0)


class Setting(NamedTuple):
    """Two teachers' posteriors (T,V), and what is dumped of them."""

    root: Path
    dump: NbestDump
    posts: dict[str, list[np.ndarray]]


def archive(root: Path, name: str, posts: dict[str, np.ndarray], labels: LabelSet) -> str:
    with ArkWriter(root / f"{name}.ark") as writer:
        for utt, matrix in posts.items():
            writer.write(utt, matrix.astype(np.float32))
    write_table(root / f"{name}.scp", writer.scp)
    labels.save(root / f"{name}.json")
    return f"ark:{root / name}.scp={root / name}.json"


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setattr(module, "_SHARD_SIZE", 2)
    (tmp_path / "data").mkdir()
    DataDir(tmp_path / "data", {utt: utt[0] for utt in FRAMES}).write(tmp_path / "data")
    (tmp_path / "units").mkdir()
    UNITS.write(tmp_path / "units")
    torch.manual_seed(1)
    posts = {
        utt: [(2 * torch.randn(n, 4)).log_softmax(1).numpy() for _ in WEIGHTS]
        for utt, n in FRAMES.items()
    }
    names = [
        archive(tmp_path, f"t{m}", {u: x[m] for u, x in posts.items()}, UNITS.label_set)
        for m in range(2)
    ]
    dump = NbestDump(
        tuple(names), tmp_path / "data", tmp_path / "units", 3, 50, weights=WEIGHTS, device="cpu"
    )
    return Setting(tmp_path, dump, posts)


def by_enumeration(posts: list[np.ndarray], mean: str) -> list[Entry]:
    """All sequences with their log-probabilities, the best first."""
    sums: dict[tuple[int, ...], np.ndarray] = {}
    for path in itertools.product(range(4), repeat=len(posts[0])):
        tokens = tuple(collapse(np.array(path, np.int32)).tolist())
        probs = [math.exp(sum(x[t, k] for t, k in enumerate(path))) for x in posts]
        sums[tokens] = sums.get(tokens, np.zeros(2)) + probs
    shares = np.array(WEIGHTS) / sum(WEIGHTS)
    entries = [
        Entry(
            float(np.log(shares @ p) if mean == "arithmetic" else shares @ np.log(p)),
            tuple(np.log(p)), tokens,
        )
        for tokens, p in sums.items()
    ]  # fmt: skip
    return sorted(entries, reverse=True)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("prefixes", [50, 3])
def test_lists_are_those_of_all_paths(setting: Setting, mean: Any, prefixes: int) -> None:
    out = setting.root / "lists"
    dump_nbest(replace(setting.dump, mean=mean, prefixes=prefixes), out)
    header, label_set, lists = read_lists(out)
    assert label_set == UNITS.label_set
    assert (header.mean, header.weights, header.n) == (mean, (0.75, 0.25), 3)
    assert list(lists) == sorted(FRAMES)
    for utt, entries in lists.items():
        expected = {e.tokens: e for e in by_enumeration(setting.posts[utt], mean)}
        if prefixes == 50:
            assert [e.tokens for e in entries] == list(expected)[:3]
        assert sorted(entries, key=lambda e: -e.score) == entries
        for entry in entries:  # exact, although paths of few prefixes were kept
            assert entry.score == pytest.approx(expected[entry.tokens].score, abs=1e-4)
            assert entry.each == pytest.approx(expected[entry.tokens].each, abs=1e-4)
    assert Units.read(out).label_set == UNITS.label_set


def test_scores_are_read_as_they_were_found(setting: Setting) -> None:
    dump_nbest(setting.dump, setting.root / "lists")
    teachers = open_teachers(setting.dump.teachers, setting.dump.data)
    search = PrefixSearch(prefixes=50, mean="arithmetic", weights=[0.75, 0.25])
    for utt, entries in read_lists(setting.root / "lists")[2].items():
        log_posts = [teacher.log_posts([utt])[0] for teacher in teachers]
        assert entries == nbest_entries(log_posts, search, 3, [0.75, 0.25])


def test_weights_by_a_rule(setting: Setting) -> None:
    names, root = setting.dump.teachers, setting.root
    nothing = Figures(accuracy=0.0, cross_entropy=0.0)
    means = Means(arithmetic=nothing, geometric=nothing)
    teachers = tuple(
        WeighedTeacher(name=t.name, digest=t.digest, alone=nothing, without=means)
        for t in open_teachers(names, setting.dump.data)
    )
    rules = {name: Rule(weights=x, means=means)
             for name, x in (("fitted", (0.75, 0.25)), ("best", (0.0, 1.0)))}  # fmt: skip
    (root / "weights").mkdir()
    TeacherWeights(teachers=teachers, rules=rules, num_frames=1, gap=0.0, iterations=1).save(
        root / "weights"
    )
    given = ["--data", str(setting.dump.data), "--units", str(setting.dump.units), "-n", "3",
             "--prefixes", "50", "--device", "cpu"]  # fmt: skip
    for out, weights in (("rule", f"{root / 'weights'}:fitted"), ("numbers", "3,1")):
        arguments = [*names, *given, "--weights", weights, "--out", str(root / out)]
        result = CliRunner().invoke(app, ["dump-nbest", *arguments])
        assert result.exit_code == 0, result.output
    assert read_lists(root / "rule") == read_lists(root / "numbers")
    best = replace(setting.dump, weights=WeightsFrom(root / "weights", "best"))
    dump_nbest(best, root / "best")
    header, _, lists = read_lists(root / "best")
    assert (len(header.teachers), header.weights) == (1, (1.0,))
    assert all(entry.each == (entry.score,) for entries in lists.values() for entry in entries)
    with pytest.raises(InputError, match=r"no rule 'wer'(.|\n)*a list of 9 from 8 prefixes"):
        wrong = WeightsFrom(root / "weights", "wer")
        dump_nbest(replace(best, weights=wrong, n=9, prefixes=8), root / "none")


def test_a_stopped_run_goes_on(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = setting.root / "whole", setting.root / "broken"
    dump_nbest(setting.dump, whole)
    found, made = module.nbest_entries, []

    def entries(log_posts: Any, *rest: Any) -> list[Entry]:
        made.append(len(log_posts[0]))
        if made == [4, 2, 3]:
            raise KeyboardInterrupt
        return found(log_posts, *rest)

    monkeypatch.setattr(module, "nbest_entries", entries)
    with pytest.raises(KeyboardInterrupt):
        dump_nbest(setting.dump, broken)
    assert not broken.exists()
    dump_nbest(setting.dump, broken)
    assert made == [4, 2, 3, 3]
    dump_nbest(setting.dump, broken)
    assert made == [4, 2, 3, 3]
    for name in ("nbest.0", "nbest.1", "nbest.json"):
        assert (whole / name).read_bytes() == (broken / name).read_bytes()


def test_two_ranks_list_as_one(setting: Setting, as_two_ranks: Any) -> None:
    one, two = setting.root / "one", setting.root / "two"
    dump_nbest(setting.dump, one)
    as_two_ranks(lambda: dump_nbest(setting.dump, two), two)
    for name in ("nbest.0", "nbest.1", "nbest.json", "labels.json"):
        assert (two / name).read_bytes() == (one / name).read_bytes()
    assert read_manifest(two).info == read_manifest(one).info
    assert read_lists(two) == read_lists(one)


def test_teachers_of_other_frame_rates_are_refused(setting: Setting) -> None:
    root, data = setting.root, setting.dump.data
    DataDir(data, {utt: utt[0] for utt in FRAMES}, num_frames=FRAMES).write(data)
    write_spec(FeatureSpec(kind="external", name="any", dim=4), data)
    teachers = []
    for step in (1, 2):
        path = root / f"every{step}.yaml"
        path.write_text(
            f"source: t0.scp\nlabels: t0.json\nsubsampling: {step}\n"
            f"{'repeat: false' if step > 1 else ''}\n"
        )
        teachers.append(str(path))
    with pytest.raises(InputError) as caught:
        dump_nbest(replace(setting.dump, teachers=tuple(teachers)), root / "lists")
    (fault,) = (fault for fault in caught.value.faults if "frames of posteriors differ" in fault)
    assert "every1.yaml has one in 10 ms, " in fault
    assert "every2.yaml has one in 20 ms; " in fault
    assert not (root / "lists").exists()


def test_faults_come_together_before_the_work(setting: Setting) -> None:
    root = setting.root
    other = character_units(["▁", "A", "C"], NONE)
    (root / "other").mkdir()
    other.write(root / "other")
    few = archive(root, "few", {"a-1": setting.posts["a-2"][0]}, UNITS.label_set)
    bad = replace(
        setting.dump, teachers=(setting.dump.teachers[0], few), units=root / "other", n=9,
        prefixes=8,
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        dump_nbest(bad, root / "out")
    message = str(caught.value)
    assert "label sets differ" in message
    assert "a list of 9 from 8 prefixes" in message
    assert "no posteriors of a-2" in message
    assert "no posteriors of b-1" in message
    states = archive(root, "states", {}, LabelSet("hmm-states", ("a", "b")))
    with pytest.raises(InputError, match=r"without a blank(.|\n)*3 weights for 1 teachers"):
        dump_nbest(replace(setting.dump, teachers=(states,), weights=(1, 1, 1)), root / "out")
    assert not list(root.glob("*out*"))


def test_an_empty_utterance_is_named(setting: Setting) -> None:
    posts = {utt: each[0] for utt, each in setting.posts.items()} | {"a-2": np.zeros((0, 4))}
    silent = archive(setting.root, "silent", posts, UNITS.label_set)
    dump = replace(setting.dump, teachers=(silent, silent))
    with pytest.raises(InputError, match="a-2: an empty utterance: no frame of ark:"):
        dump_nbest(dump, setting.root / "lists")


def test_an_impossible_utterance_is_named(setting: Setting) -> None:
    posts = {utt: each[0].copy() for utt, each in setting.posts.items()}
    posts["b-1"] = np.full((3, 4), -np.inf)
    posts["b-1"][:, 2] = 0.0
    first = archive(setting.root, "sure", posts, UNITS.label_set)
    posts["b-1"] = np.full((3, 4), -np.inf)
    posts["b-1"][:, 0] = 0.0
    second = archive(setting.root, "unsure", posts, UNITS.label_set)
    dump = replace(setting.dump, teachers=(first, second), mean="geometric")
    with pytest.raises(InputError, match="b-1: no sequence of tokens is possible"):
        dump_nbest(dump, setting.root / "lists")
    dump_nbest(replace(dump, mean="arithmetic"), setting.root / "lists")
    entries = read_lists(setting.root / "lists")[2]["b-1"]
    assert [(e.tokens, e.each) for e in entries] == [((2,), (0.0, -np.inf)), ((), (-np.inf, 0.0))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace(" 1 ", " 2 ", 1), "the number 1"),
        (lambda line: " ".join(line.split(" ")[:4]), "3 scores"),
        (lambda line: line + " 0", "tokens 0 to"),
        (lambda line: line + " 4", "to 4, expected 1 to 3"),
        (lambda line: line + " x", "invalid literal"),
        (lambda line: line.replace(line.split(" ")[2], "nan"), "no logarithms"),
    ],
)
def test_damaged_lists(setting: Setting, change: Callable[[str], str], message: str) -> None:
    out = setting.root / "lists"
    dump_nbest(setting.dump, out)
    path = out / "nbest.1"
    first, *others = path.read_text().splitlines()
    path.write_text("\n".join([change(first), *others]) + "\n")
    with pytest.raises(InputError, match=r"nbest\.1: missing, or not as it was written"):
        read_lists(out)
    digest = NbestHeader.read(out).shards["nbest.1"]
    header = (out / "nbest.json").read_text()
    (out / "nbest.json").write_text(header.replace(digest, hash_file(path)))
    with pytest.raises(InputError, match=f"nbest.1:1: .*{message}"):
        read_lists(out)
    (out / "nbest.json").write_text("{}")
    with pytest.raises(InputError, match=r"nbest\.json: damaged"):
        read_lists(out)


def sure_of(path: list[int], prob: float) -> np.ndarray:
    """Posteriors (T,4): each label of the path has `prob`, the blank the rest."""
    post = np.full((len(path), 4), 1e-30)
    for t, k in enumerate(path):
        post[t, [0, k]] = [1 - prob, prob] if k else [1.0, 1.0]
    return np.log(post)


def test_pseudo_labels_are_the_sure_ones(setting: Setting) -> None:
    """Planted: sure of `A▁`, in doubt about `B` or nothing, sure of nothing."""
    posts = {"a-1": sure_of([2, 0, 1, 0], 0.99), "a-2": sure_of([0, 3], 0.6),
             "b-1": sure_of([0, 0, 0], 1.0)}  # fmt: skip
    names = tuple(archive(setting.root, f"p{m}", posts, UNITS.label_set) for m in range(2))
    lists, out = setting.root / "lists", setting.root / "tokens"
    runner = CliRunner()
    options = {"--data": setting.dump.data, "--units": setting.dump.units, "-n": 4, "--out": lists}
    given = [str(part) for option in options.items() for part in option]
    result = runner.invoke(app, ["dump-nbest", *names, "--device", "cpu", *given])
    assert result.exit_code == 0, result.output
    result = runner.invoke(
        app, ["pseudo-label", str(lists), "--out", str(out), "min_posterior=0.9"]
    )
    assert result.exit_code == 0, result.output
    tokens = Archive.read(out / "tokens.scp")
    assert {utt: tokens[utt].tolist() for utt in tokens} == {"a-1": [2, 1]}
    assert read_table(out / "text") == {"a-1": "A"}
    sure = {u: list(map(float, x.split())) for u, x in read_table(out / "confidence").items()}
    # `A` without the mark spells the same word.
    assert sure["a-1"] == pytest.approx([0.99, math.log(0.99**2) / 2], abs=2e-4)
    assert sure["a-2"] == pytest.approx([0.6, math.log(0.6)], abs=2e-4)
    assert sure["b-1"] == pytest.approx([1.0, 0.0], abs=2e-4)
    left_out = (out / "left_out.txt").read_text()
    assert left_out == "a-2 posterior 0.6000\nb-1 no word\n"
    manifest = read_manifest(out, "pseudo-label")
    assert manifest.config["min_posterior"] == 0.9
    assert (manifest.info["kept"], manifest.info["left_out"]) == (1, 2)
    assert Units.read(out).label_set == UNITS.label_set

    pseudo_label(lists, out, PseudoLabelConfig(keep_empty=True, min_token_score=-0.3))
    tokens = Archive.read(out / "tokens.scp")
    assert {utt: tokens[utt].tolist() for utt in tokens} == {"a-1": [2, 1], "b-1": []}
    assert (out / "left_out.txt").read_text().startswith("a-2 token score -0.51")
    with pytest.raises(InputError, match=r"none of 3 .* the highest posterior is 1\.0000"):
        pseudo_label(lists, setting.root / "none", PseudoLabelConfig(min_token_score=0.0))
    dump_nbest(replace(setting.dump, n=1), setting.root / "single")
    with pytest.raises(InputError, match=r"one hypothesis for each utterance(.|\n)*--n 8"):
        pseudo_label(setting.root / "single", out, PseudoLabelConfig(min_posterior=0.5))
    assert not (setting.root / "none").exists()


def test_marks_of_words_alone_are_no_words(setting: Setting) -> None:
    posts = {"a-1": sure_of([2, 0, 1, 0], 0.99), "a-2": sure_of([0, 1], 0.99),
             "b-1": sure_of([1, 0, 1], 0.99)}  # fmt: skip
    teacher = archive(setting.root, "marks", posts, UNITS.label_set)
    dump_nbest(replace(setting.dump, teachers=(teacher,), weights=None), setting.root / "lists")
    for keep_empty, kept in ((False, ["a-1"]), (True, ["a-1", "a-2", "b-1"])):
        out = setting.root / f"tokens-{keep_empty}"
        pseudo_label(setting.root / "lists", out, PseudoLabelConfig(keep_empty=keep_empty))
        assert list(read_table(out / "text", allow_empty=True)) == kept
    left_out = setting.root / "tokens-False" / "left_out.txt"
    assert left_out.read_text() == "a-2 no word\nb-1 no word\n"
