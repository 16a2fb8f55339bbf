"""Flat start and alignment on planted Gaussians: every state has its own place in feature space.

One state a phone: between the states of a phone, training from nothing may settle on a shift.
"""

import importlib
import logging
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from asr_kd.align import align as align_stage
from asr_kd.align import viterbi
from asr_kd.align.align import AlignConfig, align
from asr_kd.align.flat_start import FlatStartConfig, flat_start
from asr_kd.align.viterbi import Aligner, SearchConfig
from asr_kd.align.viterbi_training import TrainingConfig
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.cmvn import cmvn_stats
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.labels.gmm import GmmModel
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.lang import Lang
from asr_kd.labels.priors import log_prior, read_ali_labels
from asr_kd.labels.topology import Topology
from asr_kd.search.decoder import Path as DecodedPath
from asr_kd.search.stages import LangConfig, prepare_lang

DIM = 6
# Each phone has several neighbours: what always comes together, nothing could tell apart.
LEXICON = "ONE AH B\nTWO B IY\nTWO K AH\nSIX IY K S\nTEN S B\nEIGHT AH\n"
WORDS = ["ONE", "TWO", "SIX", "TEN", "EIGHT"]
CONFIG = FlatStartConfig(
    training=TrainingConfig(gaussians=12, iterations=10, growing=5, realign_always=6, deltas=0),
    shard_size=7,
)


class Corpus:
    """Utterances drawn from one planted Gaussian per state, with the pdf-ids that drew them."""

    def __init__(self, folder: Path, num_utts: int = 40) -> None:
        self.folder = folder
        dictionary = folder / "dict"
        dictionary.mkdir(parents=True)
        (dictionary / "lexicon.txt").write_text(LEXICON)
        for name in ("silence_phones", "optional_silence"):
            (dictionary / f"{name}.txt").write_text("SIL\n")
        prepare_lang(dictionary, folder / "lang", LangConfig(states=1, silence_states=1))
        self.lang = Lang.read(folder / "lang")
        rng = np.random.default_rng(0)
        self.means = rng.normal(size=(len(self.lang.label_set), DIM)) * 3
        self.planted: dict[str, np.ndarray] = {}
        self.feats: dict[str, np.ndarray] = {}
        self.text: dict[str, str] = {}
        for i in range(num_utts):
            utt_id = f"s{i % 2}-u{i:02}"
            words = rng.choice(WORDS, rng.integers(1, 4)).tolist()
            self.text[utt_id] = " ".join(words)
            self.planted[utt_id] = self._states(words, rng)
            noise = rng.normal(size=(len(self.planted[utt_id]), DIM))
            self.feats[utt_id] = (self.means[self.planted[utt_id]] + noise).astype(np.float32)

    def _states(self, words: list[str], rng: np.random.Generator) -> np.ndarray:
        phones = []
        for word in [None, *words]:
            if word is not None:
                variants = [p.phones for p in self.lang.lexicon.pronunciations if p.word == word]
                phones += variants[rng.integers(len(variants))]
            if rng.random() < 0.6:
                phones.append("SIL")
        topology = self.lang.topology
        pdf_ids = [
            topology.first_pdf[phone] + state
            for phone in phones
            for state in range(topology.hmms[phone].num_states)
            for _ in range(int(rng.integers(1, 8)))
        ]
        return np.array(pdf_ids, np.int32)

    def write(self, name: str = "data") -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        utt2spk = {utt_id: utt_id[:2] for utt_id in self.feats}
        with ArkWriter(path / "feats.ark") as feats, ArkWriter(path / "cmvn.ark") as cmvn:
            for utt_id, array in self.feats.items():
                feats.write(utt_id, array)
            for speaker in sorted(set(utt2spk.values())):
                frames = [a for u, a in self.feats.items() if utt2spk[u] == speaker]
                finite = np.nan_to_num(np.concatenate(frames))
                cmvn.write(speaker, cmvn_stats(finite).astype(np.float32))
        num_frames = {utt_id: len(array) for utt_id, array in self.feats.items()}
        data = DataDir(path, utt2spk, text=self.text, feats=feats.scp, cmvn=cmvn.scp,
                       num_frames=num_frames)  # fmt: skip
        data.write(path)
        write_spec(FeatureSpec(kind="external", name="planted", dim=DIM), path)
        return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def mono(corpus: Corpus) -> Path:
    flat_start(corpus.write(), corpus.folder / "lang", corpus.folder / "mono", CONFIG)
    return corpus.folder / "mono"


