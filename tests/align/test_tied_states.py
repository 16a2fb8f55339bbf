"""From a monophone alignment to context-dependent GMMs, on features with planted contexts.

A vowel sounds otherwise behind B than elsewhere; nothing else depends on the context.
"""

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from asr_kd.align.align import AlignConfig, align
from asr_kd.align.build_tree import TreeConfig, build_tree, lexicon_contexts
from asr_kd.align.convert_ali import convert_ali
from asr_kd.align.flat_start import FlatStartConfig, flat_start
from asr_kd.align.train_gmm import TrainGmmConfig, train_gmm
from asr_kd.artefact import read_manifest
from asr_kd.cli.app import app
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.cmvn import cmvn_stats
from asr_kd.features.spec import FeatureSpec, write_spec
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.labels.gmm import GmmModel
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.lang import Lang
from asr_kd.labels.priors import log_prior, write_priors
from asr_kd.labels.topology import Topology
from asr_kd.labels.tying import LEFT, RIGHT
from asr_kd.search.stages import LangConfig, prepare_lang

DIM = 5
LEXICON = "BAK B A K\nBO B O\nKAB K A B\nKO K O\nOB O B\n"
WORDS = ("BAK", "BO", "KAB", "KO", "OB")
GMMS = {
    "training": {"gaussians": 20, "iterations": 6, "growing": 2, "realign_every": 3, "deltas": 0}
}


class Planted:
    """A feature directory, its language, and the monophone alignment that drew the features."""

    def __init__(self, folder: Path) -> None:
        dictionary, self.data = folder / "dict", folder / "data"
        dictionary.mkdir()
        (dictionary / "lexicon.txt").write_text(LEXICON)
        for name in ("silence_phones", "optional_silence"):
            (dictionary / f"{name}.txt").write_text("SIL\n")
        self.lang, self.ali = folder / "lang", folder / "ali"
        prepare_lang(dictionary, self.lang, LangConfig(states=2, silence_states=1))
        lang = Lang.read(self.lang)
        rng = np.random.default_rng(0)
        self.means = rng.normal(size=(len(lang.label_set), 2, DIM)) * 3  # [label, behind B]
        self.feats: dict[str, np.ndarray] = {}
        self.ali_of: dict[str, np.ndarray] = {}
        self.behind_b: dict[str, np.ndarray] = {}
        self.places: dict[str, list[tuple]] = {}  # of each frame: left, phone, right, state
        text = {}
        for i in range(60):
            words = rng.choice(WORDS, rng.integers(2, 5)).tolist()
            utt_id = f"s{i % 2}-u{i:02}"
            text[utt_id] = " ".join(words)
            spoken = {p.word: p.phones for p in lang.lexicon.pronunciations}
            phones = ["SIL", *(phone for word in words for phone in spoken[word]), "SIL"]
            labels, behind = [], []
            places: list[tuple] = []
            around = zip([None, *phones], phones, [*phones[1:], None], strict=False)
            for left, phone, right in around:
                changed = phone in "AO" and left == "B"
                for state in range(lang.topology.hmms[phone].num_states):
                    frames = int(rng.integers(2, 10))  # 5.5 on average
                    labels += [lang.topology.first_pdf[phone] + state] * frames
                    behind += [changed] * frames
                    places += [(left, phone, right, state)] * frames
            self.places[utt_id] = places
            self.ali_of[utt_id] = np.array(labels, np.int32)
            self.behind_b[utt_id] = np.array(behind)
            drawn = self.means[labels, np.array(behind, int)]
            self.feats[utt_id] = (drawn + rng.normal(size=drawn.shape)).astype(np.float32)
        self._write(text)
        self.write_ali(self.ali, lang.label_set, self.ali_of)

    def _write(self, text: dict[str, str]) -> None:
        utt2spk = {utt_id: utt_id[:2] for utt_id in self.feats}
        self.data.mkdir()
        with ArkWriter(self.data / "feats.ark") as feats, ArkWriter(self.data / "c.ark") as cmvn:
            for utt_id, array in self.feats.items():
                feats.write(utt_id, array)
            for speaker in sorted(set(utt2spk.values())):
                own = np.concatenate([a for u, a in self.feats.items() if utt2spk[u] == speaker])
                cmvn.write(speaker, cmvn_stats(own).astype(np.float32))
        lengths = {utt_id: len(array) for utt_id, array in self.feats.items()}
        DataDir(self.data, utt2spk, text=text, feats=feats.scp, cmvn=cmvn.scp,
                num_frames=lengths).write(self.data)  # fmt: skip
        write_spec(FeatureSpec(kind="external", name="planted", dim=DIM), self.data)

    @staticmethod
    def write_ali(path: Path, label_set: LabelSet, ali: dict[str, np.ndarray]) -> Path:
        path.mkdir(exist_ok=True)
        with ArkWriter(path / "ali.ark") as ark:
            for utt_id, labels in ali.items():
                ark.write(utt_id, labels)
        write_table(path / "ali.scp", ark.scp)
        label_set.save(path / "labels.json")
        counts = np.bincount(np.concatenate(list(ali.values())), minlength=len(label_set))
        write_priors(path, counts.tolist(), label_set)
        return path


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("tied"))


