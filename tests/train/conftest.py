"""A tiny corpus of features and alignments that a small network learns in seconds."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from asr_kd.artefact import Artefact
from asr_kd.config import config_dict
from asr_kd.distill.nbest_lists import Entry, NbestHeader, write_shard
from asr_kd.ensemble.store import TeacherId
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import ArkWriter
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import write_priors
from asr_kd.models.config import TdnnConfig, TdnnLayerConfig
from asr_kd.train.config import TrainConfig
from asr_kd.train.dataset import AlignedData
from asr_kd.train.inputs import TrainInputs

NUM_LABELS, DIMS = 6, 4
LABELS = LabelSet("hmm-states", tuple(f"s{k}" for k in range(NUM_LABELS)))
TINY = TdnnConfig(
    layers=(
        TdnnLayerConfig(offsets=(-1, 0, 1), width=16),
        TdnnLayerConfig(offsets=(-2, 0, 2), width=16),
    ),
    dropout=0.1,
)


@dataclass
class Corpus:
    root: Path
    inputs: TrainInputs

    def config(self, **values: object) -> TrainConfig:
        settings = {
            "model": TINY, "epochs": 3, "max_frames": 300, "warmup_steps": 5, "log_every": 1,
            "accelerator": "cpu", **values,
        }  # fmt: skip
        return TrainConfig(**settings)  # type: ignore[arg-type]


def write_set(folder: Path, ali: Path, num_utts: int, seed: int) -> None:
    """Labels in stretches; each frame is its label's centre and noise."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((NUM_LABELS, DIMS)) * 2
    feats, labels = {}, {}
    for k in range(num_utts):
        pdf_ids = np.repeat(rng.integers(0, NUM_LABELS, 8), rng.integers(2, 9, 8))
        utt = f"spk{k % 2}-utt{k:02d}"
        labels[utt] = pdf_ids.astype(np.int32)
        noise = rng.standard_normal((len(pdf_ids), DIMS))
        feats[utt] = (100 + 5 * (centres[pdf_ids] + noise)).astype(np.float32)
    write_feats(folder, feats)
    write_ali(ali, labels)