def accuracy(ali_dir: Path, planted: dict[str, np.ndarray]) -> float:
    ali = Archive.read(ali_dir / "ali.scp")
    assert all(len(ali[u]) == len(planted[u]) for u in ali)
    return float(np.mean(np.concatenate([ali[u] == planted[u] for u in ali])))


def test_planted_boundaries_are_recovered(corpus: Corpus, mono: Path) -> None:
    assert accuracy(mono, corpus.planted) > 0.98
    info = read_manifest(mono, "flat-start").info
    assert info["aligned"] == len(corpus.text)
    assert info["failed"] == 0
    assert info["label_set"] == corpus.lang.label_set.digest == read_ali_labels(mono).digest
    counts = np.bincount(
        np.concatenate(list(Archive.read(mono / "ali.scp").values())),
        minlength=len(corpus.lang.label_set),
    )
    assert info["frames"] == counts.sum()
    prior = np.exp(log_prior(mono))
    np.testing.assert_allclose(prior, counts / counts.sum(), atol=2e-3)


def test_transitions_are_those_of_the_planted_durations(mono: Path) -> None:
    # Durations are uniform over 1 to 7 frames, 4 on average: a state is left once in 4 frames.
    rows = [hmm.transitions for hmm in Topology.load(mono / "topo.json").hmms.values()]
    stay = [dict(row)[state] for hmm in rows for state, row in enumerate(hmm)]
    assert np.mean(stay) == pytest.approx(0.75, abs=0.03)


def test_models_find_planted_means(corpus: Corpus, mono: Path) -> None:
    model = GmmModel.load(mono)
    assert model.label_set == corpus.lang.label_set
    spread = np.concatenate([a for u, a in corpus.feats.items() if u.startswith("s0")])
    planted = (corpus.means - spread.mean(axis=0)) / spread.std(axis=0)
    own = np.diag(model.log_likes(planted.astype(np.float32)))
    assert (own >= model.log_likes(planted.astype(np.float32)).max(axis=1) - 1.0).mean() > 0.9


def test_align_repeats_the_flat_starts_alignment(corpus: Corpus, mono: Path) -> None:
    out = corpus.folder / "ali"
    config = AlignConfig(shard_size=9)
    align(corpus.folder / "data", corpus.folder / "lang", [str(mono)], out, config)
    ours, theirs = (Archive.read(d / "ali.scp") for d in (out, mono))
    assert list(ours) == list(theirs)
    assert all(np.array_equal(ours[u], theirs[u]) for u in ours)
    manifest = read_manifest(out, "align")
    assert manifest.info["aligned"] == len(corpus.text)
    before = (out / "manifest.json").stat().st_mtime_ns
    align(corpus.folder / "data", corpus.folder / "lang", [str(mono)], out, config)
    assert (out / "manifest.json").stat().st_mtime_ns == before


def test_jobs_and_shards_change_nothing(corpus: Corpus, mono: Path) -> None:
    out = corpus.folder / "ali2"
    config = AlignConfig(shard_size=25)
    align(corpus.folder / "data", corpus.folder / "lang", [str(mono)], out, config, nj=2)
    ours, theirs = (Archive.read(d / "ali.scp") for d in (out, mono))
    assert all(np.array_equal(ours[u], theirs[u]) for u in theirs)


