"""What the stages of the LibriSpeech recipes cost: the lines behind --dry-run.

Hours follow from the hours of speech, the sizes of the models and the recipe's settings, by rates
that `tools/measure_rates.py` measured: a rate is that of one core, or of the GPU where one was
measured. Prints `STAGE<tab>what it costs`.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from asr_kd.align.build_tree import TreeConfig
from asr_kd.align.flat_start import FlatStartConfig
from asr_kd.align.train_gmm import TrainGmmConfig
from asr_kd.align.viterbi_training import TrainingConfig
from asr_kd.config import Config, load_config
from asr_kd.data.catalogue import CATALOGUE
from asr_kd.data.corpora.librispeech import LibriSpeechConfig
from asr_kd.decode.config import DecodeConfig
from asr_kd.features.make_feats import FeatsConfig
from asr_kd.io.audio import audio_info
from asr_kd.models.build import build_model
from asr_kd.models.multiply_adds import multiply_adds
from asr_kd.train.config import TrainConfig

C = TypeVar("C", bound=Config)
HOURS_OF_TRAIN_CLEAN_100 = 100.6
"""Panayotov, Chen, Povey and Khudanpur, LibriSpeech (ICASSP 2015), table 1; the other parts by the
sizes of their archives."""
MINUTES_OF_A_READER = 25
"""The same table, of train-clean-100."""
LINK = 100e6 / 8
"""Bytes a second of the way to the mirror: assumed."""
GPU = 10e12 / 2
"""Multiply-adds a second of a GPU that was not measured: assumed."""
FLOAT = 4
SPEEDS = 3
HEADERS = 300  # of a corpus's files that are read


class Cost(NamedTuple):
    """Of a stage.

    Attributes:
        hours: until it is done.
        gpu_hours: of it on a GPU instead, where networks are trained; None: nothing is.
        size: bytes on disk.
    """

    hours: float
    gpu_hours: float | None = None
    size: float = 0.0


class Network(NamedTuple):
    """Settings, multiply-adds of a frame, bytes."""

    config: TrainConfig
    cost: float
    size: float

    def rate(self, rates: dict[str, float]) -> float:
        """Multiply-adds an hour, by kind; of kinds that were not measured the slowest."""
        return 3600 * rates.get(self.config.model.kind, min(rates.values()))


@dataclass
class Plan:
    """What is to be estimated; frames are those of 10 ms."""

    name: str
    parts: dict[str, list[str]]  # train, dev, test
    models: list[str]  # language models: the one that decodes, the one that rescores
    nj: int
    seeds: int
    teachers: int
    tune_share: float
    configs: Path
    overrides: list[str]
    corpus: Path | None
    rates: dict[str, Any]
    hours: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hours_of = {part: self._hours(part) for parts in self.parts.values() for part in parts}
        self.hours = {s: sum(hours_of[p] for p in parts) for s, parts in self.parts.items()}
        prepared = self.config("corpus", LibriSpeechConfig)
        if not self.parts["dev"]:  # an upper bound: they are taken out of train
            self.hours["dev"] = min(
                self.hours["train"], prepared.dev_speakers * MINUTES_OF_A_READER / 60
            )
        if prepared.train_hours is not None:
            self.hours["train"] = prepared.train_hours

    def config(self, name: str, cls: type[C], fallback: str | None = None) -> C:
        """Settings as the recipe's step reads them."""
        file = self.configs / f"{name}.yaml"
        if fallback is not None and not file.is_file():
            name, file = fallback, self.configs / f"{fallback}.yaml"
        own = [line.partition(":") for line in self.overrides if line]
        given = [setting for pattern, _, setting in own if fnmatchcase(name, pattern)]
        return load_config(cls, file if file.is_file() else None, given)

    def _hours(self, part: str) -> float:
        """Of a part: by the headers of some of its files where it is there."""
        archive = sum(file.size for file in CATALOGUE[self.name][part].files)
        known = CATALOGUE["librispeech"]["train-clean-100"].files[0].size
        if self.corpus is None:
            return archive / known * HOURS_OF_TRAIN_CLEAN_100
        tops = (self.corpus / "LibriSpeech", self.corpus)
        files = [file for top in tops for file in sorted((top / part).rglob("*.flac"))]
        if not files:
            return archive / known * HOURS_OF_TRAIN_CLEAN_100
        read = files[:: math.ceil(len(files) / HEADERS)]
        spoken = sum(audio_info(file).seconds for file in read)
        sizes = [sum(file.stat().st_size for file in some) for some in (files, read)]
        return spoken / 3600 * sizes[0] / sizes[1]

    def frames(self, name: str) -> float:
        """Of a set; those of train at all speeds."""
        return 360_000 * self.hours[name] * (SPEEDS if name == "train" else 1)

    def rate(self, name: str) -> float:
        """Units an hour."""
        return 3600 * float(self.rates["rates"][name])

    def network(self, name: str, labels: int) -> Network:
        """A network of the recipe."""
        config = self.config(name, TrainConfig, "teacher" if name.startswith("teacher") else None)
        dims = self.config("features", FeatsConfig).spec
        num_dims = dims.num_ceps if dims.kind == "mfcc" else dims.num_mel
        model = build_model(config.model, num_dims, labels)
        return Network(config, multiply_adds(model), FLOAT * model.num_params)


