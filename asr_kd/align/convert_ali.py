"""The stage `convert-ali`: an alignment told in the labels of another language folder."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.align.folder import count_steps, publish_alignment
from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive, ArkWriter
from asr_kd.labels.kaldi_pdfs import KIND as KALDI
from asr_kd.labels.lang import Lang
from asr_kd.labels.phone_path import PhonePaths
from asr_kd.labels.priors import read_ali_labels
from asr_kd.shards import run_shards, split

_SHARD = 2000  # utterances


def convert_ali(ali: Path, source: Path, target: Path, out: Path, nj: int = 1) -> None:
    """Converts an alignment between languages of the same phones and HMMs, tied or not.

    Neighbouring phones come from the alignment itself, so that nothing is searched again.

    Args:
        ali: alignment folder.
        source: language folder of its labels.
        target: language folder of the labels to have.
        out: alignment folder.
        nj: local processes.

    Raises:
        InputError: for languages of other phones or HMMs, or an alignment with other labels than
            those of `source`, before any work; then for label sequences that are no path through
            phones, by utterance.
    """
    artefact = Artefact(out, "convert-ali", {}, {"ali": ali, "from": source, "to": target})
    if artefact.is_done():
        return
    _open.cache_clear()  # the files may be others than in this process's last call
    archive, converter = _open(ali, source, target)
    work = artefact.begin()
    shards = split(sorted(archive), _SHARD)
    func = partial(_convert_shard, ali, source, target, work, artefact.path)
    facts = run_shards(work, func, shards, nj, "convert", [len(shard) for shard in shards])
    if facts is not None:
        publish_alignment(artefact, converter.target, [*facts, _failed_before(ali)])


class Converter:
    """Tells label sequences of one language in the labels of another.

    Args:
        source: language of the labels given.
        target: language of those wanted, of the same phones and HMMs.
    """

    def __init__(self, source: Lang, target: Lang) -> None:
        self.target = target
        self._monophone = source.monophone_label
        self._paths = PhonePaths(source)
        self._symbols = [*self._paths.phones, None]
        self._states = [
            (phone, s) for phone, hmm in source.topology.hmms.items() for s in range(hmm.num_states)
        ]
        self._pdf_ids: dict[int, int] = {}

    def convert(self, pdf_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """(T,) labels of a whole utterance → (T,).

        Raises:
            InputError: saying where, if they are no path through the phones' HMMs.
        """
        contexts = self._paths.contexts(pdf_ids)
        if self.target.tying is None:
            return contexts.label
        num = len(self._symbols)
        codes = (contexts.label.astype(np.int64) * num + contexts.left) * num + contexts.right
        different, places = np.unique(codes, return_inverse=True)
        return np.array([self._pdf_id(c) for c in different.tolist()], np.int32)[places]

    def _pdf_id(self, code: int) -> int:
        if code not in self._pdf_ids:
            rest, right = divmod(code, len(self._symbols))
            label, left = divmod(rest, len(self._symbols))
            phone, state = self._states[label]
            self._pdf_ids[code] = self.target.pdf_id(
                self._symbols[left], phone, self._symbols[right], state
            )
        return self._pdf_ids[code]


@lru_cache(maxsize=1)
def _open(ali: Path, source: Path, target: Path) -> tuple[Archive, Converter]:
    """The alignment and this process's converter."""
    labels = read_ali_labels(ali)
    if labels.kind.startswith(KALDI):
        raise InputError(
            f"{ali}: labels are the pdfs of Kaldi's tree, some of which several phones may share, "
            f"so that phones cannot be told from them; train on these labels as they are, or align "
            f"anew by `asr-kd flat-start` (and from then on by `asr-kd train-gmm` or `align`)"
        )
    ours, theirs = Lang.read(source), Lang.read(target)
    ours.label_set.require_same(labels, str(source), str(ali))
    ours.topology.label_set().require_same(
        theirs.topology.label_set(), f"{source} (states of phones)", f"{target} (states of phones)"
    )
    return Archive.read(ali / "ali.scp"), Converter(ours, theirs)


def _convert_shard(
    ali: Path, source: Path, target: Path, work: Path, published: Path, k: int, utts: Sequence[str]
) -> dict[str, Any]:
    """Converts some utterances into one archive; facts as `publish_alignment` gathers them."""
    archive, converter = _open(ali, source, target)
    steps: Counter[tuple[int, int]] = Counter()
    faults: list[str] = []
    name = f"ali.{k}.ark"
    with ArkWriter(work / name, published=published / name) as writer:
        for utt_id in utts:
            try:
                pdf_ids = converter.convert(np.asarray(archive[utt_id], np.int32))
            except InputError as error:
                faults += [f"{ali}: {utt_id}: {fault}" for fault in error.faults]
                continue
            writer.write(utt_id, pdf_ids)
            steps.update(count_steps(pdf_ids))
        if faults:
            raise InputError(faults)
    return {"entries": writer.scp, "failed": {}, "retried": 0,
            "steps": [[a, b, n] for (a, b), n in sorted(steps.items())]}  # fmt: skip


def _failed_before(ali: Path) -> dict[str, Any]:
    """The utterances that the alignment did without, as facts of a shard."""
    file = ali / "failed.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    failed = {utt_id: reason for utt_id, _, reason in (line.partition(" ") for line in lines)}
    return {"entries": {}, "failed": failed, "retried": 0, "steps": []}
