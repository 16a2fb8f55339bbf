"""How fast this machine does what the recipes do: the rates behind the estimates of --dry-run.

    OMP_NUM_THREADS=1 python tools/measure_rates.py --out recipes/librispeech/rates.json

Made-up speech, languages and networks of the recipe's sizes; each rate is that of one core, in the
process's own seconds, so that other programs on the machine count little. A GPU is measured where
there is one.
"""

import argparse
import gzip
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import kaldifst
import numpy as np
import torch
from bench_graph import random_tying, write_arpa, write_dictionary
from numpy.typing import NDArray
from torch.nn import functional

from asr_kd.align.viterbi import Aligner, SearchConfig
from asr_kd.artefact import read_manifest
from asr_kd.config import load_config
from asr_kd.ensemble.average import average
from asr_kd.ensemble.codec import Keep, make_codec
from asr_kd.features.extract import extract
from asr_kd.features.make_feats import FeatsConfig
from asr_kd.io.atomic import write_text
from asr_kd.io.audio import read_audio, resample, write_flac
from asr_kd.labels.gmm import DiagGmms
from asr_kd.labels.gmm_training import reestimate
from asr_kd.labels.lang import Lang
from asr_kd.models.base import AcousticModel
from asr_kd.models.build import build_model
from asr_kd.models.multiply_adds import multiply_adds
from asr_kd.search.needed_ngrams import read_needed
from asr_kd.search.open_graph import OpenGraph
from asr_kd.search.stages import GraphConfig, LangConfig, make_graph, prepare_lang
from asr_kd.train.config import TrainConfig

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "librispeech"
NETWORKS = {"tdnn": "teacher", "blstm": "teacher2", "dnn": "teacher3"}
DIMS, DELTAS, LABELS, GAUSSIANS = 13, 39, 4000, 40_000
RATE, SECONDS = 16_000, 12  # of an utterance
FRAMES = 100 * SECONDS
WORDS = 35  # that are said in it
PEAK, NOISE = 5.0, 1.3
"""Planted scores: noise of this deviation, and this much on the true label; 3 of 5 frames right."""


def seconds(
    work: Callable[[], object], least: float = 2.0, device: torch.device | None = None
) -> float:
    """Seconds of one call, of as many as take `least` together; one before.

    The process's own on a CPU, all that passes where a GPU works.
    """
    on_gpu = device is not None and device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    work()
    started, calls = clock(), 0
    while clock() - started < least:
        work()
        if on_gpu:
            torch.cuda.synchronize()
        calls += 1
    return (clock() - started) / calls


def measure_features(folder: Path, rng: np.random.Generator) -> dict[str, float]:
    """Seconds of speech a second: FLAC to cepstra, at its own speed and at another."""
    loudness = np.clip(np.sin(np.arange(SECONDS * RATE) / RATE * 9), 0.001, None)
    noise = np.convolve(rng.standard_normal(SECONDS * RATE), np.ones(8) / 8, "same")
    write_flac(folder / "x.flac", (3000 * loudness * noise).astype(np.int16), RATE)
    spec = load_config(FeatsConfig, CONFIGS / "features.yaml").spec

    def at(speed: float) -> None:
        samples, _ = read_audio(folder / "x.flac")
        extract(samples if speed == 1 else resample(samples, RATE, RATE, speed), spec, seed=0)

    return {
        "features": SECONDS / seconds(lambda: at(1.0)),
        "perturbed_features": SECONDS / seconds(lambda: at(0.9)),
    }


def equal_path(aligner: Aligner, utt: str) -> NDArray[np.int32]:
    """(FRAMES,) labels of a path through a transcript whose states last equally long."""
    found, path = kaldifst.equal_align(aligner.graph(utt), FRAMES, 0, 100)
    assert found, "a transcript of more frames than an utterance has"
    return np.array(kaldifst.get_linear_symbol_sequence(path)[1], np.int32) - 1


def measure_gmms(lang: Lang, rng: np.random.Generator) -> dict[str, float]:
    """Frames a second: an alignment of a transcript by 10 Gaussians a label, and re-estimation."""
    each = GAUSSIANS // LABELS
    labels = len(lang.label_set)
    means = rng.standard_normal((labels * each, DELTAS)).astype(np.float32)
    weights = np.full(labels * each, 1 / each, np.float32)
    gmms = DiagGmms(np.arange(labels) * each, weights, means, np.ones_like(means))
    words = len(lang.lexicon.words) // 10
    utts = {str(n): rng.integers(1, 1 + words, WORDS).tolist() for n in range(8)}
    aligner = Aligner(lang, SearchConfig(), utts)
    feats = []
    for utt in utts:
        planted_at = means[each * equal_path(aligner, utt)]
        feats.append(planted_at + rng.standard_normal(planted_at.shape).astype(np.float32))
    many = np.concatenate(feats * 5)
    pdf_ids = np.sort(rng.integers(0, labels, len(many))).astype(np.int32)
    numbers = iter(range(10**9))

    def align() -> None:
        n = next(numbers) % len(utts)
        found = aligner.align(str(n), gmms.log_likes(feats[n], aligner.labels(str(n))))
        assert found.pdf_ids is not None
        assert not found.retried

    floor = np.full(DELTAS, 0.01, np.float32)
    return {
        "alignment": FRAMES / seconds(align),
        "reestimation": len(many) / seconds(lambda: reestimate(gmms, many, pdf_ids, floor)),
    }