def estimate(plan: Plan) -> dict[int, Cost]:
    """Costs by stage."""
    labels = plan.config("tree", TreeConfig).leaves
    teachers = [plan.network(f"teacher{n}", labels) for n in range(1, plan.teachers + 1)]
    students = [plan.network(name, labels) for name in ("student", "hard-student")]
    return {
        1: _download(plan),
        2: _features(plan),
        3: _gmm(plan, plan.config("flat_start", FlatStartConfig).training),
        4: _tied(plan),
        5: _training(plan, teachers),
        6: _students(plan, teachers, students),
        7: _decoding(plan, teachers, students),
        8: _rescoring(plan),
    }


def _download(plan: Plan) -> Cost:
    if plan.corpus is not None:
        return Cost(0.0)
    names = [*plan.parts["train"], *plan.parts["dev"], *plan.parts["test"], "lexicon", *plan.models]
    size = sum(file.size for name in names for file in CATALOGUE[plan.name][name].files)
    return Cost(size / LINK / 3600, size=size)


def _features(plan: Plan) -> Cost:
    own = sum(plan.hours.values())
    hours = own / float(plan.rates["rates"]["features"])
    hours += 2 * plan.hours["train"] / float(plan.rates["rates"]["perturbed_features"])
    spec = plan.config("features", FeatsConfig).spec
    dims = spec.num_ceps if spec.kind == "mfcc" else spec.num_mel
    return Cost(hours / plan.nj, size=FLOAT * dims * sum(map(plan.frames, plan.hours)))


def _gmm(plan: Plan, config: TrainingConfig) -> Cost:
    """One process trains on a part, all align the whole; an alignment has a number a frame."""
    frames = plan.frames("train")
    part = min(frames, config.max_frames)
    passes = sum(
        i <= config.realign_always or i % config.realign_every == 0
        for i in range(1, config.iterations)
    )
    hours = part * (passes / plan.rate("alignment") + config.iterations / plan.rate("reestimation"))
    return Cost(hours + frames / plan.rate("alignment") / plan.nj, size=FLOAT * frames)


def _tied(plan: Plan) -> Cost:
    gmm = _gmm(plan, plan.config("tied_gmm", TrainGmmConfig).training)
    frames = plan.frames("train")
    others = plan.frames("dev") + plan.frames("test")
    # Statistics of contexts are sums over all frames, as one re-estimation is.
    hours = (frames / plan.rate("reestimation") + others / plan.rate("alignment")) / plan.nj
    hours += _ngrams(plan, plan.models[0]) / plan.rate("graph_ngrams")
    size = _ngrams(plan, plan.models[0]) * float(plan.rates["rates"]["graph_bytes"])
    # The alignment converted, and that of the new states.
    return Cost(gmm.hours + hours, size=2 * gmm.size + FLOAT * others + size)


def _ngrams(plan: Plan, model: str) -> float:
    """Of a language model, by the size of its packed file."""
    size = sum(file.size for file in CATALOGUE[plan.name][model].files)
    return size / float(plan.rates["rates"]["arpa_bytes"])


def _training(plan: Plan, networks: Sequence[Network]) -> Cost:
    """$nj at a time, the longest at the end at worst; beside each model are its states of training.

    A model is kept twice, best and last.
    """
    # Without a measured one: the backward pass costs twice the forward one.
    gpu = plan.rates.get("gpu", {}).get("training", {"tdnn": GPU / 3})
    work = [plan.frames("train") * one.config.epochs * one.cost for one in networks]
    pairs = list(zip(work, networks, strict=True))
    each = [amount / one.rate(plan.rates["training"]) for amount, one in pairs]
    gpu_hours = plan.seeds * sum(amount / one.rate(gpu) for amount, one in pairs)
    hours = max(plan.seeds * sum(each) / plan.nj, max(each))
    return Cost(hours, gpu_hours, 2 * plan.seeds * sum(one.size for one in networks))