@pytest.fixture(scope="module")
def tied(planted: Planted) -> Path:
    """Nine states of phones; the four of the vowels become two each."""
    out = planted.lang.with_name("lang_tied")
    config = TreeConfig(leaves=13, min_frames=20, deltas=0, shard_size=25)
    build_tree(planted.data, planted.lang, planted.ali, out, config)
    return out


@pytest.fixture(scope="module")
def converted(planted: Planted, tied: Path) -> Path:
    out = planted.ali.with_name("ali_tied")
    convert_ali(planted.ali, planted.lang, tied, out)
    return out


def arrays(ali: Path) -> dict[str, np.ndarray]:
    return {utt_id: np.asarray(labels) for utt_id, labels in Archive.read(ali / "ali.scp").items()}


def stays(ali: Path) -> float:
    """The mean probability of staying in a state."""
    rows = [hmm.transitions for hmm in Topology.load(ali / "topo.json").hmms.values()]
    return float(np.mean([dict(row)[state] for hmm in rows for state, row in enumerate(hmm)]))


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[u], theirs[u]) for u in ours)


def test_trees_ask_what_was_planted(planted: Planted, tied: Path, converted: Path) -> None:
    lang = Lang.read(tied)
    assert lang.tying is not None
    found = {
        (phone, state): (tree.question.context, "B" in tree.question.phones)
        for phone, trees in lang.tying.trees.items()
        for state, tree in enumerate(trees)
        if not isinstance(tree, int)
    }
    assert found.keys() == {(vowel, state) for vowel in "AO" for state in (0, 1)}
    assert {context for context, _ in found.values()} == {LEFT}
    ali = arrays(converted)
    label_of = lang.monophone_label
    leaf: dict[tuple[int, bool], set[int]] = {}
    for utt_id, planted_labels in planted.ali_of.items():
        assert np.array_equal(label_of[ali[utt_id]], planted_labels)
        keys = zip(planted_labels.tolist(), planted.behind_b[utt_id].tolist(), strict=True)
        for key, pdf_id in zip(keys, ali[utt_id].tolist(), strict=True):
            leaf.setdefault(key, set()).add(pdf_id)
    assert all(len(pdfs) == 1 for pdfs in leaf.values())
    assert len(leaf) == len(set.union(*leaf.values())) == 13


def test_folder_and_facts(planted: Planted, tied: Path) -> None:
    assert {p.name for p in tied.iterdir()} == {p.name for p in planted.lang.iterdir()} | {
        "tree.json"
    }
    for name in ("L.fst", "L_disambig.fst", "words.txt", "phones.txt", "topo.json"):
        assert (tied / name).read_bytes() == (planted.lang / name).read_bytes()
    info = read_manifest(tied, "build-tree").info
    assert info["frames"] == sum(map(len, planted.ali_of.values()))
    assert info["labels"] == 13
    assert info["gain_per_frame"] == pytest.approx(info["log_like_after"] - info["log_like_before"])
    spoken = set()
    for utt_id in planted.ali_of:
        text = DataDir.read(planted.data, require=("text",)).text[utt_id].split()
        phones = ["SIL", *(p for word in text for p in dict(SPOKEN)[word]), "SIL"]
        spoken |= set(zip(phones, phones[1:], phones[2:], strict=False))
    assert info["contexts"] == len(spoken)
    possible = lexicon_contexts(Lang.read(tied).lexicon, right=True)
    assert info["contexts_unseen"] == len(possible - spoken)
    assert spoken <= possible


