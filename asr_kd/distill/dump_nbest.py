"""The stage `dump-nbest`: teachers in, n-best lists of tokens with their scores out.

Teachers of CTC that spike at different frames have no frame in common to average, but the same
sequences: they search together, each over its own paths, and the probabilities of whole sequences
are averaged. The search keeps a few prefixes only; what it finds is then scored exactly, over all
paths, by every teacher. There is no language model in either.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.distill.ctc import sequence_log_probs
from asr_kd.distill.nbest_lists import VERB, Entry, NbestHeader, write_shard
from asr_kd.distill.nbest_loss import average_scores, nbest_weights
from asr_kd.ensemble.average import Mean, mean_weights
from asr_kd.ensemble.devices import torch_device
from asr_kd.ensemble.dump import teacher_id
from asr_kd.ensemble.teachers import (
    Teacher,
    batches_by_length,
    max_batch_frames,
    open_teachers,
    own_features,
    same_num_frames,
)
from asr_kd.ensemble.weights import WeightsFrom, weighed
from asr_kd.errors import InputError
from asr_kd.labels.units import Units
from asr_kd.search.prefix_beam import PrefixSearch
from asr_kd.shards import run_shards, split

_logger = logging.getLogger("asr_kd.distill")
_SHARD_SIZE = 200  # utterances


@dataclass(frozen=True)
class NbestDump:
    """What is listed; hashable and picklable.

    Attributes:
        teachers: names as `open_teacher` takes them.
        data: feature directory; its utterances are listed, and teachers that name no features of
            their own read it.
        units: folder of units, whose labels the teachers have.
        n: longest list.
        prefixes: that the search keeps after each frame, at least `n`.
        mean: of the teachers' probabilities of sequences, in search and scores; see
            `average_scores`.
        weights: of the teachers, or the rule that gives them; None for equal ones.
        device: where networks run: cpu, cuda, or auto.
        trust: whether programs that can run any code may be loaded.
    """

    teachers: tuple[str, ...]
    data: Path
    units: Path
    n: int = 8
    prefixes: int = 16
    mean: Mean = "arithmetic"
    weights: tuple[float, ...] | WeightsFrom | None = None
    device: str = "auto"
    trust: bool = False


def dump_nbest(dump: NbestDump, out: Path, nj: int = 1) -> None:
    """Searches with all teachers and publishes the lists; see `nbest_lists` for their format.

    Raises:
        InputError: all faults of teachers, units, data and options together, before any work; then,
            naming the utterance, for posteriors that are unusable or of different lengths.
    """
    _open.cache_clear()  # a teacher may have been trained again since this process last opened it
    faults: list[str] = []
    opened: list[Teacher] = []
    try:
        opened = _open(dump.teachers, dump.data, dump.device, dump.trust)
        specs, opened, own_weights = weighed(dump.teachers, opened, dump.weights, dump.mean)
        dump = replace(dump, teachers=specs, weights=own_weights)
    except InputError as error:
        faults += error.faults
    try:
        if not isinstance(dump.weights, WeightsFrom):  # a rule's were looked up, or are a fault
            shares = tuple(mean_weights(dump.weights, len(dump.teachers)))
        labels = Units.read(dump.units).label_set
        if opened:
            labels.require_same(opened[0].label_set, str(dump.units), opened[0].name)
    except InputError as error:
        faults += error.faults
    if not 1 <= dump.n <= dump.prefixes:
        faults.append(f"a list of {dump.n} from {dump.prefixes} prefixes: expected 1 to as many")
    data = DataDir.read(dump.data)
    faults += _utterance_faults(opened, data.utt_ids)
    if faults:
        raise InputError(faults)
    config = {
        "n": dump.n, "prefixes": dump.prefixes, "mean": dump.mean, "weights": list(shares),
        "teachers": list(dump.teachers),
    }  # fmt: skip
    digests = {f"teacher{k}": t.digest for k, t in enumerate(opened, start=1)}
    inputs = {"data": dump.data, "units": dump.units, **digests, **own_features(dump.teachers)}
    artefact = Artefact(out, VERB, config, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    shards = split(data.utt_ids, _SHARD_SIZE)
    sizes = [len(shard) for shard in shards]
    facts = run_shards(work, partial(_dump_shard, dump, work), shards, nj, VERB, sizes)
    if facts is None:
        return
    Units.read(dump.units).write(work)
    files = {_file(k): str(fact["sha256"]) for k, fact in enumerate(facts)}
    teachers = tuple(teacher_id(teacher) for teacher in opened)
    header = NbestHeader(
        label_set=labels.digest,
        teachers=teachers,
        mean=dump.mean,
        weights=shares,
        n=dump.n,
        prefixes=dump.prefixes,
        shards=files,
    )
    header.write(work)
    count = len(data.utt_ids)
    info = {
        "utterances": count,
        "mean_length": sum(fact["entries"] for fact in facts) / count,
        "mean_posterior_of_best": sum(fact["posterior"] for fact in facts) / count,
        "best_of_each_teacher_too": [
            sum(fact["agreed"][m] for fact in facts) / count for m in range(len(opened))
        ],
    }
    _logger.info(
        "%d utterances: %.2f hypotheses a list, the best has %.3f of a list's probability",
        count, info["mean_length"], info["mean_posterior_of_best"],
    )  # fmt: skip
    artefact.publish(info)


def nbest_entries(
    log_posts: Sequence[Tensor], search: PrefixSearch, n: int, weights: Sequence[float]
) -> list[Entry]:
    """The best sequences of one utterance by M teachers together.

    Args:
        log_posts: (T',V) of each teacher.
        search: finds the candidates.
        n: how many are kept at most.
        weights: of the teachers.

    Returns:
        The best first, by their exact scores; none where no sequence is possible.
    """
    stacked = torch.stack([x.double().cpu() for x in log_posts])
    found = [h.tokens for h in search.search(stacked.numpy())]
    if not found:
        return []
    rows = [torch.tensor(tokens, dtype=torch.int64) for tokens in found]
    tokens = pad_sequence(rows, batch_first=True)[None]
    lengths = torch.tensor([[len(row) for row in rows]])
    frames = torch.tensor([stacked.shape[1]])
    each = torch.cat([sequence_log_probs(x[None], frames, tokens, lengths) for x in stacked])
    scores = average_scores(each, weights, search.mean)
    entries = [
        Entry(float(scores[i]), tuple(each[:, i].tolist()), found[i]) for i in range(len(found))
    ]
    entries = [entry for entry in entries if entry.score > -np.inf]
    return sorted(entries, key=lambda entry: (-entry.score, entry.tokens))[:n]


@lru_cache(maxsize=1)
def _open(specs: tuple[str, ...], data: Path, device: str, trust: bool) -> list[Teacher]:
    teachers = open_teachers(specs, data, torch_device(device), trust)
    faults = [
        f"{t.name}: labels of the kind {t.label_set.kind!r}, without a blank: lists are of CTC's "
        f"tokens"
        for t in teachers
        if not t.label_set.is_ctc
    ]
    if faults:
        raise InputError(faults)
    return teachers


def _utterance_faults(teachers: Sequence[Teacher], utt_ids: Sequence[str]) -> Iterator[str]:
    """Utterances that a teacher lacks, and numbers of frames that are known to differ."""
    for utt in utt_ids:
        yield from (f"{t.name}: no posteriors of {utt}" for t in teachers if utt not in t.utt_ids)
        known = [(t.name, t.num_frames[utt]) for t in teachers if utt in t.num_frames]
        if len({count for _, count in known}) > 1:
            counts = ", ".join(f"{name} has {count}" for name, count in known)
            yield f"{utt}: numbers of frames differ: {counts}"


def _file(number: int) -> str:
    return f"nbest.{number}"


def _dump_shard(dump: NbestDump, work: Path, number: int, utt_ids: list[str]) -> Mapping[str, Any]:
    teachers = _open(dump.teachers, dump.data, dump.device, dump.trust)
    assert not isinstance(dump.weights, WeightsFrom)  # looked up before the work
    weights = mean_weights(dump.weights, len(teachers))
    search = PrefixSearch(prefixes=dump.prefixes, mean=dump.mean, weights=weights)
    num_frames = {utt: n for teacher in teachers for utt, n in teacher.num_frames.items()}
    most = max_batch_frames(len(teachers), len(teachers[0].label_set))
    lists: dict[str, list[Entry]] = {}
    for batch in batches_by_length(utt_ids, num_frames, most):
        each = [teacher.log_posts(batch) for teacher in teachers]
        for utt, log_posts in zip(batch, zip(*each, strict=True), strict=True):
            same_num_frames(utt, [t.name for t in teachers], log_posts)
            lists[utt] = nbest_entries(log_posts, search, dump.n, weights)
            if not lists[utt]:
                names = ", ".join(t.name for t in teachers)
                raise InputError(f"{utt}: no sequence of tokens is possible to {names} together")
    agreed = [0] * len(teachers)
    posterior = 0.0
    for entries in lists.values():
        posterior += float(nbest_weights(torch.tensor([[e.score for e in entries]]))[0, 0])
        for m in range(len(teachers)):
            agreed[m] += entries[0].each[m] == max(entry.each[m] for entry in entries)
    digest = write_shard(work / _file(number), {utt: lists[utt] for utt in utt_ids})
    return {
        "sha256": digest, "entries": sum(map(len, lists.values())), "posterior": posterior,
        "agreed": agreed,
    }  # fmt: skip