def _forward(plan: Plan, networks: Sequence[Network]) -> float:
    """Hours a frame."""
    return sum(one.cost / one.rate(plan.rates["forward"]) for one in networks)


def _students(plan: Plan, teachers: Sequence[Network], students: Sequence[Network]) -> Cost:
    frames = plan.seeds * plan.frames("train")
    dump = frames * (_forward(plan, teachers) + 1 / plan.rate("targets"))
    learning = _training(plan, students)
    assert learning.gpu_hours is not None
    size = frames * float(plan.rates["rates"]["target_bytes"]) + learning.size
    return Cost(dump / min(plan.nj, plan.seeds) + learning.hours, learning.gpu_hours, size)


def _decoding(plan: Plan, teachers: Sequence[Network], students: Sequence[Network]) -> Cost:
    """Every system searches the test sets and dev once, and dev at every point of the grid."""
    grid = plan.config("decode", DecodeConfig).grid
    points = len(grid.acoustic_scale) * len(grid.prior_scale) * len(grid.insertion_penalty)
    finer = min(3, len(grid.acoustic_scale)) * min(3, len(grid.insertion_penalty)) - 1
    dev = 360_000 * plan.hours["dev"] * plan.tune_share
    searched = dev * (1 + points + grid.rounds * finer) + plan.frames("test")
    scored = dev * (2 + grid.rounds) + plan.frames("test")
    # gmm, teachers, ensemble, two students, the student in 8 bits
    systems = 1 + plan.seeds * (plan.teachers + 4)
    each = [*teachers, *teachers, *students, students[0]]
    hours = systems * searched / (100 * plan.rate("search"))
    hours += plan.seeds * scored * _forward(plan, each)
    return Cost(hours / min(plan.nj, systems))


def _rescoring(plan: Plan) -> Cost:
    """Every system reads both models once for each test set."""
    systems = 1 + plan.seeds * (plan.teachers + 4)
    ngrams = sum(_ngrams(plan, model) for model in plan.models)
    hours = systems * len(plan.parts["test"]) * ngrams / plan.rate("arpa_ngrams")
    return Cost(hours / min(plan.nj, systems))


def told(stage: int, cost: Cost, plan: Plan) -> str:
    """A line for people."""
    parts = []
    if stage == 1 and cost.size:
        parts.append(
            f"{cost.size / 1e9:.1f} GB to fetch ({_time(cost.hours)} at {8 * LINK / 1e6:.0f} "
            f"Mbit/s), up to as much again while archives are unpacked"
        )
    elif cost.hours:
        cores = f"{plan.nj} core{'s' * (plan.nj > 1)}"
        parts.append(f"{_time(cost.hours)} on {cores}")
        if cost.gpu_hours is not None:
            parts[-1] += f", or {_number(cost.gpu_hours)} GPU-hours"
        if cost.size:
            parts.append(f"{_number(cost.size / 1e9)} GB")
    return "; ".join(parts)


def _time(hours: float) -> str:
    return f"{_number(hours)} hours" if hours >= 1 else f"{_number(60 * hours)} minutes"


def _number(value: float) -> str:
    """Two digits that count."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def sources(plan: Plan) -> str:
    """Where the figures come from."""
    gpu = plan.rates.get("gpu")
    device = gpu["machine"] if gpu else f"a GPU of {2 * GPU / 1e12:.0f} TFLOP/s is assumed"
    return (
        f"{plan.hours['train']:.3g} hours of speech at {SPEEDS} speeds to train on; rates of "
        f"{plan.rates['machine']}, by tools/measure_rates.py; searched: a language of "
        f"{plan.rates['language']}; {device}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=["librispeech", "mini_librispeech"])
    for name in ("train", "dev", "test"):
        parser.add_argument(f"--{name}", nargs="*", default=[], metavar="PART")
    parser.add_argument("--models", nargs=2, required=True, metavar=("SMALL", "LARGE"))
    for name in ("nj", "seeds", "teachers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--tune-share", type=float, default=1.0)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--set", default="", help="lines of NAME:KEY=VALUE")
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--rates", type=Path, required=True)
    given = parser.parse_args()
    plan = Plan(
        given.name, {name: getattr(given, name) for name in ("train", "dev", "test")},
        given.models, given.nj, given.seeds, given.teachers, given.tune_share, given.configs,
        given.set.splitlines(), given.corpus, json.loads(given.rates.read_text()),
    )  # fmt: skip
    print(f"0\t{sources(plan)}")
    for stage, cost in estimate(plan).items():
        print(f"{stage}\t{told(stage, cost, plan)}")


if __name__ == "__main__":
    main()