def write_feats(folder: Path, feats: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ArkWriter(folder / "feats.0.ark") as writer:
        for utt, matrix in feats.items():
            writer.write(utt, matrix)
    write_table(folder / "feats.scp", writer.scp)
    write_table(folder / "utt2num_frames", {utt: str(len(x)) for utt, x in feats.items()})
    write_table(folder / "utt2spk", {utt: utt.split("-")[0] for utt in feats})
    spec = FeatureSpec(kind="external")
    (folder / "feature.json").write_text(json.dumps(config_dict(spec)))


def write_ali(folder: Path, ali: dict[str, np.ndarray], label_set: LabelSet = LABELS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ArkWriter(folder / "ali.0.ark") as writer:
        for utt, pdf_ids in ali.items():
            writer.write(utt, pdf_ids.astype(np.int32))
    write_table(folder / "ali.scp", writer.scp)
    label_set.save(folder / "labels.json")
    counts = np.bincount(np.concatenate(list(ali.values())), minlength=len(label_set))
    write_priors(folder, counts.tolist(), label_set)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    write_set(tmp_path / "train", tmp_path / "ali", 24, seed=1)
    write_set(tmp_path / "dev", tmp_path / "dev_ali", 6, seed=2)
    folders = [tmp_path / name for name in ("train", "ali", "dev", "dev_ali")]
    return Corpus(tmp_path, TrainInputs(*folders))


CTC_LABELS = LabelSet("ctc-char", ("<blank>", "a", "b", "c", "d"))


def write_tokens(folder: Path, tokens: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with ArkWriter(folder / "tokens.ark") as writer:
        for utt, ids in tokens.items():
            writer.write(utt, ids.astype(np.int32))
    write_table(folder / "tokens.scp", writer.scp)
    CTC_LABELS.save(folder / "labels.json")


def write_spoken(folder: Path, tokens: Path, late: Path, num_utts: int, seed: int) -> None:
    """Tokens of six frames and more each, silence around them.

    In `late` there is an alignment at half the rate beside them: the last frame of each token has
    its label, all others are blank.
    """
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((len(CTC_LABELS), DIMS)) * 2
    feats, spoken, ends = {}, {}, {}
    for k in range(num_utts):
        utt = f"spk{k % 2}-utt{k:02d}"
        spoken[utt] = rng.integers(1, len(CTC_LABELS), k % 5)
        said = [0, *(x for token in spoken[utt] for x in (token, 0))]
        lengths = rng.integers(6, 12, len(said))
        path = np.repeat(said, lengths)
        noise = 0.5 * rng.standard_normal((len(path), DIMS))
        feats[utt] = (100 + 5 * (centres[path] + noise)).astype(np.float32)
        ends[utt] = np.zeros((len(path) + 1) // 2, np.int32)
        ends[utt][(np.cumsum(lengths) - 1) // 2] = said
    write_feats(folder, feats)
    write_tokens(tokens, spoken)
    write_ali(late, ends, CTC_LABELS)
    write_tokens(late, spoken)


@pytest.fixture
def spoken(tmp_path: Path) -> Corpus:
    """A corpus of token sequences; its alignments are in `late` and `dev_late`."""
    write_spoken(tmp_path / "train", tmp_path / "tokens", tmp_path / "late", 30, seed=1)
    write_spoken(tmp_path / "dev", tmp_path / "dev_tokens", tmp_path / "dev_late", 10, seed=2)
    folders = [tmp_path / name for name in ("train", "tokens", "dev", "dev_tokens")]
    return Corpus(tmp_path, TrainInputs(*folders))


Lists = dict[str, list[Entry]]


@pytest.fixture
def write_lists() -> Callable[..., Path]:
    """`write_lists(folder, lists)`: a folder as dump-nbest publishes it."""

    def write(folder: Path, lists: Lists, label_set: LabelSet = CTC_LABELS) -> Path:
        artefact = Artefact(folder, "dump-nbest", {"made": str(lists)}, {})
        work = artefact.begin()
        digest = write_shard(work / "nbest.0", lists)
        label_set.save(work / "labels.json")
        NbestHeader(
            label_set=label_set.digest, teachers=(TeacherId(name="t", digest="0"),),
            mean="arithmetic", weights=(1.0,), n=8, prefixes=8, shards={"nbest.0": digest},
        ).write(work)  # fmt: skip
        artefact.publish()
        return folder

    return write


@pytest.fixture
def spoken_lists() -> Callable[[AlignedData], Lists]:
    """The truth with probability 0.8, another sequence with 0.1; alone where nothing is said."""

    def lists(data: AlignedData) -> Lists:
        found = {}
        for k, utt in enumerate(data.utt_ids):
            said = tuple(data.tokens(k).tolist())
            entries = [(0.8, said), *([(0.1, said[1:])] if said else [])]
            found[utt] = [Entry(np.log(p), (np.log(p),), tokens) for p, tokens in entries]
        return found

    return lists


WORD_LABELS = LabelSet("hmm-states", ("sil0", "sil1", "yes", "no"))


def write_words(folder: Path, ali: Path, num_utts: int, seed: int) -> dict[str, list[int]]:
    """Three words an utterance, three frames each, with much silence around them -> the words.

    Silence goes back and forth between two labels that are easily told apart, which no search asks
    for: which comes when is known. The words differ in another dimension, and less.
    """
    rng = np.random.default_rng(seed)
    centres = np.array([[-1, 0], [1, 0], [0, -0.6], [0, 0.6]])
    feats, labels, spoken = {}, {}, {}
    for k in range(num_utts):
        utt = f"spk{k % 2}-utt{k:02d}"
        spoken[utt] = rng.integers(2, 4, 3).tolist()
        path = [0, 1] * int(rng.integers(4, 9))
        for word in spoken[utt]:
            path += [word] * 3 + [0, 1] * int(rng.integers(4, 9))
        labels[utt] = np.array(path, np.int32)
        noise = 0.4 * rng.standard_normal((len(path), 2))
        feats[utt] = (centres[path] + noise).astype(np.float32)
    write_feats(folder, feats)
    write_ali(ali, labels, WORD_LABELS)
    return spoken


@pytest.fixture
def words(tmp_path: Path) -> tuple[Corpus, dict[str, list[int]]]:
    """Words between silences, and what was said in the dev set (as labels)."""
    write_words(tmp_path / "train", tmp_path / "ali", 40, seed=1)
    spoken = write_words(tmp_path / "dev", tmp_path / "dev_ali", 20, seed=2)
    folders = [tmp_path / name for name in ("train", "ali", "dev", "dev_ali")]
    return Corpus(tmp_path, TrainInputs(*folders)), spoken
