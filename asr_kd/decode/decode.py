"""The stage `decode`: models, features and a graph in; words, word errors and frame accuracy out.

A system of one network, an ensemble or a GMM goes the same way: its scores, scaled, through the
graph. A path that does not end in a final state is partial; its words are kept, and its utterance
is named in `partial.txt` and counted in every table.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.artefact import Artefact, hash_input, read_manifest
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import DecodeConfig, Scales
from asr_kd.decode.system import FrameScores, Setup, Timer, open_system
from asr_kd.decode.tune import best, grid_report, search_points, tune, warn_at_edge
from asr_kd.errors import InputError
from asr_kd.features.reader import read_spec
from asr_kd.io.ark import Archive
from asr_kd.io.atomic import write_text
from asr_kd.io.table import write_table
from asr_kd.labels.label_set import LabelSet
from asr_kd.score.result import score, write_score
from asr_kd.score.text import write_text as write_kaldi_text
from asr_kd.shards import run_shards, split

_logger = logging.getLogger("asr_kd.decode")


def decode(
    models: Sequence[str],
    data: Path,
    graph: Path,
    out: Path,
    config: DecodeConfig,
    *,
    tune_on: Path | None = None,
    scales_from: Path | None = None,
    ali: Path | None = None,
    mean: str = "arithmetic",
    nj: int = 1,
) -> None:
    """Decodes a feature directory.

    Args:
        models: one model, or several that are averaged; `MODEL` or `MODEL=FEATURE_DIRECTORY`.
        data: feature directory; with `text` the hypotheses are scored.
        graph: output of `make-graph`.
        out: decode directory to publish.
        config: search, scales and grid.
        tune_on: feature directory of dev data on which the scales are tuned.
        scales_from: decode directory whose scales are taken.
        ali: alignment of `data` against which frame accuracy is measured.
        mean: how the models' posteriors are averaged.
        nj: local processes.

    Raises:
        InputError: for faults of the inputs, all together, before any decoding.
    """
    chosen = [x for x in (tune_on, scales_from, config.scales) if x is not None]
    if len(chosen) > 1:
        raise InputError("give one of --tune-on, --scales-from and scales.…=… , not several")
    inputs: dict[str, Path | str] = {"data": data, "graph": graph}
    optional = {"tune_on": tune_on, "scales_from": scales_from, "ali": ali}
    inputs |= {name: path for name, path in optional.items() if path is not None}
    for i, model in enumerate(models):
        # MODEL=DATA: both sides are inputs.
        hashes = [hash_input(Path(part)) for part in model.split("=")]
        inputs[f"model{i}"] = "=".join(hashes)
    artefact = Artefact(out, "decode", {**config_dict(config), "mean": mean}, inputs)
    if artefact.is_done():
        return
    setup = Setup(tuple(models), data, graph, mean, config.beam, config.max_active)
    test, dev = _checked(setup, tune_on, ali)
    fixed = config.scales or Scales()
    if scales_from is not None:
        fixed = _read_scales(scales_from)
    work = artefact.begin()

    tried: dict[Scales, tuple[int, int]] = {}
    if dev is not None:
        dev_text = {utt_id: words.split() for utt_id, words in dev.text.items()}
        dev_setup = replace(setup, data=dev.path)
        shards = split(dev.utt_ids, config.shard_size)
        search = partial(partial, search_points, dev_setup, dev_text)
        found = tune(work, config.grid, search, shards, nj)
        if found is None:
            return
        tried, fixed = found, best(found)
        warn_at_edge(config.grid, fixed)
        _logger.info("scales tuned on %s: %s", dev.path, config_dict(fixed))

    shards = split(test.utt_ids, config.shard_size)
    sizes = [len(shard) for shard in shards]
    work_on = partial(decode_shard, setup, fixed, ali)
    facts = run_shards(work, work_on, shards, nj, "decode", sizes)
    if facts is None:
        return
    source = str(tune_on or scales_from or "configuration")
    how = "tuned on" if tune_on else "taken from"
    scales = {**config_dict(fixed), "source": f"{how} {source}"}
    if dev is not None:
        scales["grid"] = grid_report(tried, sum(map(len, dev_text.values())))
    write_text(work / "scales.json", json.dumps(scales, indent=2) + "\n")
    info = _write_results(work, setup, test, ali, facts)
    for folder in work.glob("tune*"):
        shutil.rmtree(folder)
    artefact.publish({**info, "scales": config_dict(fixed), "models": list(models)})


def _checked(
    setup: Setup, tune_on: Path | None, ali: Path | None
) -> tuple[DataDir, DataDir | None]:
    """Reads the data directories and holds all inputs against one another."""
    faults: list[str] = []
    found: list[DataDir] = []
    for path, require in (
        (setup.data, ("feats", "utt2spk")),
        *([(tune_on, ("feats", "text"))] if tune_on else []),
    ):
        try:
            found.append(DataDir.read(path, require=require))
        except InputError as error:
            faults += error.faults
    label_sets: dict[str, LabelSet] = {}
    for folder in (setup.graph, *([ali] if ali else [])):
        try:
            label_sets[str(folder)] = LabelSet.load(folder / "labels.json")
        except InputError as error:
            faults += error.faults
    for name in ("HCLG.fst", "words.txt"):
        if not (setup.graph / name).is_file():
            faults.append(f"{setup.graph}: no {name}; expected the output of `asr-kd make-graph`")
    if faults:
        raise InputError(faults)
    for name, label_set in label_sets.items():
        try:
            open_system(setup).scorer.label_set.require_same(label_set, setup.models[0], name)
        except InputError as error:
            faults += error.faults
    if ali is not None and not set(found[0].utt_ids) & set(Archive.read(ali / "ali.scp")):
        faults.append(
            f"{ali}: aligns none of the {len(found[0].utt_ids)} utterances of {setup.data}"
        )
    if faults:
        raise InputError(faults)
    return found[0], found[1] if tune_on else None


def _read_scales(folder: Path) -> Scales:
    read_manifest(folder, "decode")
    stored = json.loads((folder / "scales.json").read_text(encoding="utf-8"))
    return Scales(**{name: stored[name] for name in Scales.model_fields})


def decode_shard(
    setup: Setup, scales: Scales, ali: Path | None, k: int, utt_ids: Sequence[str]
) -> dict[str, Any]:
    """Decodes some utterances; one shard's work.

    Returns:
        `hyp`: utterance id → words; `partial`: ids of partial paths; `frames`: utterance id →
        frame figures, where there is an alignment; `num_frames`; `seconds`: CPU time by kind.
    """
    system = open_system(setup)
    alignments = Archive.read(ali / "ali.scp") if ali is not None else {}
    timer = Timer()
    hyp: dict[str, list[str]] = {}
    frames: dict[str, dict[str, float]] = {}
    unfinished: list[str] = []
    num_frames = 0
    for utt_id in utt_ids:
        with timer.measure("forward"):
            scores = system.frame_scores(utt_id)
        with timer.measure("search"):
            words, complete = system.search(utt_id, scores, scales)
        num_frames += len(scores.scores)
        hyp[utt_id] = words
        if not complete:
            unfinished.append(utt_id)
        # A GMM's log-likelihoods without transition context say nothing about frame accuracy.
        if utt_id in alignments and scores.log_prior is not None:
            frames[utt_id] = frame_figures(utt_id, scores, alignments[utt_id])
    return {
        "hyp": hyp, "partial": unfinished, "frames": frames,
        "num_frames": num_frames, "seconds": timer.seconds,
    }  # fmt: skip


def frame_figures(utt_id: str, scores: FrameScores, pdf_ids: np.ndarray) -> dict[str, float]:
    """Frames, correct frames and summed cross-entropy (nats) against an alignment.

    Raises:
        InputError: if alignment and features differ in length, or a pdf-id is not in the label set.
    """
    log_post = scores.scores
    if len(pdf_ids) != len(log_post):
        raise InputError(
            f"{utt_id}: {len(pdf_ids)} frames aligned, {len(log_post)} scored; the alignment was "
            f"made on other features"
        )
    if len(pdf_ids) and not 0 <= pdf_ids.min() <= pdf_ids.max() < log_post.shape[1]:
        raise InputError(f"{utt_id}: pdf-id {pdf_ids.max()} of {log_post.shape[1]} labels")
    picked = log_post[np.arange(len(pdf_ids)), pdf_ids]
    return {
        "frames": len(pdf_ids),
        "correct": int((log_post.argmax(axis=1) == pdf_ids).sum()),
        "cross_entropy": float(-picked.sum(dtype=np.float64)),
    }


def _write_results(
    work: Path,
    setup: Setup,
    test: DataDir,
    ali: Path | None,
    facts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes everything but the scales; returns what the manifest says about it."""
    hyp = {utt_id: words for fact in facts for utt_id, words in fact["hyp"].items()}
    unfinished = sorted(utt_id for fact in facts for utt_id in fact["partial"])
    write_kaldi_text(work / "hyp", hyp)
    write_table(work / "utt2spk", test.utt2spk)
    write_text(work / "partial.txt", "".join(f"{utt_id}\n" for utt_id in unfinished))
    if unfinished:
        _logger.warning(
            "%d of %d utterances ended in a partial path (a wider beam may complete them); "
            "listed in partial.txt", len(unfinished), len(hyp),
        )  # fmt: skip
    num_frames = sum(fact["num_frames"] for fact in facts)
    audio_seconds = num_frames * read_spec(setup.data).frame_shift / 1000
    spent = {k: sum(fact["seconds"].get(k, 0.0) for fact in facts) for k in ("forward", "search")}
    info: dict[str, Any] = {
        "utterances": len(hyp),
        "partial": len(unfinished),
        "params": open_system(setup).scorer.num_params,
        "audio_seconds": audio_seconds,
        # CPU seconds per second of speech: what one core needs.
        "rtf": {kind: seconds / audio_seconds for kind, seconds in spent.items()},
    }
    if test.text:
        ref = {utt_id: words.split() for utt_id, words in test.text.items()}
        write_kaldi_text(work / "ref", ref)
        result = score(ref, hyp, test.utt2spk)
        write_score(result, work, {"partial": len(unfinished)})
        info["wer"] = result.to_dict()["wer"]
        _logger.info("word error rate %.2f%% [%.2f, %.2f], %d of %d words; %d partial paths",
                     100 * result.corpus.wer, *(100 * end for end in result.interval),
                     result.corpus.errors, result.corpus.words, len(unfinished))  # fmt: skip
    frames = {utt_id: one for fact in facts for utt_id, one in fact["frames"].items()}
    if frames and ali is not None:
        content = {"ali": hash_input(ali), "utterances": dict(sorted(frames.items()))}
        write_text(work / "frames.json", json.dumps(content, indent=1) + "\n")
        info["unaligned"] = len(hyp) - len(frames)
        correct, count = (sum(one[k] for one in frames.values()) for k in ("correct", "frames"))
        info["frame_accuracy"] = correct / count
        _logger.info("frame accuracy %.2f%% of %d frames; %d utterances without an alignment",
                     100 * correct / count, count, info["unaligned"])  # fmt: skip
    return info