def measure_networks(device: torch.device) -> dict[str, dict[str, float]]:
    """Multiply-adds of the forward pass a second, by kind: in training, and forward alone."""
    rates: dict[str, dict[str, float]] = {"training": {}, "forward": {}}
    for kind, name in NETWORKS.items():
        config = load_config(TrainConfig, CONFIGS / f"{name}.yaml")
        model = build_model(config.model, DIMS, LABELS)
        cost = FRAMES * multiply_adds(model)
        rows = config.max_frames // FRAMES if device.type == "cuda" else 4
        for rate, used in zip(rates, measure_network(model.to(device), rows), strict=True):
            rates[rate][kind] = rows * cost / used
    return rates


def measure_network(model: AcousticModel, rows: int) -> tuple[float, float]:
    """Seconds of a step of training and of a forward pass, of so many utterances."""
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters())
    feats = torch.randn(rows, FRAMES, DIMS, device=device)
    lengths = torch.full((rows,), FRAMES, device=device)
    pdf_ids = torch.randint(LABELS, (rows * FRAMES,), device=device)

    def step() -> None:
        optimizer.zero_grad()
        logits, _ = model(feats, lengths)
        functional.cross_entropy(logits.flatten(0, 1), pdf_ids).backward()
        optimizer.step()

    @torch.no_grad()
    def forward() -> None:
        model(feats, lengths)[0].log_softmax(-1)

    return seconds(step, device=device), seconds(forward, device=device)


def planted(
    rng: np.random.Generator, pdf_ids: NDArray[np.integer], labels: int
) -> NDArray[np.float32]:
    """Log-posteriors (T,V) that are right on about 3 of 5 frames."""
    scores = NOISE * rng.standard_normal((len(pdf_ids), labels))
    scores[np.arange(len(pdf_ids)), pdf_ids] += PEAK
    return (scores - np.log(np.exp(scores).sum(1, keepdims=True))).astype(np.float32)


def measure_targets(rng: np.random.Generator) -> dict[str, float]:
    """Frames a second that are averaged over three teachers and encoded, and bytes of a frame."""
    codec = make_codec(Keep.parse("mass=0.99,cap=64"), LABELS)
    posts = [torch.from_numpy(planted(rng, rng.integers(0, LABELS, FRAMES), LABELS))] * 3
    arrays = codec.encode(average(posts, None, "arithmetic", 2.0))
    size = sum(array.nbytes for array in arrays.values()) / FRAMES
    work = seconds(lambda: codec.encode(average(posts, None, "arithmetic", 2.0)))
    return {"targets": FRAMES / work, "target_bytes": size}


def measure_search(
    folder: Path, words: int, ngrams: tuple[int, int], rng: np.random.Generator
) -> tuple[dict[str, float], Lang]:
    """The graph of a large language and what is done with it."""
    names = write_dictionary(folder / "dict", words, rng)
    counts = write_arpa(folder / "lm.arpa", names, *ngrams, rng)
    prepare_lang(folder / "dict", folder / "lang", LangConfig())
    lang = Lang.read(folder / "lang")
    lang = replace(lang, tying=random_tying(lang, "triphone", LABELS, rng))
    lang.write(folder / "tied")
    started = time.process_time()
    make_graph(folder / "tied", folder / "lm.arpa", folder / "graph", GraphConfig())
    made = time.process_time() - started
    labels, total = len(lang.label_set), sum(counts)
    sentences = [rng.integers(1, 1 + words // 10, WORDS).tolist() for _ in range(6)]
    aligner = Aligner(lang, SearchConfig(), {str(n): s for n, s in enumerate(sentences)})
    scores = []
    for n in range(len(sentences)):
        scores.append(np.float32(0.1) * planted(rng, equal_path(aligner, str(n)), labels))
    graph = OpenGraph(folder / "graph", labels, 13.0, 7000)
    graph.search(scores[0], 0.0, "warm-up")
    numbers = iter(range(10**9))
    search = seconds(lambda: graph.search(scores[next(numbers) % len(scores)], 0.0, "x"), 10)
    spelled = {tuple(names[w - 1] for w in sentence) for sentence in sentences}
    packed = folder / "lm.arpa.gz"
    packed.write_bytes(gzip.compress((folder / "lm.arpa").read_bytes()))
    info = read_manifest(folder / "graph", "make-graph").info
    return {
        "search": SECONDS / search,
        "graph_ngrams": total / made,
        "graph_bytes": (folder / "graph" / "HCLG.fst").stat().st_size / total,
        "graph_arcs": info["arcs"] / total,
        "arpa_ngrams": total / seconds(lambda: read_needed(packed, spelled), 1),
        "arpa_bytes": packed.stat().st_size / total,
    }, lang


def processor() -> str:
    """What the machine calls its processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, one core"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", type=int, default=20_000, help="of the language searched")
    parser.add_argument("--bigrams", type=int, default=200_000)
    parser.add_argument("--trigrams", type=int, default=100_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates, lang = measure_search(
            folder, options.words, (options.bigrams, options.trigrams), rng
        )
        rates |= measure_features(folder, rng)
    rates |= measure_gmms(lang, rng)
    rates |= measure_targets(rng)
    sizes = (options.words, options.bigrams, options.trigrams)
    found = {
        "machine": processor(),
        "language": "{:,} words, {:,} bigrams, {:,} trigrams".format(*sizes),
        "rates": rates,
        **measure_networks(torch.device("cpu")),
    }
    if torch.cuda.is_available():
        gpu = measure_networks(torch.device("cuda"))
        found["gpu"] = {"machine": torch.cuda.get_device_name(), **gpu}
    write_text(options.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
