import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import asr_kd.cli.decode
import asr_kd.cli.main  # noqa: F401  (both register with the application)
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.config import load_config
from asr_kd.decode.config import DecodeConfig, Grid, Scales
from asr_kd.decode.decode import decode, decode_shard
from asr_kd.decode.results import _write_frames, frame_figures
from asr_kd.decode.system import FrameScores, Setup
from asr_kd.ensemble.weights import WeightsFrom
from asr_kd.errors import InputError
from asr_kd.labels.gmm import DiagGmms, GmmModel
from asr_kd.labels.label_set import LabelSet
from asr_kd.score.calibration import BINS, Calibration

CONFIGS = Path(__file__).parents[2] / "configs" / "decode"
TEXT = {"s-1": "a b", "s-2": "b", "t-1": "a a b", "t-2": "b a"}
FIXED = DecodeConfig(scales=Scales(acoustic_scale=1.0), shard_size=3)


@pytest.fixture
def data(toy: Any) -> Path:
    return toy.data("data", {u: toy.logits_of(toy.spelled(t)) for u, t in TEXT.items()}, TEXT)


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_models_and_graphs_that_changed_are_read_again(toy: Any, data: Path) -> None:
    decode([str(toy.model)], data, toy.graph, toy.root / "first", FIXED)
    toy.save_model("model", scale=-1.0)
    decode([str(toy.model)], data, toy.graph, toy.root / "second", FIXED)
    assert (toy.root / "second" / "hyp").read_text() != (toy.root / "first" / "hyp").read_text()


def test_planted_words_scores_and_frames(toy: Any, data: Path, tmp_path: Path) -> None:
    pdf_ids = {utt_id: list(toy.spelled(words)) for utt_id, words in TEXT.items()}
    pdf_ids["s-2"][0] = 0  # one frame that the network says otherwise
    ali = toy.ali("ali", pdf_ids)
    out = tmp_path / "out"
    decode([str(toy.model)], data, toy.graph, out, FIXED, ali=ali)
    assert (out / "hyp").read_text() == "".join(f"{u} {t}\n" for u, t in TEXT.items())
    assert (out / "ref").read_text() == (out / "hyp").read_text()
    assert (out / "partial.txt").read_text() == ""
    wer = _read(out / "wer.json")
    assert (wer["errors"], wer["words"], wer["partial"]) == (0, 8, 0)
    frames = _read(out / "frames.json")["utterances"]
    assert frames["s-2"]["frames"] == 6
    assert frames["s-2"]["correct"] == 5
    # logits of 20 nats against three of 0: the wrong label costs 20, the right ones next to nothing
    assert frames["s-2"]["cross_entropy"] == pytest.approx(20, abs=1e-4)
    assert frames["t-1"]["correct"] == 18
    info = read_manifest(out, "decode").info
    # All 48 frames are certain, and one of them is wrong.
    assert info["calibration_error"] == pytest.approx(1 / 48)
    calibration = Calibration.from_dict(_read(out / "frames.json")["calibration"])
    assert calibration.frames.tolist() == [0] * (BINS - 1) + [48]
    assert calibration.error == info["calibration_error"]
    assert info["cross_entropy"] == pytest.approx(20 / 48, abs=1e-4)
    assert set(frames["s-2"]) == {"frames", "correct", "cross_entropy"}
    assert info["params"] == 2 * 4 * 4 + 2 * 4 + 2 * 4 * 4 + 4
    assert info["multiply_adds_per_second"] == pytest.approx(100 * (4 * 8 + 8 * 4))
    files = [toy.model / name for name in ("model.safetensors", "model.json")]
    assert info["bytes"] == sum(file.stat().st_size for file in files)
    assert info["audio_seconds"] == pytest.approx(48 * 0.01)
    assert info["rtf"]["forward"] > 0
    assert info["rtf"]["search"] > 0
    assert info["frame_accuracy"] == pytest.approx(47 / 48)
    scales = _read(out / "scales.json")
    assert scales["acoustic_scale"] == 1.0
    assert scales["source"] == "given"
    best = (out / "scoring_kaldi" / "best_wer").read_text()
    assert best.startswith("%WER ")
    assert best.endswith(f" {out}/wer_1_0.0\n")
    assert not (out / "shards").exists()


PER_SPK = "scoring_kaldi/wer_details/per_spk"