SPOKEN = [(line.split()[0], line.split()[1:]) for line in LEXICON.splitlines()]


@pytest.mark.parametrize("right", [True, False])
def test_contexts_of_the_lexicon_are_those_of_all_word_sequences(
    planted: Planted, right: bool
) -> None:
    units = [phones for _, phones in SPOKEN] + [["SIL"]]
    every = set()
    for a in units:
        for b in units:
            for c in units:
                phones = [None, *a, *b, *c, None]
                every |= set(zip(phones, phones[1:], phones[2:], strict=False))
    expected = {(a, b, c if right else None) for a, b, c in every if b != "SIL"}
    assert lexicon_contexts(Lang.read(planted.lang).lexicon, right) == expected


def test_shards_and_jobs_change_nothing(planted: Planted, tied: Path, tmp_path: Path) -> None:
    config = TreeConfig(leaves=13, min_frames=20, deltas=0, shard_size=40)
    build_tree(planted.data, planted.lang, planted.ali, tmp_path / "lang", config, nj=2)
    assert Lang.read(tmp_path / "lang") == Lang.read(tied)


def test_left_biphones_split_to_the_last_frame(planted: Planted, tmp_path: Path) -> None:
    config = TreeConfig(leaves=500, context="left-biphone", min_frames=1, deltas=0)
    build_tree(planted.data, planted.lang, planted.ali, tmp_path / "lang", config)
    tying = Lang.read(tmp_path / "lang").tying
    assert tying is not None
    assert not tying.right
    assert tying.trees["SIL"] == (0,)  # whatever stands before it
    text = DataDir.read(planted.data, require=("text",)).text.values()
    spoken = [["SIL", *(p for w in line.split() for p in dict(SPOKEN)[w])] for line in text]
    pairs = {pair for phones in spoken for pair in pairwise(phones)}
    assert read_manifest(tmp_path / "lang").info["contexts"] == len(pairs)
    assert tying.num_pdfs == 1 + 2 * len(pairs)  # every one is a leaf in the end


def test_conversions_there_and_back(
    planted: Planted, tied: Path, converted: Path, tmp_path: Path
) -> None:
    write_text(converted / "failed.txt", "u its reason is told\n")
    convert_ali(converted, tied, planted.lang, tmp_path / "back")
    (converted / "failed.txt").unlink()
    assert same(arrays(tmp_path / "back"), planted.ali_of)
    assert (tmp_path / "back" / "failed.txt").read_text() == "u its reason is told\n"
    for ali in (converted, tmp_path / "back"):
        assert stays(ali) == pytest.approx(1 - 1 / 5.5, abs=0.01)
    config = TreeConfig(leaves=20, min_frames=5, deltas=0)  # another tree, grown from tied states
    build_tree(planted.data, tied, converted, tmp_path / "lang", config)
    convert_ali(converted, tied, tmp_path / "lang", tmp_path / "other")
    convert_ali(planted.ali, planted.lang, tmp_path / "lang", tmp_path / "direct", nj=2)
    assert same(arrays(tmp_path / "other"), arrays(tmp_path / "direct"))
    lang = Lang.read(tmp_path / "lang")
    assert lang.tying is not None
    assert {q[0] for q in lang.tying.to_dict()["questions"]} == {LEFT, RIGHT}
    expected = {u: [lang.pdf_id(*p) for p in places] for u, places in planted.places.items()}
    assert same(arrays(tmp_path / "direct"), {u: np.array(ids) for u, ids in expected.items()})
    convert_ali(tmp_path / "other", tmp_path / "lang", tied, tmp_path / "again")
    assert same(arrays(tmp_path / "again"), arrays(converted))
    prior = np.exp(log_prior(tmp_path / "again"))
    counts = np.bincount(np.concatenate(list(arrays(converted).values())))
    np.testing.assert_allclose(prior, counts / counts.sum(), rtol=1e-4)


