"""The stage `import-kaldi`: a Kaldi experiment becomes label set, alignments, priors and graph.

The folder that it publishes serves wherever an alignment or a decoding graph is asked for.
"""

import json
import logging
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.align.kaldi_experiment import MODEL, TREE, Experiment, Places, Unnormalised
from asr_kd.artefact import Artefact, hash_file, hash_json
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.io.atomic import write_text
from asr_kd.io.kaldi.alignments import range_fault, read_int_vector, split_phones
from asr_kd.io.kaldi.archive import read_archive
from asr_kd.io.kaldi.fst import write_fst
from asr_kd.io.kaldi.transitions import TransitionModel
from asr_kd.io.table import write_table
from asr_kd.labels.priors import write_priors
from asr_kd.search.kaldi_graph import HCLG, read_graph
from asr_kd.shards import run_shards

VERB = "import-kaldi"
TRANSITIONS = "transition_ids.json"
_logger = logging.getLogger("asr_kd.align")


def import_kaldi(
    experiment: Path,
    out: Path,
    *,
    lang: Path | None = None,
    graph: Path | None = None,
    ali: Path | None = None,
    feats: Path | None = None,
    unnormalised: Unnormalised | None = None,
    nj: int = 1,
) -> None:
    """Publishes labels.json and transition_ids.json, and what else the experiment has.

    With alignments: ali.scp and priors.json (frames of each label). With a graph: HCLG.fst over
    labels, and words.txt.

    Args:
        experiment: folder with final.mdl, tree and, if they are not named, ali.*.gz (or ali/),
            lang/ and graph/.
        out: folder to publish.
        lang: Kaldi's lang folder.
        graph: Kaldi's graph folder.
        ali: Kaldi's alignment folder.
        feats: data directory with features; every alignment must be as long as its features.
        unnormalised: "softmax" lets chain models through.
        nj: local processes, each of which reads one ali.JOB.gz after the other.

    Raises:
        InputError: all faults of model, tree, tables and graph together, before any work; then
            those of all alignments, by utterance.
    """
    places = Places.find(experiment, lang, graph, ali)
    inputs: dict[str, Path | str] = {
        "model": places.experiment / MODEL, "tree": places.experiment / TREE,
        "phones": places.phones,
        "ali": hash_json([hash_file(job) for job in places.jobs]),
    }  # fmt: skip
    if places.graph is not None:
        inputs |= {name: places.graph / name for name in (HCLG, "words.txt")}
    checked = {"topo": (places.lang, "topo"), "ali_model": (places.ali, MODEL)}
    for name, (folder, file) in checked.items():
        if folder is not None and (folder / file).is_file():
            inputs[name] = folder / file
    if feats is not None:
        inputs["feats"] = feats
    config = {"unnormalised": unnormalised, "frame_subsampling_factor": places.subsampling}
    artefact = Artefact(out, VERB, config, inputs)
    if artefact.is_done():
        return
    read, fst, words, faults = None, None, None, []
    try:
        read = Experiment.read(places, unnormalised)
        if places.graph is not None:
            fst, words = read_graph(places.graph, read.transitions)
    except InputError as error:
        faults += error.faults
    try:
        _num_frames(feats)
    except InputError as error:
        faults += error.faults
    if faults or read is None:
        raise InputError(faults)
    _open.cache_clear()
    work = artefact.begin()
    func = partial(_import_job, places, unnormalised, feats, work, artefact.path)
    facts = run_shards(work, func, places.jobs, nj, VERB)
    if facts is None:
        return
    if faults := [fault for fact in facts for fault in fact["faults"]]:
        raise InputError(faults)
    read.label_set.save(work / "labels.json")
    pdf_of = read.transitions.pdf_of.tolist()
    content = {"label_set": read.label_set.digest, "pdf_of": [None, *pdf_of[1:]]}
    write_text(work / TRANSITIONS, json.dumps(content) + "\n")
    info = {"model": read.kind, "label_set": read.label_set.digest, "labels":
            len(read.label_set)}  # fmt: skip
    if fst is not None and words is not None:
        write_fst(work / HCLG, fst)
        write_table(work / "words.txt", words)
        info |= {"states": len(fst.finals), "arcs": len(fst.arcs)}
    if facts:
        info |= _gather(work, facts, read)
    _logger.info("%s: %s", experiment, ", ".join(f"{k} {v}" for k, v in info.items()))
    artefact.publish(info)