def test_two_processes_give_what_one_gives(toy: Any, data: Path, tmp_path: Path) -> None:
    config = DecodeConfig(scales=Scales(acoustic_scale=1.0), shard_size=2)
    ali = toy.ali("ali", {utt_id: toy.spelled(words) for utt_id, words in TEXT.items()})
    for nj in (1, 2):
        decode([str(toy.model)], data, toy.graph, tmp_path / f"nj{nj}", config, ali=ali, nj=nj)
    for name in ("hyp", "scales.json", "frames.json", "wer.json", "partial.txt", PER_SPK):
        assert (tmp_path / "nj1" / name).read_text() == (tmp_path / "nj2" / name).read_text()


SPMD = """
import sys
from pathlib import Path
from asr_kd.config import load_config
from asr_kd.decode.config import DecodeConfig, Grid
from asr_kd.decode.decode import decode, decode_shard
model, data, graph, out = sys.argv[1:]
grid = Grid(acoustic_scale=(0.1, 1.0), insertion_penalty=(0.0, 2.0))
config = DecodeConfig(grid=grid, shard_size=3)
decode([model], Path(data), Path(graph), Path(out), config, tune_on=Path(data))
"""


@pytest.mark.slow
def test_ranks_share_the_work(toy: Any, data: Path, tmp_path: Path) -> None:
    grid = Grid(acoustic_scale=(0.1, 1.0), insertion_penalty=(0.0, 2.0))
    config = DecodeConfig(grid=grid, shard_size=3)
    decode([str(toy.model)], data, toy.graph, tmp_path / "one", config, tune_on=data)
    arguments = [toy.model, data, toy.graph, tmp_path / "three"]
    command = [sys.executable, "-c", SPMD, *map(str, arguments)]
    # More ranks than shards: the last one has nothing to do and must still end.
    ranks = [{**os.environ, "RANK": str(rank), "WORLD_SIZE": "3"} for rank in range(3)]
    processes = [subprocess.Popen(command, env=env) for env in ranks]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert not list((tmp_path / "three").glob("tune*"))
    for name in ("hyp", "scales.json", "wer.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "three" / name).read_text()


def test_partial_path_is_flagged_everywhere(toy: Any, tmp_path: Path) -> None:
    # One frame cannot hold the two states of a word.
    logits = {"s-1": toy.logits_of(toy.spelled("a b")), "s-2": toy.logits_of([0])}
    data = toy.data("data", logits, {"s-1": "a b", "s-2": "a"})
    out = tmp_path / "out"
    decode([str(toy.model)], data, toy.graph, out, FIXED)
    assert (out / "partial.txt").read_text() == "s-2\n"
    assert "s-2" in (out / "hyp").read_text()
    assert _read(out / "wer.json")["partial"] == 1
    assert read_manifest(out).info["partial"] == 1


def test_ensemble_decodes_like_a_single_model(toy: Any, data: Path, tmp_path: Path) -> None:
    other = toy.save_model("other", scale=0.5)
    for mean in ("arithmetic", "geometric"):
        out = tmp_path / mean
        decode([str(toy.model), str(other)], data, toy.graph, out, FIXED, mean=mean)
        assert (out / "hyp").read_text() == "".join(f"{u} {t}\n" for u, t in TEXT.items())
        info = read_manifest(out).info
        assert info["params"] == 2 * 76
        assert info["multiply_adds_per_second"] == pytest.approx(2 * 6400)
        assert info["bytes"] > 2 * 4 * 76


def test_members_count_by_their_weights(toy: Any, data: Path, tmp_path: Path) -> None:
    pdf_ids = {utt_id: list(toy.spelled(words)) for utt_id, words in TEXT.items()}
    pdf_ids["s-2"][0] = 0  # where the network says otherwise: exp(-20), and exp(-10) of the other
    ali = toy.ali("ali", pdf_ids)
    models = [str(toy.model), str(toy.save_model("other", 0.5))]
    losses = []
    for name, weights in (("equal", None), ("weighed", (3.0, 1.0))):
        decode(models, data, toy.graph, tmp_path / name, FIXED, ali=ali, weights=weights)
        frames = _read(tmp_path / name / "frames.json")["utterances"]
        losses.append(frames["s-2"]["cross_entropy"])
    assert losses == pytest.approx([10 + np.log(2), 10 + np.log(4)], abs=1e-3)
    with pytest.raises(InputError, match="1 weights for 2 teachers"):
        decode(models, data, toy.graph, tmp_path / "out", FIXED, weights=(1.0,))
    with pytest.raises(InputError, match="not the output of weigh-teachers"):
        decode(models, data, toy.graph, tmp_path / "out", FIXED, weights=WeightsFrom(ali, "wer"))


def test_a_gmm_decodes_and_has_no_frame_accuracy(toy: Any, data: Path, tmp_path: Path) -> None:
    gmms = DiagGmms(
        starts=np.arange(4), weights=np.ones(4, np.float32),
        means=toy.logits_of(range(4)), variances=np.full((4, 4), 9, np.float32),
    )  # fmt: skip
    features = json.loads((data / "feature.json").read_text())
    GmmModel(gmms, toy.labels, "global", 0, features).save(tmp_path / "gmm")
    ali = toy.ali("ali", {utt_id: toy.spelled(words) for utt_id, words in TEXT.items()})
    out = tmp_path / "out"
    config = DecodeConfig(grid=Grid(acoustic_scale=(0.1,), prior_scale=(0.5, 1.0), rounds=0))
    decode([str(tmp_path / "gmm")], data, toy.graph, out, config, tune_on=data, ali=ali)
    assert (out / "hyp").read_text() == "".join(f"{u} {t}\n" for u, t in TEXT.items())
    assert not (out / "frames.json").exists()
    assert "frame_accuracy" not in read_manifest(out).info
    info = read_manifest(out).info
    assert info["params"] == 4 + 2 * 16
    assert info["multiply_adds_per_second"] == pytest.approx(100 * 2 * 16)
    assert "calibration_error" not in info


def test_scales_from_another_decoding(toy: Any, data: Path, tmp_path: Path) -> None:
    config = DecodeConfig(grid=Grid(acoustic_scale=(0.5, 1.0), insertion_penalty=(1.0,)))
    decode([str(toy.model)], data, toy.graph, tmp_path / "first", config, tune_on=data)
    decode([str(toy.model)], data, toy.graph, tmp_path / "second", DecodeConfig(),
           scales_from=tmp_path / "first")  # fmt: skip
    first, second = (_read(tmp_path / name / "scales.json") for name in ("first", "second"))
    for name in Scales.model_fields:
        assert first[name] == second[name]
    assert "tuned on" in first["source"]
    assert first["grid"][0]["words"] == 8
    assert "first" in second["source"]
    for damaged in ('{"acoustic_scale": 1.0, ', json.dumps({**first, "acoustic_scale": -1})):
        (tmp_path / "first/scales.json").write_text(damaged)
        with pytest.raises(InputError, match=r"first/scales.json: damaged (.|\n)*decode again"):
            decode([str(toy.model)], data, toy.graph, tmp_path / "third", DecodeConfig(),
                   scales_from=tmp_path / "first")  # fmt: skip


def test_without_text_there_is_no_score(toy: Any, tmp_path: Path) -> None:
    data = toy.data("data", {"s-1": toy.logits_of(toy.spelled("a"))}, None)
    decode([str(toy.model)], data, toy.graph, tmp_path / "out", FIXED)
    assert (tmp_path / "out" / "hyp").read_text() == "s-1 a\n"
    assert not (tmp_path / "out" / "wer.json").exists()


def test_a_second_call_does_nothing(toy: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    decode([str(toy.model)], data, toy.graph, out, FIXED)
    made = (out / "manifest.json").stat().st_mtime_ns
    decode([str(toy.model)], data, toy.graph, out, FIXED)
    assert (out / "manifest.json").stat().st_mtime_ns == made


def test_killed_decoding_goes_on(
    toy: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    stage = importlib.import_module("asr_kd.decode.decode")
    whole = stage.decode_shard
    done: list[int] = []

    def dies_in_the_second(setup: Any, scales: Any, ali: Any, k: int, utt_ids: Any) -> Any:
        if k == 1:
            raise KeyboardInterrupt
        done.append(k)
        return whole(setup, scales, ali, k, utt_ids)

    out = tmp_path / "out"
    monkeypatch.setattr(stage, "decode_shard", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        decode([str(toy.model)], data, toy.graph, out, FIXED)
    assert not out.exists()

    def counts(setup: Any, scales: Any, ali: Any, k: int, utt_ids: Any) -> Any:
        done.append(k)
        return whole(setup, scales, ali, k, utt_ids)

    monkeypatch.setattr(stage, "decode_shard", counts)
    decode([str(toy.model)], data, toy.graph, out, FIXED)
    assert done == [0, 1]
    assert len((out / "hyp").read_text().splitlines()) == len(TEXT)


def test_faults_of_the_inputs_are_listed_together(toy: Any, data: Path, tmp_path: Path) -> None:
    (toy.graph / "HCLG.fst").unlink()
    (data / "utt2spk").unlink()
    with pytest.raises(InputError) as refused:
        decode([str(toy.model)], data, toy.graph, tmp_path / "out", FIXED)
    assert "HCLG.fst" in str(refused.value)
    assert "utt2spk" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_truncated_graph_is_named(toy: Any, data: Path, tmp_path: Path) -> None:
    graph = toy.graph / "HCLG.fst"
    graph.write_bytes(graph.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"HCLG\.fst: corrupt"):
        decode([str(toy.model)], data, toy.graph, tmp_path / "out", FIXED)
    assert not (tmp_path / "out").exists()


def test_another_label_set_is_refused(toy: Any, data: Path, tmp_path: Path) -> None:
    other = LabelSet("hmm-states", ("a_0", "a_1", "b_0", "c_1"))
    stranger = toy.save_model("stranger", label_set=other)
    with pytest.raises(InputError, match=r"label 3 is 'c_1'.*'b_1'"):
        decode([str(stranger)], data, toy.graph, tmp_path / "out", FIXED)


def test_alignment_of_other_utterances_is_refused(toy: Any, data: Path, tmp_path: Path) -> None:
    ali = toy.ali("ali", {"z-9": [0, 1]})
    with pytest.raises(InputError, match="aligns none of the 4 utterances"):
        decode([str(toy.model)], data, toy.graph, tmp_path / "out", FIXED, ali=ali)


def test_shards_of_an_earlier_version_have_no_calibration(
    toy: Any, data: Path, tmp_path: Path
) -> None:
    ali = toy.ali("ali", {utt_id: toy.spelled(words) for utt_id, words in TEXT.items()})
    setup = Setup((str(toy.model),), data, toy.graph, "arithmetic", 10.0, 100)
    facts = [decode_shard(setup, Scales(), ali, k, [utt]) for k, utt in enumerate(sorted(TEXT))]
    for one in facts[0]["frames"].values():
        del one["calibration"]
    frames = {utt: one for fact in facts for utt, one in fact["frames"].items()}
    rates = _write_frames(tmp_path / "frames.json", ali, frames)
    assert "calibration_error" not in rates
    assert rates["frame_accuracy"] == 1
    assert set(_read(tmp_path / "frames.json")) == {"ali", "utterances"}


def test_alignment_of_other_features_is_refused() -> None:
    scores = FrameScores(np.zeros((5, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(InputError, match="s-1: 4 frames aligned, 5 scored"):
        frame_figures("s-1", scores, np.zeros(4, np.int32))
    with pytest.raises(InputError, match="pdf-id 3 of 3 labels"):
        frame_figures("s-1", scores, np.full(5, 3, np.int32))


def test_scales_come_from_one_place(toy: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--tune-on"):
        decode([str(toy.model)], data, toy.graph, tmp_path / "out", FIXED, tune_on=data)


def test_own_features_of_a_model_are_not_those_of_the_dev_data(
    toy: Any, data: Path, tmp_path: Path
) -> None:
    dev = toy.data("dev", {"d-1": toy.logits_of(toy.spelled("a"))}, {"d-1": "a"})
    with pytest.raises(InputError, match="--scales-from"):
        decode([f"{toy.model}={data}"], data, toy.graph, tmp_path / "out", DecodeConfig(),
               tune_on=dev)  # fmt: skip


def test_command_line(toy: Any, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        ["decode", str(toy.model), f"{toy.model}={data}", "--data", str(data), "--graph",
         str(toy.graph), "--out", str(out), "scales.acoustic_scale=1.0", "shard_size=3"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = read_manifest(out, "decode")
    assert manifest.config["shard_size"] == 3
    assert manifest.info["models"] == [str(toy.model), f"{toy.model}={data}"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_stored_configurations(path: Path) -> None:
    load_config(DecodeConfig, path)


def test_unknown_key_names_the_nearest(toy: Any, data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app,
        ["decode", str(toy.model), "--data", str(data), "--graph", str(toy.graph), "--out",
         str(tmp_path / "out"), "scales.acustic_scale=1.0"],
    )  # fmt: skip
    assert isinstance(result.exception, InputError)
    assert "did you mean 'acoustic_scale'" in str(result.exception)
