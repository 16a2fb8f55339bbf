import gzip
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import asr_kd.cli.decode
import asr_kd.cli.main  # noqa: F401  (both register with the application)
from asr_kd.artefact import Artefact, hash_input, read_manifest
from asr_kd.cli.app import app
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.decode import decode
from asr_kd.decode.nbest import Keep, read_nbest
from asr_kd.decode.ranking import LmGrid, LmScales
from asr_kd.decode.rescore import RescoreConfig, rescore
from asr_kd.errors import InputError
from asr_kd.report.facts import set_facts
from asr_kd.report.statistics import Statistics
from asr_kd.report.systems import read_systems
from asr_kd.search.ngram import Entry, NgramModel
from asr_kd.search.smoothing import estimate
from asr_kd.search.stages import ARPA

DEV = {"d-1": ("a", 3.0), "d-2": ("b a", 3.0), "e-1": ("a a", 8.0), "e-2": ("a a b", 8.0)}
TEST = {"s-1": ("a", 2.0), "s-2": ("b a", 4.0), "t-1": ("a a", 9.0), "t-2": ("a a b", 7.0)}
SCALES = Scales(acoustic_scale=0.6, insertion_penalty=0.1)
LOOP = NgramModel([{("a",): Entry(-math.log10(2)), ("b",): Entry(-math.log10(2)),
                    ("</s>",): Entry(0.0)}])  # fmt: skip


@pytest.fixture
def folder(toy: Any, tmp_path: Path) -> Path:
    """Decode directories dev and test whose lists are undecided on "a" and "a a", two models."""
    for name, utts in (("dev", DEV), ("test", TEST)):
        # However often it is said, it sounds like "a a".
        logits = {
            utt_id: toy.undecided(words if words.startswith("a a") else "a a", margin)
            for utt_id, (words, margin) in utts.items()
        }
        text = {utt_id: words for utt_id, (words, _) in utts.items()}
        data = toy.data(f"{name}-feats", logits, text)
        config = DecodeConfig(scales=SCALES, beam=60)
        decode([str(toy.model)], data, toy.graph, tmp_path / name, config, keep=Keep(20, 40.0))
    LOOP.write_arpa(tmp_path / "loop.arpa")
    estimate([["b", "a"], ["a"], ["a", "b"]], 3, "witten-bell").write_arpa(tmp_path / "large.arpa")
    return tmp_path


def slow_choice(folder: Path, model: NgramModel, scales: LmScales) -> dict[str, tuple[str, ...]]:
    """The best of each list by the formula, the model asked word by word."""

    def cost(one: Any) -> float:
        marked = ["<s>", *one.words, "</s>"]
        new = -sum(model.log_prob(word, marked[:i]) for i, word in enumerate(marked) if i)
        old = len(one.words) * math.log(2)
        return (
            SCALES.acoustic_scale * one.acoustic + one.graph - old
            + scales.lm_scale * math.log(10) * new + scales.insertion_penalty * len(one.words)
        )  # fmt: skip

    return {utt: min(found, key=cost).words for utt, found in read_nbest(folder / "nbest").items()}


def hyp(folder: Path) -> dict[str, tuple[str, ...]]:
    lines = ((folder / "hyp").read_text()).splitlines()
    return {line.split()[0]: tuple(line.split()[1:]) for line in lines}


def errors(ref: Sequence[str], words: Sequence[str]) -> int:
    """Levenshtein distance, by recursion over the definition."""
    if not ref or not words:
        return len(ref) + len(words)
    return min(
        errors(ref[1:], words[1:]) + (ref[0] != words[0]),
        errors(ref[1:], words) + 1,
        errors(ref, words[1:]) + 1,
    )


def grid_points(grid: LmGrid) -> Iterator[LmScales]:
    for scale in grid.lm_scale:
        for penalty in grid.insertion_penalty:
            yield LmScales(lm_scale=scale, insertion_penalty=penalty)