@lru_cache(maxsize=1)
def _open(
    places: Places, unnormalised: Unnormalised | None, feats: Path | None
) -> tuple[Experiment, dict[str, int] | None]:
    return Experiment.read(places, unnormalised), _num_frames(feats)


def _num_frames(feats: Path | None) -> dict[str, int] | None:
    """Frames of each utterance's features."""
    if feats is None:
        return None
    data = DataDir.read(feats, require=("feats",))
    if data.num_frames:
        return dict(data.num_frames)
    archive = Archive(data.feats, feats / "feats.scp")
    return {utt: len(archive[utt]) for utt in data.utt_ids}


def _import_job(
    places: Places, unnormalised: Unnormalised | None, feats: Path | None, work: Path,
    published: Path, number: int, job: Path,
) -> dict[str, Any]:  # fmt: skip
    """Reads one ali.JOB.gz; one shard's work.

    Returns:
        `entries`: utterance id → place in the archive; `counts`: frames of each label; `phones`:
        how many; `faults`.
    """
    experiment, num_frames = _open(places, unnormalised, feats)
    transitions, factor = experiment.transitions, places.subsampling
    counts = np.zeros(len(experiment.label_set), np.int64)
    faults: list[str] = []
    name, phones = f"ali.{number}.ark", 0
    with ArkWriter(work / name, published=published / name) as writer:
        for utt_id, tids in read_archive(job, read_int_vector):
            found = _fault(transitions, utt_id, tids, num_frames, factor)
            split = split_phones(transitions, tids) if found is None else None
            if split is None:
                found = found or "no path through the model's HMMs: an alignment of another model?"
                faults.append(f"{job}: {utt_id}: {found}")
                continue
            pdf_ids = transitions.pdf_of[tids].astype(np.int32)
            writer.write(utt_id, pdf_ids)
            counts += np.bincount(pdf_ids, minlength=len(counts))
            phones += len(split.phones)
    return {"entries": writer.scp, "counts": counts.tolist(), "phones": phones, "faults": faults}


def _fault(
    transitions: TransitionModel,
    utt_id: str,
    tids: NDArray[np.int32],
    num_frames: dict[str, int] | None,
    factor: int,
) -> str | None:
    """What is wrong with the numbers or the length of an alignment."""
    if not len(tids):
        return "no frame is aligned"
    if fault := range_fault(transitions, tids):
        return fault
    if num_frames is None:
        return None
    if utt_id not in num_frames:
        return "no features of this utterance"
    if len(tids) == -(-num_frames[utt_id] // factor):
        return None
    by = f" (one label for {factor} frames)" if factor > 1 else ""
    return f"{len(tids)} labels, {num_frames[utt_id]} frames of features{by}"


def _gather(work: Path, facts: list[dict[str, Any]], read: Experiment) -> dict[str, Any]:
    """Writes the alignment's tables; its facts."""
    entries: dict[str, str] = {}
    faults = []
    for fact in facts:
        faults += [f"{utt}: aligned in two jobs" for utt in fact["entries"] if utt in entries]
        entries |= fact["entries"]
    if faults:
        raise InputError(faults)
    counts = np.sum([fact["counts"] for fact in facts], axis=0)
    write_table(work / "ali.scp", entries)
    write_priors(work, counts.tolist(), read.label_set)
    if unseen := int((counts == 0).sum()):
        _logger.warning("%d of %d labels have no frame", unseen, len(counts))
    return {"aligned": len(entries), "frames": int(counts.sum()),
            "phones": sum(fact["phones"] for fact in facts)}  # fmt: skip