def test_killed_flat_start_goes_on(
    corpus: Corpus, mono: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr_kd.align import flat_start as module

    class Killed(BaseException):
        pass

    done = []

    def dying(*args: object) -> dict:
        if len(done) == 2:
            raise Killed
        done.append(args[-2])
        return whole(*args)

    whole = module.align_shard
    out = corpus.folder / "mono2"
    monkeypatch.setattr(module, "align_shard", dying)
    with pytest.raises(Killed):
        flat_start(corpus.folder / "data", corpus.folder / "lang", out, CONFIG)
    assert not out.exists()
    monkeypatch.undo()
    monkeypatch.setattr(module.ViterbiTraining, "run", lambda self: pytest.fail("trained again"))
    flat_start(corpus.folder / "data", corpus.folder / "lang", out, CONFIG)
    ours, theirs = (Archive.read(d / "ali.scp") for d in (out, mono))
    assert all(np.array_equal(ours[u], theirs[u]) for u in theirs)
    assert {p.name for p in out.iterdir()} == {p.name for p in mono.iterdir()}


def test_network_scores_align_too(
    corpus: Corpus, mono: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network:
        """Stands in for a trained network that is sure of the planted states."""

        label_set = corpus.lang.label_set

        def loglikes(self, utt_id: str) -> np.ndarray:
            return 50 * np.eye(len(self.label_set), dtype=np.float32)[corpus.planted[utt_id]]

    class Opener:
        open = staticmethod(lambda models, data, prior_scale, mean: Network())

    monkeypatch.setattr(align_stage, "Scorer", Opener)
    out = corpus.folder / "ali_network"
    align(corpus.folder / "data", corpus.folder / "lang", [str(mono)], out, AlignConfig())
    assert accuracy(out, corpus.planted) == 1.0

    Network.label_set = LabelSet("hmm-states", ("X_0", "X_1"))
    with pytest.raises(InputError, match=r"label sets differ.*2 hmm-states"):
        align(corpus.folder / "data", corpus.folder / "lang", [str(mono)], tmp(out), AlignConfig())
    assert not tmp(out).exists()


def tmp(path: Path) -> Path:
    return path.with_name(path.name + "_refused")


def test_utterances_that_cannot_be_aligned_are_counted_and_named(
    tmp_path: Path, mono: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = Corpus(tmp_path, num_utts=8)
    first, second = list(corpus.feats)[:2]
    corpus.text[first] = "SIX " * 30  # longer than its audio can hold
    data = corpus.write()
    out = tmp_path / "ali"
    with caplog.at_level(logging.INFO, "asr_kd"):
        align(data, tmp_path / "lang", [str(mono)], out, AlignConfig())
    needed, frames = 30 * 3, len(corpus.feats[first])
    reason = f"its transcript needs at least {needed} frames, its audio has {frames}"
    assert f"{first}: not aligned: {reason}" in caplog.text
    assert "1 of 8 utterances are left out" in caplog.text
    assert (out / "failed.txt").read_text() == f"{first} {reason}\n"
    info = read_manifest(out).info
    assert (info["aligned"], info["failed"]) == (7, 1)
    ali = Archive.read(out / "ali.scp")
    assert first not in ali
    assert second in ali
    # A flat start leaves it out as well.
    flat_start(data, tmp_path / "lang", tmp_path / "mono", CONFIG)
    assert read_manifest(tmp_path / "mono").info["failed"] == 1


def test_words_outside_the_lexicon_are_listed_before_any_work(tmp_path: Path, mono: Path) -> None:
    corpus = Corpus(tmp_path, num_utts=4)
    first, second = list(corpus.feats)[:2]
    corpus.text[first] = "ONE SEVEN"
    corpus.text[second] = "NINE"
    data = corpus.write()
    for run in (
        lambda out: flat_start(data, tmp_path / "lang", out, CONFIG),
        lambda out: align(data, tmp_path / "lang", [str(mono)], out, AlignConfig()),
    ):
        with pytest.raises(InputError) as error:
            run(tmp_path / "out")
        assert f"{data / 'text'}: {first}: 'SEVEN' is not in the lexicon" in error.value.faults
        assert f"{data / 'text'}: {second}: 'NINE' is not in the lexicon" in error.value.faults
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / ".out.building").exists()


def test_nan_feature_names_its_utterance(tmp_path: Path, mono: Path) -> None:
    corpus = Corpus(tmp_path, num_utts=4)
    utt_id = list(corpus.feats)[2]
    corpus.feats[utt_id][3, 1] = np.nan
    data = corpus.write()
    with pytest.raises(InputError, match=f"{utt_id}: nan in frame 3"):
        align(data, tmp_path / "lang", [str(mono)], tmp_path / "ali", AlignConfig())
    assert not (tmp_path / "ali").exists()
    with pytest.raises(InputError, match=f"{utt_id}: nan in frame 3"):
        flat_start(data, tmp_path / "lang", tmp_path / "mono", CONFIG)
    assert not (tmp_path / "mono").exists()


def test_nothing_to_align_is_an_error(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, num_utts=2)
    corpus.text = dict.fromkeys(corpus.text, "SIX " * 50)
    with pytest.raises(InputError, match="needs at least"):
        flat_start(corpus.write(), tmp_path / "lang", tmp_path / "mono", CONFIG)


def test_model_of_another_language_is_refused(tmp_path: Path, corpus: Corpus, mono: Path) -> None:
    prepare_lang(corpus.folder / "dict", tmp_path / "lang", LangConfig(states=2))
    with pytest.raises(InputError, match="label sets differ"):
        align(corpus.folder / "data", tmp_path / "lang", [str(mono)], tmp_path / "x", AlignConfig())


@pytest.mark.parametrize(
    ("needed", "retried", "aligned"), [(10, False, True), (40, True, True), (99, True, False)]
)
def test_wider_beam_is_tried_once(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, needed: int, retried: bool, aligned: bool
) -> None:
    class Decoder:
        """Reaches the end at the width that is needed."""

        def __init__(self, graph: object, num_labels: int, beam: float, max_active: int) -> None:
            self.beam = beam

        def set_beam(self, beam: float) -> None:
            self.beam = beam

        def decode(self, scores: np.ndarray, utt_id: str) -> DecodedPath:
            return DecodedPath([], np.zeros(len(scores), np.int32), 1.0, self.beam >= needed)

    monkeypatch.setattr(viterbi, "GraphDecoder", Decoder)
    aligner = Aligner(corpus.lang, SearchConfig(beam=10, retry_beam=40), {"u": []})
    result = aligner.align("u", np.zeros((9, len(corpus.lang.label_set)), np.float32))
    assert result.retried is retried
    assert (result.pdf_ids is not None) is aligned
    assert ("within beam 40" in result.reason) is not aligned


def test_no_frames(corpus: Corpus) -> None:
    aligner = Aligner(corpus.lang, SearchConfig(), {"u": []})
    result = aligner.align("u", np.zeros((0, len(corpus.lang.label_set)), np.float32))
    assert result.pdf_ids is None
    assert result.reason == "no frames"


def test_verbs(corpus: Corpus, tmp_path: Path) -> None:
    """From a dictionary to an alignment and a graph, through the command line."""
    for verb in ("align", "decode"):
        importlib.import_module(f"asr_kd.cli.{verb}")
    data = str(corpus.write())
    lang, mono, lm, graph, ali = (str(tmp_path / name) for name in ("L", "mono", "lm", "G", "ali"))
    (tmp_path / "text").write_text("\n".join(corpus.text.values()))
    quick = ["training.gaussians=12", "training.iterations=5", "training.deltas=1"]
    for command in (
        ["prepare-lang", str(corpus.folder / "dict"), "--out", lang, "states=1"],
        ["train-lm", str(tmp_path / "text"), "--lang", lang, "--out", lm, "smoothing=kneser-ney"],
        ["flat-start", data, lang, "--out", mono, *quick],
        ["make-graph", lang, lm, "--out", graph, "--transitions", mono],
        ["align", data, lang, mono, "--out", ali, "search.beam=20"],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, (command, result.output, result.exception)
    assert {p.name for p in Path(graph).iterdir()} == {
        "HCLG.fst", "words.txt", "labels.json", "manifest.json",
    }  # fmt: skip
    assert read_manifest(Path(ali)).config["search"]["beam"] == 20
    assert read_manifest(Path(ali)).info["aligned"] == len(corpus.text)
    assert LabelSet.load(Path(graph) / "labels.json") == read_ali_labels(Path(ali))