def test_words_are_those_of_the_formula(folder: Path) -> None:
    large = NgramModel.read_arpa(folder / "large.arpa")
    (folder / "large.arpa.gz").write_bytes(gzip.compress((folder / "large.arpa").read_bytes()))
    seen = set()
    for k, (scale, penalty) in enumerate([(1.0, 0.1), (4.0, 0.0), (0.2, -3.0), (0.5, 8.0)]):
        scales = LmScales(lm_scale=scale, insertion_penalty=penalty)
        lm = folder / f"large.arpa{'.gz' * (k % 2)}"
        rescore(folder / "test", folder / f"out{k}", RescoreConfig(scales=scales), lm=lm,
                old_lm=folder / "loop.arpa")  # fmt: skip
        found = hyp(folder / f"out{k}")
        assert found == slow_choice(folder / "test", large, scales)
        seen.add(tuple(sorted(found.items())))
    assert len(seen) >= 3
    # Without scales: 1, and the penalty that was decoded with.
    rescore(folder / "test", folder / "plain", RescoreConfig(), lm=folder / "large.arpa",
            old_lm=folder / "loop.arpa")  # fmt: skip
    assert hyp(folder / "plain") == hyp(folder / "out0")


def test_the_same_model_changes_nothing(folder: Path) -> None:
    rescore(folder / "test", folder / "out", RescoreConfig(), lm=folder / "loop.arpa",
            old_lm=folder / "loop.arpa")  # fmt: skip
    assert hyp(folder / "out") == hyp(folder / "test")


def test_scales_tuned_on_dev_are_the_best_of_the_grid(folder: Path) -> None:
    large = NgramModel.read_arpa(folder / "large.arpa")
    grid = LmGrid(lm_scale=(0.3, 1.0, 3.0), insertion_penalty=(-2.0, 0.0, 2.0))
    rescore(folder / "dev", folder / "dev2", RescoreConfig(grid=grid), lm=folder / "large.arpa",
            old_lm=folder / "loop.arpa", tune_on=folder / "dev")  # fmt: skip
    refs = {utt: words.split() for utt, (words, _) in DEV.items()}
    slow = {
        scales: sum(
            errors(refs[utt], words)
            for utt, words in slow_choice(folder / "dev", large, scales).items()
        )
        for scales in grid_points(grid)
    }
    stored = json.loads((folder / "dev2/scales.json").read_text())
    tried = {LmScales(**{k: one[k] for k in LmScales.model_fields}): one["errors"]
             for one in stored["grid"]}  # fmt: skip
    assert tried == slow
    assert len(set(slow.values())) > 1
    chosen = LmScales(**{name: stored[name] for name in LmScales.model_fields})
    assert slow[chosen] == min(slow.values())
    assert read_manifest(folder / "dev2").info["scales"] == chosen.model_dump()
    # And taken over for the test set.
    rescore(folder / "test", folder / "test2", RescoreConfig(), lm=folder / "large.arpa",
            old_lm=folder / "loop.arpa", scales_from=folder / "dev2")  # fmt: skip
    assert hyp(folder / "test2") == slow_choice(folder / "test", large, chosen)
    (folder / "dev2/scales.json").write_text('{"lm_scale": 1.0}')
    with pytest.raises(InputError, match=r"dev2/scales.json: damaged .*rescore again"):
        rescore(folder / "test", folder / "test3", RescoreConfig(), lm=folder / "large.arpa",
                old_lm=folder / "loop.arpa", scales_from=folder / "dev2")  # fmt: skip


