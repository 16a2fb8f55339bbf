"""CTC models through `decode`: units are ▁, a and b beside the blank, so that V is the toy's."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.config import load_config
from asr_kd.decode.config import DecodeConfig, Grid, Scales, UnitSearch
from asr_kd.decode.decode import decode
from asr_kd.decode.export import export
from asr_kd.decode.nbest import Keep
from asr_kd.decode.rescore import RescoreConfig, rescore
from asr_kd.decode.unit_decoder import UnitDecoder
from asr_kd.ensemble.scorer import Scorer
from asr_kd.errors import InputError
from asr_kd.io.ark import ArkWriter
from asr_kd.labels.ctc import collapse
from asr_kd.labels.unit_stages import UnitsConfig, encode_text, train_units
from asr_kd.labels.units import Units
from asr_kd.models.build import build_model
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.config import BlstmConfig, ConformerConfig, SubsamplingConfig, TdnnConfig
from asr_kd.search.ctc_stages import CtcGraphConfig, make_ctc_graph
from asr_kd.search.stages import LmConfig, train_lm

TEXT = {"s-1": "A BA", "s-2": "B", "t-1": "BA A B", "t-2": "AB"}
SENTENCES = "A BA\nB\nBA A B\nA B\n"  # AB is no word of the language model


class Task:
    def __init__(self, toy: Any, root: Path) -> None:
        self.toy, self.text = toy, root / "text.txt"
        self.text.write_text(SENTENCES)
        self.units = root / "units"
        train_units(self.text, self.units, UnitsConfig(kind="char", normaliser="plain"))
        self.spelling = Units.read(self.units)
        self.model = toy.save_model("ctc", label_set=self.spelling.label_set)

    def logits(self, words: str, before: int = 1, strength: float = 12.0) -> np.ndarray:
        """A spike each third frame, the first one after `before` blanks."""
        labels = self.spelling.encode(words)
        path = np.zeros(3 * len(labels) + 4, int)
        path[before : before + 3 * len(labels) : 3] = labels
        return np.eye(4, dtype=np.float32)[path] * np.float32(strength)

    def data(self, name: str, before: int = 1) -> Path:
        logits = {utt_id: self.logits(words, before) for utt_id, words in TEXT.items()}
        return self.toy.data(name, logits, TEXT)


@pytest.fixture
def task(toy: Any, tmp_path: Path) -> Task:
    return Task(toy, tmp_path)


def hyp(out: Path) -> dict[str, str]:
    lines = (out / "hyp").read_text().splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def scales(out: Path) -> Any:
    return json.loads((out / "scales.json").read_text())


def test_graph_of_words(task: Task, tmp_path: Path) -> None:
    train_lm(task.text, tmp_path / "lm", LmConfig())
    make_ctc_graph(task.units, tmp_path / "lm", tmp_path / "tlg", CtcGraphConfig())
    out = tmp_path / "out"
    decode([str(task.model)], task.data("data"), tmp_path / "tlg", out, DecodeConfig())
    found = hyp(out)
    assert {u: found[u] for u in ("s-1", "s-2", "t-1")} == {u: TEXT[u] for u in found if u != "t-2"}
    assert found["t-2"] != "AB"
    # Posteriors as they are: no prior, and the weight of one.
    assert (scales(out)["acoustic_scale"], scales(out)["prior_scale"]) == (1.0, 0.0)
    assert read_manifest(out).info["wer"] > 0
    fixed = DecodeConfig(scales=Scales(acoustic_scale=2.0))
    export(task.model, tmp_path / "exported", fixed, graph=tmp_path / "tlg")
    exported = load_config(DecodeConfig, tmp_path / "exported" / "decode.yaml")
    assert exported.scales == Scales(acoustic_scale=2.0, prior_scale=0.0)
    with pytest.raises(InputError) as refused:
        export(task.model, tmp_path / "none", fixed, graph=task.units)
    (fault,) = refused.value.faults
    assert f"`asr-kd make-ctc-graph {task.units} LM --out GRAPH open_vocabulary=true`" in fault
    # Its graph is as good as the one that it was made with: words are compared alike.
    loud = task.toy.data("loud", {"s-1": task.logits("A BA")}, {"s-1": "a ba!"})
    for name, graph in (("own", tmp_path / "tlg"), ("copied", tmp_path / "exported")):
        decode([str(task.model)], loud, graph, tmp_path / name, DecodeConfig())
        assert read_manifest(tmp_path / name).info["wer"] == 0


@pytest.mark.parametrize("name", ["plain", "rules"])
def test_rescored_words_are_compared_as_the_units_spell_them(
    task: Task, tmp_path: Path, name: str
) -> None:
    units, rules = task.units, tmp_path / "rules.yaml"
    if name == "rules":
        rules.write_text("name: mine\nversion: 1\nbase: plain\nrules: []\n")
        units = tmp_path / "units-by-rules"
        train_units(task.text, units, UnitsConfig(kind="char", normaliser=str(rules)))
        rules.unlink()
        task.toy.save_model("ctc", label_set=Units.read(units).label_set)
    train_lm(task.text, tmp_path / "lm", LmConfig())
    make_ctc_graph(units, tmp_path / "lm", tmp_path / "tlg", CtcGraphConfig())
    text = {"s-1": "a ba", "t-1": "Ba a B!"}  # the words of the language model are A, BA and B
    logits = {utt_id: task.logits(words) for utt_id, words in text.items()}
    data = task.toy.data("data", logits, text)
    first, second = tmp_path / "first", tmp_path / "second"
    decode([str(task.model)], data, tmp_path / "tlg", first, DecodeConfig(), keep=Keep(10, 8.0))
    assert read_manifest(first).info["nbest"]["oracle"]["errors"] == 0
    # The units are not asked again: the folder knows what words mean.
    shutil.rmtree(units)
    shutil.rmtree(tmp_path / "tlg")
    lm = tmp_path / "lm"
    rescore(first, second, RescoreConfig(), lm=lm, old_lm=lm, tune_on=first)
    assert hyp(second) == hyp(first) == {u: w.upper().strip("!") for u, w in text.items()}
    for folder in (first, second):
        wer = json.loads((folder / "wer.json").read_text())
        assert wer["errors"] == 0
        assert wer["normaliser"]["name"] == ("mine" if name == "rules" else "plain")
    grid = scales(second)["grid"]
    assert grid[0]["errors"] == 0
    assert {point["words"] for point in grid} == {5}
    (first / "normaliser.json").write_text('{"name": "plain", "version": "0", "sha256": "0"}')
    with pytest.raises(InputError, match="made with the normaliser plain version 0"):
        rescore(first, tmp_path / "third", RescoreConfig(), lm=lm, old_lm=lm)


@pytest.mark.parametrize("kind", ["greedy", "prefix-beam"])
def test_units_alone_spell_any_word(task: Task, tmp_path: Path, kind: Any) -> None:
    config = DecodeConfig(units=UnitSearch(kind=kind))
    out = tmp_path / "out"
    decode([str(task.model)], task.data("data"), task.units, out, config, nj=2)
    assert hyp(out) == {utt_id: words.lower() for utt_id, words in TEXT.items()}
    # Words are compared as the units spell them, and the reference stays as it is.
    wer = json.loads((out / "wer.json").read_text())
    assert wer["errors"] == 0
    assert wer["normaliser"]["name"] == "plain"
    assert (out / "ref").read_text().startswith("s-1 A BA\n")
    assert read_manifest(out).info["partial"] == 0


def test_archives_are_decoded_if_their_labels_are_of_ctc(task: Task, tmp_path: Path) -> None:
    data, labels = task.data("data"), tmp_path / "labels.json"
    archive = f"ark:{tmp_path / 'post.ark'}={labels}"

    def write(texts: dict[str, str]) -> None:
        with ArkWriter(tmp_path / "post.ark") as ark:
            for utt_id, words in texts.items():
                post = task.logits(words)
                ark.write(utt_id, post - np.log(np.exp(post).sum(1, keepdims=True)))

    write(TEXT)
    task.spelling.label_set.save(labels)
    out = tmp_path / "out"
    decode([archive], data, task.units, out, DecodeConfig(), nj=2)
    assert hyp(out) == {utt_id: words.lower() for utt_id, words in TEXT.items()}
    assert read_manifest(out).info["params"] is None
    write(dict.fromkeys(TEXT, "B"))
    decode([archive], data, task.units, out, DecodeConfig())
    assert set(hyp(out).values()) == {"b"}
    task.toy.labels.save(labels)
    advice = r"comes without the priors that scores need; describe it by a model\.yaml with"
    with pytest.raises(InputError, match=advice):
        decode([archive], data, task.toy.graph, out, DecodeConfig())


def test_teachers_that_spike_at_other_frames(task: Task, tmp_path: Path) -> None:
    """Averaged, their frames are blanks; together they spell what each of them says."""
    models = [f"{task.model}={task.data(f'data{before}', before)}" for before in (1, 2, 3)]
    data = tmp_path / "data1"
    for mean in ("arithmetic", "geometric"):
        config = DecodeConfig(units=UnitSearch(kind="greedy"))
        decode(models, data, task.units, tmp_path / f"frames-{mean}", config, mean=mean)
        assert set(hyp(tmp_path / f"frames-{mean}").values()) == {""}
        config = DecodeConfig(units=UnitSearch(shared=True))
        decode(models, data, task.units, tmp_path / f"shared-{mean}", config, mean=mean)
        assert hyp(tmp_path / f"shared-{mean}") == {u: w.lower() for u, w in TEXT.items()}


HALF = SubsamplingConfig(factor=2, width=8)
SMALL: Any = {"num_layers": 1, "width": 8, "num_heads": 2, "kernel": 3, "subsampling": HALF}
ARCHITECTURES = {
    "tdnn": TdnnConfig(layers=({"offsets": (-1, 0, 1), "width": 8},), subsampling=HALF),  # type: ignore[arg-type]
    "blstm": BlstmConfig(num_layers=1, width=4, subsampling=HALF),
    "conformer": ConformerConfig(**SMALL),
    "chunked": ConformerConfig(**SMALL, chunk=2),
}


def random_model(task: Task, root: Path, name: str) -> Path:
    """At half the frame rate, with weights large enough to be sure of something."""
    torch.manual_seed(sorted(ARCHITECTURES).index(name))
    model = build_model(ARCHITECTURES[name], 4, 4).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    (root / name).mkdir()
    replace(Checkpoint.load(task.model), model=model).save(root / name)
    return root / name


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_architectures_decode_together(task: Task, tmp_path: Path, mean: Any) -> None:
    """Averaged by frames, and by prefixes: the most probable tokens of all paths."""
    models = [random_model(task, tmp_path, name) for name in ARCHITECTURES]
    lengths, rng = dict(zip(TEXT, (5, 6, 7, 8), strict=True)), np.random.default_rng(1)
    feats = {utt: rng.standard_normal((n, 4)).astype(np.float32) for utt, n in lengths.items()}
    data, weights = task.toy.data("noise", feats, TEXT), (3.0, 2.0, 2.0, 1.0)
    expected: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for utt, x in feats.items():
        each = []
        for folder in models:
            with torch.no_grad():
                network = Checkpoint.load(folder).model
                each.append(network(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0][0])
        posts = torch.stack(each).double().softmax(2).numpy()
        paths = np.array(list(itertools.product(range(4), repeat=posts.shape[1])), np.int32)

        def best(probs: np.ndarray, paths: np.ndarray = paths) -> str:
            """Of models (M,T,V), each over its own paths."""
            sums: dict[tuple[int, ...], np.ndarray] = {}
            of_paths = probs[:, np.arange(paths.shape[1]), paths].prod(2)
            for path, prob in zip(paths, of_paths.T, strict=True):
                tokens = tuple(collapse(path).tolist())
                sums[tokens] = sums.get(tokens, 0.0) + prob
            shares = np.array(weights if len(probs) > 1 else [1.0])
            shares = shares / shares.sum()
            means = {
                k: shares @ p if mean == "arithmetic" else shares @ np.log(p)
                for k, p in sums.items()
            }
            return task.spelling.decode(max(means, key=lambda k: means[k]))

        frames = np.average(posts if mean == "arithmetic" else np.log(posts), 0, weights)
        frames = frames if mean == "arithmetic" else np.exp(frames)
        expected[False][utt] = best(frames[None] / frames.sum(1, keepdims=True))
        expected[True][utt] = best(posts)
    for shared, spoken in expected.items():
        config = DecodeConfig(units=UnitSearch(shared=shared, prefixes=500))
        out = tmp_path / f"shared-{shared}"
        decode(list(map(str, models)), data, task.units, out, config, mean=mean, weights=weights)
        assert hyp(out) == {utt: " ".join(words.split()) for utt, words in spoken.items()}
    assert expected[False] != expected[True]


def test_two_ranks_decode_as_one(task: Task, tmp_path: Path, as_two_ranks: Any) -> None:
    data, config = task.data("data"), DecodeConfig(units=UnitSearch(prefixes=4), shard_size=1)
    models, one, two = [str(task.model)], tmp_path / "one", tmp_path / "two"
    decode(models, data, task.units, one, config)
    as_two_ranks(lambda: decode(models, data, task.units, two, config), two)
    for name in ("hyp", "ref", "partial.txt", "scales.json", "wer.json"):
        assert (two / name).read_text() == (one / name).read_text()


def test_other_frame_rates_and_empty_utterances_are_refused(task: Task, tmp_path: Path) -> None:
    data, slower = task.data("data"), random_model(task, tmp_path, "tdnn")
    out, config = tmp_path / "out", DecodeConfig(units=UnitSearch(shared=True))
    with pytest.raises(InputError, match=r"ctc has one in 10 ms, .*tdnn has one in 20 ms"):
        decode([str(task.model), str(slower)], data, task.units, out, config)
    logits = {"s-1": task.logits("A"), "s-2": np.zeros((0, 4))}
    silent = task.toy.data("silent", logits, {"s-1": "A", "s-2": "B"})
    for said in ("expected a positive whole number, not '0'", "expected frames x coefficients"):
        with pytest.raises(InputError, match=f"s-2: {said}"):
            decode([str(task.model)], silent, task.units, out, DecodeConfig())
        (silent / "utt2num_frames").unlink(missing_ok=True)  # without it the features tell
    assert not out.exists()


def test_language_model_of_units_and_tuning(task: Task, tmp_path: Path) -> None:
    train_lm(task.text, tmp_path / "lm", LmConfig(), units=task.units)
    # "a" and "b" alike: the language model decides, and it knows "ba", not "aa".
    logits = task.logits("ba")
    spike = np.flatnonzero(logits[:, task.spelling.encode("a")[-1]])[-1]
    logits[spike, task.spelling.encode("b")[-1]] = logits[spike].max() + 0.1
    data = task.toy.data("dev", {"s-1": logits}, {"s-1": "BA"})
    model = [str(task.model)]
    decode(model, data, task.units, tmp_path / "without", DecodeConfig())
    assert hyp(tmp_path / "without") == {"s-1": "bb"}
    config = DecodeConfig(grid=Grid(insertion_penalty=(0.0,), rounds=0))
    lm = tmp_path / "lm"
    decode(model, data, task.units, tmp_path / "with", config, tune_on=data, lm=lm)
    assert hyp(tmp_path / "with") == {"s-1": "ba"}
    grid = scales(tmp_path / "with")["grid"]
    assert {point["acoustic_scale"] for point in grid} == {0.25, 0.5, 1.0, 2.0, 4.0}
    assert {point["prior_scale"] for point in grid} == {0.0, 0.3}
    # Nothing but penalties to weigh the model against: its scale would say the same again.
    decode(model, data, task.units, tmp_path / "alone", config, tune_on=data)
    assert {p["acoustic_scale"] for p in scales(tmp_path / "alone")["grid"]} == {1.0}
    fixed = DecodeConfig(scales=Scales(insertion_penalty=1.0))
    decode(model, data, task.units, tmp_path / "fixed", fixed, lm=lm)
    assert scales(tmp_path / "fixed")["prior_scale"] == 0.0
    assert scales(tmp_path / "fixed")["insertion_penalty"] == 1.0


def test_lists_of_an_open_vocabulary_are_not_rescored(task: Task, tmp_path: Path) -> None:
    lm, graph = tmp_path / "lm", tmp_path / "tg"
    train_lm(task.text, lm, LmConfig(), units=task.units)
    make_ctc_graph(task.units, lm, graph, CtcGraphConfig(open_vocabulary=True))
    out = tmp_path / "out"
    decode([str(task.model)], task.data("data"), graph, out, DecodeConfig(), keep=Keep(5, 8.0))
    with pytest.raises(InputError, match="lm: a language model of units; lists of words"):
        rescore(out, tmp_path / "again", RescoreConfig(), lm=lm, old_lm=lm)
    arpa = next(lm.glob("*.arpa"))
    with pytest.raises(InputError, match=f"{arpa}: a language model of units; lists of words"):
        rescore(out, tmp_path / "again", RescoreConfig(), lm=arpa, old_lm=arpa)


def test_scores_that_are_none_are_refused(task: Task) -> None:
    decoder = UnitDecoder(task.units, UnitSearch(), None, "arithmetic", None)
    scores = np.zeros((1, 3, 4), np.float32)
    for bad in (np.nan, np.inf):
        scores[0, 1, 2] = bad
        with pytest.raises(InputError, match=r"^s-1: a score is NaN or \+inf"):
            decoder.search(scores, Scales(), "s-1")
    assert decoder.search(np.full((1, 2, 4), -np.inf, np.float32), Scales(), "s-1") == ([], False)


def test_contradictions(task: Task, tmp_path: Path) -> None:
    data = task.data("data")

    def refused(message: str, graph: Path, **options: Any) -> None:
        search = options.pop("search", {})
        config = DecodeConfig(units=UnitSearch(**options.pop("units", {})), **search)
        with pytest.raises(InputError, match=message):
            decode([str(task.model)], data, graph, tmp_path / "out", config, **options)
        assert not (tmp_path / "out").exists()

    greedy: Any = {"kind": "greedy"}
    without = "for the search without one: leave"
    refused(f"units.kind is {without} it out, or give the folder of train-units as --graph",
            task.toy.graph, units=greedy)  # fmt: skip
    refused(f"units.kind and --lm are {without} them out", task.toy.graph, units=greedy, lm=data)
    refused("--nbest keeps lists of a graph", task.units, keep=Keep(3, 8.0))
    wide: Any = {"beam": 20.0, "max_active": 100}
    refused("no use for beam and max_active: set units.prefixes", task.units, search=wide)
    greedy |= {"shared": True}
    refused("no use for --tune-on and units.shared", task.units, units=greedy, tune_on=data)
    refused("no use for units.prefixes and scales.insertion_penalty", task.units,
            units={"kind": "greedy", "prefixes": 4},
            search={"scales": Scales(insertion_penalty=1.0, prior_scale=0.3)})  # fmt: skip
    encode_text(data, task.units, tmp_path / "tokens")
    refused("tokens, no labels of frames; align them: asr-kd align-ctc", task.units,
            ali=tmp_path / "tokens")  # fmt: skip
    train_lm(task.text, tmp_path / "lm", LmConfig())
    refused("lm: a language model of words", task.units, lm=tmp_path / "lm")
    # Words of one letter look like pieces inside of words.
    lower = tmp_path / "lower.txt"
    lower.write_text(SENTENCES.lower())
    train_lm(lower, tmp_path / "lower", LmConfig())
    arpa = tmp_path / "lower" / "lm.arpa"
    refused("lm.arpa: a language model of words", task.units, lm=arpa)
    refused("label sets differ", task.toy.graph)
    (task.units / "units.json").unlink()
    refused("no units.json", task.units)


def test_ctc_models_of_other_tools_need_no_priors(task: Task, tmp_path: Path) -> None:
    data = task.data("data")
    (tmp_path / "theirs").mkdir()
    labels = task.spelling.label_set
    described = tmp_path / "theirs" / "model.yaml"
    for kind, accepted in ((labels.kind, True), ("hmm-states", False)):
        type(labels)(kind, labels.names).save(tmp_path / "theirs" / "labels.json")
        described.write_text(f"source: {data / 'feats.scp'}\nlabels: labels.json\n"
                             f"unnormalised: softmax\n")  # fmt: skip
        if accepted:
            scorer = Scorer.open([str(described)], data)
            assert scorer.log_prior is not None
            assert scorer.log_prior.tolist() == pytest.approx([-np.log(4)] * 4)
        else:
            with pytest.raises(InputError, match="without the priors"):
                Scorer.open([str(described)], data)
