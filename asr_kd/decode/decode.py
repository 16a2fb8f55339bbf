"""The stage `decode`: models, features and a graph in; words, word errors and frame accuracy out.

A system of one network, an ensemble or a GMM goes the same way: its scores, scaled, through the
graph. A path that does not end in a final state is partial; its words are kept, and its utterance
is named in `partial.txt` and counted in every table.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.artefact import Artefact
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.decode.config import DecodeConfig, Scales, default_scales, read_scales
from asr_kd.decode.labelled import read_alignment
from asr_kd.decode.nbest import Candidate, Keep
from asr_kd.decode.results import frame_figures, write_results
from asr_kd.decode.system import Setup, Timer, open_system
from asr_kd.decode.tune import best, grid_report, search_points, tune, warn_at_edge
from asr_kd.decode.unit_decoder import has_graph, is_ctc, read_unit_lm, search_faults
from asr_kd.ensemble.average import Mean, mean_weights
from asr_kd.ensemble.scorer import scorer_digest
from asr_kd.ensemble.teachers import own_features
from asr_kd.ensemble.weights import WeightsFrom, weighed_specs
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import Units
from asr_kd.search.open_graph import missing_files
from asr_kd.shards import rank_and_world, run_shards, split

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
    mean: Mean = "arithmetic",
    weights: WeightsFrom | Sequence[float] | None = None,
    nj: int = 1,
    trust: bool = False,
    keep: Keep | None = None,
    lm: Path | None = None,
) -> None:
    """Decodes a feature directory.

    Args:
        models: one model, or several that are averaged; `MODEL`, `MODEL=FEATURE_DIRECTORY`, or
            `bundle:NAME=UNITS` of torchaudio.
        data: feature directory; with `text` the hypotheses are scored.
        graph: output of `make-graph` or `make-ctc-graph`, or a folder of units, with which CTC
            models are searched without a graph.
        out: decode directory to publish.
        config: search, scales and grid.
        tune_on: feature directory of dev data on which the scales are tuned.
        scales_from: decode directory whose scales are taken.
        ali: alignment of `data` against which frame accuracy is measured.
        mean, weights: how the models' posteriors are averaged; weights are a number for each, or
            come from `weigh-teachers`.
        nj: local processes.
        trust: whether programs that can run any code may be loaded.
        keep: how long n-best lists are kept for `rescore`; None for none.
        lm: language model of units, for the search of prefixes without a graph.

    Raises:
        InputError: for faults of the inputs, all together, before any decoding.
    """
    faults = search_faults(graph, config, lm, tune_on is not None, keep is not None)
    _refuse_contradictions(models, data, config, tune_on, scales_from, faults)
    ctc = is_ctc(graph)
    config = config.for_ctc(weighed=has_graph(graph) or lm is not None) if ctc else config
    average: dict[str, Any] = {"mean": mean}
    if keep is not None:
        average["nbest"] = keep._asdict()
    shares: tuple[float, ...] | None = None
    if weights is not None:
        models, shares = weighed_specs(models, data, weights, mean, trust)
        average["weights"] = mean_weights(shares, len(models))
    inputs: dict[str, Path | str] = {"data": data, "graph": graph}
    optional = {"tune_on": tune_on, "scales_from": scales_from, "ali": ali, "lm": lm}
    inputs |= {name: path for name, path in optional.items() if path is not None}
    inputs |= {f"model{i}": scorer_digest(model, data) for i, model in enumerate(models)}
    artefact = Artefact(out, "decode", {**config_dict(config), **average}, inputs)
    if artefact.is_done():
        return
    open_system.cache_clear()  # the files may be others than in this process's last call
    setup = Setup(tuple(models), data, graph, mean, config.beam, config.max_active, shares,
                  trust, keep, config.units, lm)  # fmt: skip
    test, dev = _checked(setup, tune_on, ali)
    fixed = config.scales or default_scales(ctc)
    report: dict[str, Any] = {"source": "given" if config.scales else "defaults"}
    if scales_from is not None:
        fixed, report = read_scales(scales_from, Scales), {"source": f"taken from {scales_from}"}
    work = artefact.begin()
    shards = split(test.utt_ids, config.shard_size)
    try:
        if dev is not None:
            fixed, report = _tuned(work, setup, dev, config, nj)
        work_on = partial(decode_shard, setup, fixed, ali)
        facts = run_shards(work, work_on, shards, nj, "decode", [len(shard) for shard in shards])
    except FileNotFoundError:
        if rank_and_world()[0] == 0 or work.exists():
            raise
        return  # nothing was left for this process, and rank 0 has published
    if facts is None:
        return
    scales = {**config_dict(fixed), **report}
    write_text(work / "scales.json", json.dumps(scales, indent=2) + "\n")
    info = write_results(work, out, setup, fixed, test, ali, facts)
    for folder in work.glob("tune*"):
        shutil.rmtree(folder)
    artefact.publish({**info, "scales": config_dict(fixed), "models": list(models)})


def _refuse_contradictions(
    models: Sequence[str],
    data: Path,
    config: DecodeConfig,
    tune_on: Path | None,
    scales_from: Path | None,
    faults: list[str],
) -> None:
    if sum(given is not None for given in (tune_on, scales_from, config.scales)) > 1:
        faults.append("give one of --tune-on, --scales-from and scales.*=, not several")
    own = list(own_features(models))
    if own and tune_on is not None and tune_on.resolve() != data.resolve():
        faults.append(
            f"{own[0]}: its features are not those of {tune_on}; decode the dev data first (with "
            f"the model's dev features, --data and --tune-on {tune_on}), then use --scales-from"
        )
    if faults:
        raise InputError(faults)


def _tuned(
    work: Path, setup: Setup, dev: DataDir, config: DecodeConfig, nj: int
) -> tuple[Scales, dict[str, Any]]:
    """The best scales on dev data, and where they come from."""
    words_of = {utt_id: words.split() for utt_id, words in dev.text.items()}
    text = open_system(setup).normaliser.apply(words_of).text
    search = partial(partial, search_points, replace(setup, data=dev.path), text)
    tried = tune(work, config.grid, search, split(dev.utt_ids, config.shard_size), nj)
    chosen = best(tried)
    warn_at_edge(config.grid, chosen)
    _logger.info("scales tuned on %s: %s", dev.path, config_dict(chosen))
    words = sum(map(len, text.values()))
    return chosen, {"source": f"tuned on {dev.path}", "grid": grid_report(tried, words)}


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
    faults += _graph_faults(setup)
    if faults:
        raise InputError(faults)
    for name, label_set in label_sets.items():
        try:
            open_system(setup).scorer.label_set.require_same(label_set, setup.models[0], name)
        except InputError as error:
            faults += error.faults
    if ali is not None:
        try:
            if not set(found[0].utt_ids) & set(read_alignment(ali, label_sets[str(ali)])):
                faults.append(
                    f"{ali}: aligns none of the {len(found[0].utt_ids)} utterances of {setup.data}"
                )
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return found[0], found[1] if tune_on else None


def _graph_faults(setup: Setup) -> list[str]:
    if has_graph(setup.graph):
        return missing_files(setup.graph)
    try:
        units = Units.read(setup.graph)
        if setup.lm is not None:
            read_unit_lm(setup.lm, units)
    except InputError as error:
        return error.faults
    return []


def decode_shard(
    setup: Setup, scales: Scales, ali: Path | None, k: int, utt_ids: Sequence[str]
) -> dict[str, Any]:
    """Decodes some utterances; one shard's work.

    Returns:
        `hyp`: utterance id → words; `partial`: ids of partial paths; `frames`: utterance id →
        frame figures, where there is an alignment; `num_frames`; `seconds`: CPU time by kind;
        `nbest`: utterance id → candidates, where they are kept.
    """
    system = open_system(setup)
    alignments = Archive.read(ali / "ali.scp") if ali is not None else {}
    timer = Timer()
    hyp: dict[str, list[str]] = {}
    frames: dict[str, dict[str, float]] = {}
    lists: dict[str, list[Candidate]] = {}
    unfinished: list[str] = []
    num_frames = 0
    for utt_id in utt_ids:
        with timer.measure("forward"):
            scores = system.frame_scores(utt_id)
        with timer.measure("search"):
            words, complete = system.search(utt_id, scores, scales)
        if setup.keep is not None:
            with timer.measure("nbest"):
                lists[utt_id] = system.nbest(utt_id, scores, scales, setup.keep)
        num_frames += len(scores.scores)
        hyp[utt_id] = words
        if not complete:
            unfinished.append(utt_id)
        # A GMM's log-likelihoods without transition context say nothing about frame accuracy.
        if utt_id in alignments and scores.log_prior is not None:
            pdf_ids = np.asarray(alignments[utt_id], np.int32)
            frames[utt_id] = frame_figures(utt_id, scores, pdf_ids)
    return {
        "hyp": hyp, "partial": unfinished, "frames": frames,
        "num_frames": num_frames, "seconds": timer.seconds, "nbest": lists,
    }  # fmt: skip
