"""The stage `build-tree`: a language of context-dependent states, tied by decision trees."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from safetensors.numpy import load_file, save_file

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.deltas import add_deltas
from asr_kd.features.reader import FeatureReader
from asr_kd.io.ark import Archive
from asr_kd.io.atomic import replacing
from asr_kd.labels.lang import Lang
from asr_kd.labels.lexicon import Lexicon
from asr_kd.labels.phone_path import Contexts, PhonePaths
from asr_kd.labels.priors import read_ali_labels
from asr_kd.labels.questions import clustered_questions
from asr_kd.labels.tree_building import grow_trees
from asr_kd.labels.tree_statistics import ContextStatistics, variance_floor
from asr_kd.shards import run_shards, split

_FRAMES_AT_ONCE = 500_000
_LEXICON_FSTS = ("L.fst", "L_disambig.fst")
_logger = logging.getLogger("asr_kd.align")


class TreeConfig(Config):
    """Configuration of the verb `build-tree`.

    Attributes:
        leaves: wanted in all trees together.
        context: neighbours that matter, both (triphone) or the left one (left-biphone).
        min_frames: least frames of a leaf.
        deltas: order of the time derivatives appended to the features.
        variance_floor: least variance, as a fraction of that of all frames.
        shard_size: utterances summed up between two marks of progress.
    """

    leaves: PositiveInt = 2000
    context: Literal["triphone", "left-biphone"] = "triphone"
    min_frames: PositiveInt = 100
    deltas: NonNegativeInt = 2
    variance_floor: PositiveFloat = 0.01
    shard_size: PositiveInt = 5000


def build_tree(
    data: Path, lang: Path, ali: Path, out: Path, config: TreeConfig, nj: int = 1
) -> None:
    """Grows trees from an alignment, and publishes a language folder of tied states.

    Args:
        data: feature directory.
        lang: language folder of the alignment's labels, tied or not.
        ali: alignment folder.
        out: language folder: that of `lang` with other labels, and tree.json.
        config: size of the trees.
        nj: local processes that gather statistics.

    Raises:
        InputError: for faults of the inputs, before any work; then for alignments that do not fit
            their features or HMMs, by utterance.
    """
    inputs = {"data": data, "lang": lang, "ali": ali}
    artefact = Artefact(out, "build-tree", config_dict(config), inputs)
    if artefact.is_done():
        return
    _open.cache_clear()  # the files may be others than in this process's last call
    archive, gatherer = _open(data, lang, ali, config)
    language = gatherer.lang
    if config.leaves < (states := len(language.topology.label_set())):
        raise InputError(
            f"leaves: {config.leaves} asked for, but the phones of {lang} have {states} states; "
            f"expected more"
        )
    shared = sorted(gatherer.reader.keys() & archive.keys())
    if not shared:
        raise InputError(f"{ali}: aligns none of the {len(gatherer.reader)} utterances of {data}")
    _logger.info("%d of %d utterances are aligned", len(shared), len(gatherer.reader))
    work = artefact.begin()
    shards = split(shared, config.shard_size)
    func = partial(_gather_shard, data, lang, ali, config, work)
    sizes = [len(shard) for shard in shards]
    if run_shards(work, func, shards, nj, "statistics of contexts", sizes) is None:
        return
    stats = _load(work, 0)
    for k in range(1, len(shards)):
        stats = ContextStatistics.merged([stats, _load(work, k)])
    tied, facts = _grow(stats, language, config)
    tied.write(work)
    for name in _LEXICON_FSTS:
        if (lang / name).is_file():
            shutil.copyfile(lang / name, work / name)
    told = (f"{name} {round(value, 3)}" for name, value in facts.items())
    _logger.info("trees: %s", ", ".join(told))
    artefact.publish(facts)


def _grow(
    stats: ContextStatistics, lang: Lang, config: TreeConfig
) -> tuple[Lang, dict[str, int | float]]:
    """The language with trees, and what is worth telling about them."""
    topology, triphone = lang.topology, config.context == "triphone"
    floor = variance_floor(stats.sums, config.variance_floor)
    total = stats.total(len(topology.label_set()))
    questions = clustered_questions(total, topology, lang.lexicon.silence_phones, floor)
    grown = grow_trees(
        stats, topology, questions,
        leaves=config.leaves, min_frames=config.min_frames, floor=floor, right=triphone,
    )  # fmt: skip
    count = grown.tying.num_pdfs
    if count < config.leaves:
        _logger.warning("%d leaves of %d: no other split leaves both sides %d frames",
                        count, config.leaves, config.min_frames)  # fmt: skip
    frames = float(stats.sums[:, 0].sum())
    seen = _seen(stats, lang)
    possible = lexicon_contexts(lang.lexicon, triphone)
    facts = {
        "labels": count,
        "frames": int(frames),
        "questions": len(questions),
        "contexts": len(seen),
        "contexts_unseen": len(possible - seen),
        "log_like_before": grown.before / frames,
        "log_like_after": grown.after / frames,
        "gain_per_frame": (grown.after - grown.before) / frames,
    }
    return replace(lang, tying=grown.tying), facts


Context = tuple[str | None, str, str | None]
"""Phones left, in the middle, and right; None at the utterance's edge, or where it is not told."""