def test_faults_are_refused_together(folder: Path, toy: Any, tmp_path: Path) -> None:
    lms = {"lm": folder / "large.arpa", "old_lm": folder / "loop.arpa"}
    out = folder / "out"
    data = toy.root / "test-feats"
    decode([str(toy.model)], data, toy.graph, tmp_path / "bare", DecodeConfig(scales=SCALES))
    with pytest.raises(InputError) as error:
        rescore(tmp_path / "bare", out, RescoreConfig(), tune_on=toy.graph, **lms)
    assert "decode with --nbest N" in error.value.faults[0]
    assert "made by `asr-kd make-graph`, expected `asr-kd decode`" in error.value.faults[1]
    with pytest.raises(InputError, match="give one of --tune-on"):
        rescore(folder / "test", out, RescoreConfig(scales=LmScales()), tune_on=folder / "dev",
                **lms)  # fmt: skip
    other = DecodeConfig(scales=Scales(acoustic_scale=0.3))
    decode([str(toy.model)], data, toy.graph, tmp_path / "other", other, keep=Keep(5, 10.0))
    with pytest.raises(InputError, match=r"dev: acoustic_scale 0\.6, in .*other 0\.3"):
        rescore(tmp_path / "other", out, RescoreConfig(), tune_on=folder / "dev", **lms)
    # A model by which the words cost more than by the whole graph, or have no probability at all.
    dear = {("a",): Entry(-2.0), ("b",): Entry(-2.0), ("</s>",): Entry(-2.0)}
    for unigrams in (dear, {("a",): Entry(0.0), ("</s>",): Entry(0.0)}):
        NgramModel([unigrams]).write_arpa(tmp_path / "strange.arpa")
        with pytest.raises(InputError, match=r"strange\.arpa: not the language model of the graph"):
            rescore(folder / "test", out, RescoreConfig(), lm=lms["lm"],
                    old_lm=tmp_path / "strange.arpa")  # fmt: skip
    assert not out.exists()


def test_the_graphs_language_model_is_known_by_its_hash(folder: Path) -> None:
    manifest = json.loads((folder / "test/manifest.json").read_text())
    manifest["info"]["nbest"]["lm"] = "0123456789"
    (folder / "test/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"loop\.arpa: not the language model that make-graph had"):
        rescore(folder / "test", folder / "out", RescoreConfig(), lm=folder / "large.arpa",
                old_lm=folder / "loop.arpa")  # fmt: skip


@pytest.mark.parametrize("made_with_file", [False, True])
def test_a_model_and_its_folder_are_the_same(folder: Path, made_with_file: bool) -> None:
    artefact = Artefact(folder / "lm", "train-lm", {}, {})
    LOOP.write_arpa(artefact.begin() / ARPA)
    artefact.publish()
    file = folder / "lm" / ARPA
    manifest = json.loads((folder / "test/manifest.json").read_text())
    manifest["info"]["nbest"]["lm"] = hash_input(file if made_with_file else file.parent)
    (folder / "test/manifest.json").write_text(json.dumps(manifest))
    rescore(folder / "test", folder / "out", RescoreConfig(), lm=folder / "large.arpa",
            old_lm=file.parent if made_with_file else file)  # fmt: skip
    assert hyp(folder / "out").keys() == TEST.keys()


def test_command_line_and_comparison(folder: Path) -> None:
    NgramModel([{("a",): Entry(-0.3), ("<unk>",): Entry(-1.0), ("</s>",): Entry(-0.3)}]).write_arpa(
        folder / "small.arpa"
    )
    out = folder / "out"
    result = CliRunner().invoke(
        app,
        ["rescore", str(folder / "test"), "--lm", str(folder / "small.arpa"), "--old-lm",
         str(folder / "loop.arpa"), "--out", str(out), "scales.lm_scale=0.5"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 words of the lists are not in" in result.output
    assert "count as <unk>: b" in result.output
    comparison = read_systems([f"decoded={folder / 'test'}", f"rescored={out}"])
    one, two = comparison.decodings
    assert two.hyp == {utt: list(words) for utt, words in hyp(out).items()}
    assert two.info["params"] == one.info["params"]
    # What ranking costs is what keeping the lists and scoring them cost.
    assert two.info["rtf"]["search"] >= one.info["nbest"]["rtf"]
    assert two.info["nbest"]["oracle"] == one.info["nbest"]["oracle"]
    statistics = Statistics(comparison, 20)
    told = dict(set_facts(statistics, statistics.rows()))
    best = next(text for name, text in told.items() if "best choice" in name)
    oracle = 100 * one.info["nbest"]["oracle"]["wer"]
    shown = f"{oracle:.2f}% ({one.info['nbest']['mean_length']:.1f})"
    assert best == f"decoded {shown}; rescored {shown}."


def test_lists_are_rescored_without_loading_torch() -> None:
    program = "import sys, asr_kd.decode.rescore; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