def test_conversions_that_are_refused(planted: Planted, tied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label sets differ: .*lang_tied has 13 tied-states"):
        convert_ali(planted.ali, tied, planted.lang, tmp_path / "x")
    kaldi = planted.write_ali(
        tmp_path / "kaldi", LabelSet("kaldi-pdfs 0123", tuple("abcdefghi")), planted.ali_of
    )
    with pytest.raises(InputError, match="Kaldi's tree"):
        convert_ali(kaldi, planted.lang, tied, tmp_path / "x")
    prepare_lang(tied.parent / "dict", tmp_path / "lang3", LangConfig(states=3, silence_states=1))
    with pytest.raises(InputError, match=r"A_2.*lang3 \(states of phones\)"):
        convert_ali(planted.ali, planted.lang, tmp_path / "lang3", tmp_path / "x")
    broken = dict(planted.ali_of)
    first, second = sorted(broken)[:2]
    broken[first] = broken[first][:-1].copy()
    broken[first][3:] = broken[first][0]
    broken[second] = np.array([0, 2, 2], np.int32)
    lang = Lang.read(planted.lang)
    ali = planted.write_ali(tmp_path / "broken", lang.label_set, broken)
    with pytest.raises(InputError, match=f"{second}: no transition leads from SIL_0"):
        convert_ali(ali, planted.lang, tied, tmp_path / "x")
    with pytest.raises(InputError) as error:
        build_tree(planted.data, planted.lang, ali, tmp_path / "x", TreeConfig(leaves=13, deltas=0))
    needed = f"{len(broken[first])} labels for {len(planted.feats[first])} frames"
    assert any(first in fault and needed in fault for fault in error.value.faults)
    assert any(second in fault for fault in error.value.faults)
    with pytest.raises(InputError, match=r"8 asked for, but the phones of .* have 9 states"):
        build_tree(planted.data, planted.lang, planted.ali, tmp_path / "x", TreeConfig(leaves=8))
    assert not (tmp_path / "x").exists()


def test_context_dependent_gmms_realign(
    planted: Planted, tied: Path, converted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = {u: a for u, a in arrays(converted).items() if not u.endswith("7")}
    lang = Lang.read(tied)
    ali = planted.write_ali(tmp_path / "few", lang.label_set, few)
    config = TrainGmmConfig.model_validate(GMMS)
    with caplog.at_level(logging.INFO, "asr_kd"):
        train_gmm(planted.data, tied, ali, tmp_path / "gmm", config)
    assert "54 of 60 utterances are aligned" in caplog.text
    found, expected = arrays(tmp_path / "gmm"), arrays(converted)
    assert found.keys() == expected.keys()  # those that were not trained on as well
    agree = np.mean(np.concatenate([found[u] == expected[u] for u in found]))
    assert agree > 0.97
    assert stays(tmp_path / "gmm") == pytest.approx(1 - 1 / 5.5, abs=0.01)
    model = GmmModel.load(tmp_path / "gmm")
    assert model.label_set == lang.label_set
    align(planted.data, tied, [str(tmp_path / "gmm")], tmp_path / "ali", AlignConfig())
    assert same(arrays(tmp_path / "ali"), found)


def test_training_that_is_refused(
    planted: Planted, tied: Path, converted: Path, tmp_path: Path
) -> None:
    out, config = tmp_path / "x", TrainGmmConfig.model_validate(GMMS)
    with pytest.raises(InputError, match="see `asr-kd convert-ali`"):
        train_gmm(planted.data, tied, planted.ali, out, config)
    with pytest.raises(InputError, match="cannot be trained from nothing"):
        flat_start(planted.data, tied, out, FlatStartConfig())
    short = arrays(converted)
    first = min(short)
    short[first] = short[first][1:]
    ali = planted.write_ali(tmp_path / "short", Lang.read(tied).label_set, short)
    frames = len(planted.feats[first])
    with pytest.raises(InputError, match=f"{first}: {frames - 1} labels for {frames} frames"):
        train_gmm(planted.data, tied, ali, out, config)
    assert not out.exists()


def test_verbs(planted: Planted, tied: Path, converted: Path, tmp_path: Path) -> None:
    from asr_kd.cli import tying  # noqa: F401

    data, lang, ali = str(planted.data), str(planted.lang), str(planted.ali)
    cd, ali_cd = str(tmp_path / "cd"), str(tmp_path / "ali_cd")
    for arguments in (
        ["build-tree", data, lang, ali, "leaves=13", "min_frames=20", "deltas=0", "--out", cd],
        ["convert-ali", ali, "--from", lang, "--to", cd, "--out", ali_cd],
        ["train-gmm", data, cd, ali_cd, "training.iterations=1", "--out", str(tmp_path / "gmm")],
    ):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert same(arrays(tmp_path / "ali_cd"), arrays(converted))
    assert read_manifest(tmp_path / "gmm", "train-gmm").config["training"]["gaussians"] == 5000