def _seen(stats: ContextStatistics, lang: Lang) -> set[Context]:
    """The contexts of phones other than silence that the statistics have."""
    phones: list[str] = list(lang.topology.hmms)
    symbols = [*phones, None]
    phone_of = [phone for phone, hmm in lang.topology.hmms.items() for _ in range(hmm.num_states)]
    silence = set(lang.lexicon.silence_phones)
    keys = stats.keys
    found = zip(keys.label.tolist(), keys.left.tolist(), keys.right.tolist(), strict=True)
    every = {(symbols[left], phone_of[label], symbols[right]) for label, left, right in found}
    return {context for context in every if context[1] not in silence}


def lexicon_contexts(lexicon: Lexicon, right: bool) -> set[Context]:
    """The contexts that words and silence in any order can give to phones other than silence.

    Args:
        lexicon: pronunciations.
        right: whether the right neighbour is told.
    """
    words = {p.phones for p in lexicon.pronunciations}
    outer: set[str | None] = {lexicon.optional_silence, None}
    before = outer | {phones[-1] for phones in words}
    behind = outer | {phones[0] for phones in words} if right else {None}
    inside: set[Context] = set()
    first, last, alone = set(), set(), set()
    for phones in words:
        if len(phones) == 1:
            alone.add(phones[0])
            continue
        first.add((phones[0], phones[1] if right else None))
        last.add(phones[-2:])
        inside |= {
            (a, b, c if right else None)
            for a, b, c in zip(phones, phones[1:], phones[2:], strict=False)
        }
    inside |= {(left, a, b) for left in before for a, b in first}
    inside |= {(a, b, c) for a, b in last for c in behind}
    inside |= {(left, phone, c) for left in before for phone in alone for c in behind}
    return {context for context in inside if context[1] not in lexicon.silence_phones}


class _Gatherer:
    """Sums up utterances of a data directory.

    Silence has no contexts, nor have phones right ones where only left ones matter: all count as
    the edge there.
    """

    def __init__(self, data: Path, lang: Lang, config: TreeConfig) -> None:
        self.reader = FeatureReader(DataDir.read(data, require=("feats",)), cmvn="speaker")
        self.lang = lang
        self._config = config
        self._paths = PhonePaths(lang)
        silence = lang.lexicon.silence_phones
        hmms = lang.topology.hmms.items()
        self._alone = np.array([phone in silence for phone, hmm in hmms for _ in hmm.transitions])

    def contexts(self, pdf_ids: Any) -> Contexts:
        """What the trees may know of each frame."""
        label, left, right = self._paths.contexts(np.asarray(pdf_ids, np.int32))
        edge = np.int32(len(self._paths.phones))
        alone = self._alone[label]
        nothing = alone if self._config.context == "triphone" else np.ones_like(alone)
        return Contexts(label, np.where(alone, edge, left), np.where(nothing, edge, right))

    def gather(self, archive: Archive, utt_ids: Sequence[str], source: Path) -> ContextStatistics:
        """Sums over some utterances.

        Raises:
            InputError: for alignments that do not fit, by utterance.
        """
        parts: list[ContextStatistics] = []
        contexts: list[Contexts] = []
        feats: list[Any] = []
        faults: list[str] = []
        for utt_id in utt_ids:
            x = self.reader[utt_id]
            try:
                found = self.contexts(archive[utt_id])
                if len(x) != len(found.label):
                    raise InputError(f"{len(found.label)} labels for {len(x)} frames of features")
            except InputError as error:
                faults += [f"{source}: {utt_id}: {fault}" for fault in error.faults]
                continue
            contexts.append(found)
            feats.append(add_deltas(x, self._config.deltas))
            if sum(map(len, feats)) >= _FRAMES_AT_ONCE:
                parts = [_summed(contexts, feats, parts)]
                contexts, feats = [], []
        if faults:
            raise InputError(faults)
        return _summed(contexts, feats, parts)


def _summed(
    contexts: list[Contexts], feats: list[Any], parts: list[ContextStatistics]
) -> ContextStatistics:
    if contexts:
        joined = Contexts(*(np.concatenate(key) for key in zip(*contexts, strict=True)))
        parts = [*parts, ContextStatistics.of_frames(joined, np.concatenate(feats))]
    return ContextStatistics.merged(parts)


@lru_cache(maxsize=1)
def _open(data: Path, lang: Path, ali: Path, config: TreeConfig) -> tuple[Archive, _Gatherer]:
    """The alignment, and what sums up this process's utterances."""
    language = Lang.read(lang)
    language.label_set.require_same(read_ali_labels(ali), str(lang), str(ali))
    return Archive.read(ali / "ali.scp"), _Gatherer(data, language, config)


def _gather_shard(
    data: Path, lang: Path, ali: Path, config: TreeConfig, work: Path, k: int, utts: Sequence[str]
) -> dict[str, Any]:
    archive, gatherer = _open(data, lang, ali, config)
    stats = gatherer.gather(archive, utts, ali)
    arrays = {**stats.keys._asdict(), "sums": stats.sums}
    with replacing(_file(work, k)) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)
    return {"contexts": len(stats.sums)}


def _load(work: Path, k: int) -> ContextStatistics:
    arrays = load_file(_file(work, k))
    return ContextStatistics(Contexts(*(arrays[key] for key in Contexts._fields)), arrays["sums"])


def _file(work: Path, k: int) -> Path:
    # Beside the shards' markers: publishing removes them together.
    return work / "shards" / f"{k}.safetensors"
