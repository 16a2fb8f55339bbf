"""The stage `subset`: a part of a data directory that leaves no label without a frame."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir
from asr_kd.data.subset import By, Fold, Units, cover
from asr_kd.errors import InputError
from asr_kd.features.sources import absolute
from asr_kd.features.spec import FEATURE_JSON
from asr_kd.io.ark import Archive
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.priors import read_ali_labels
from asr_kd.shards import rank_and_world

VERB = "subset"
DESCRIPTION = "part.txt"
_logger = logging.getLogger("asr_kd.align")


@dataclass(frozen=True)
class Part:
    """Which part of a data directory: a share, a fold, or all but a fold; exactly one of them.

    Attributes:
        share: of the frames, above 0 and up to 1.
        in_fold: the utterances of one fold.
        out_of_fold: the utterances of all other folds.
        by: what is taken whole; None: speakers for folds, utterances for a share.
        seed: draws the order.
        cover: where the share leaves a label without a frame, a set that covers every label takes
            its place, filled up to the share.
    """

    share: float | None = None
    in_fold: Fold | None = None
    out_of_fold: Fold | None = None
    by: By | None = None
    seed: int = 0
    cover: bool = False

    def __post_init__(self) -> None:
        faults = []
        if [self.share, self.in_fold, self.out_of_fold].count(None) != 2:
            faults.append("a part is either a share, or in or out of a fold: give one of the three")
        if self.share is not None and not 0 < self.share <= 1:
            faults.append(f"share {self.share:g}: expected a number above 0, up to 1")
        if self.cover and self.share is None:
            faults.append("a cover is for a share; folds are what they are")
        if faults:
            raise InputError(faults)

    @property
    def units(self) -> By:
        """What is taken whole."""
        return self.by or ("utterance" if self.share is not None else "speaker")

    def __str__(self) -> str:
        if self.share is not None:
            return f"share {self.share:g} (seed {self.seed})"
        side = "in" if self.in_fold else "out of"
        return f"{side} fold {self.in_fold or self.out_of_fold} (seed {self.seed})"


def make_subset(data_dir: Path, part: Part, out: Path, ali_dir: Path | None = None) -> None:
    """Publishes a part of a data directory: tables alone, which name the archives in their place.

    `part.txt` says what part it is.
    Statistics of a speaker stay those of all of the speaker's utterances, so that features read
    as they did for the models of the whole.

    Args:
        data_dir: with sound or features.
        part: which part.
        out: where it is published.
        ali_dir: an alignment; every label that it has on the whole directory must have a frame in
            the part.

    Raises:
        InputError: for faults of the inputs; for more folds than there are speakers (or
            utterances); and for labels that would have no frame, by name, with the share that
            would do.
    """
    if rank_and_world()[0] != 0:
        return
    data = DataDir.read(data_dir)
    units = Units.of(data, part.units, part.seed)
    fold = part.in_fold or part.out_of_fold
    if fold is not None and fold.of > len(units.names):
        raise InputError(
            f"{data_dir}: {fold.of} folds of {len(units.names)} {part.units}s; give each fold one"
        )
    drawn = taken = _members(units, part)
    if ali_dir is not None:
        taken = _covering(units, drawn, part, data, ali_dir)
    kept = absolute(data.subset(units.utterances(taken)))
    config = {
        "share": part.share, "in_fold": str(part.in_fold), "out_of_fold": str(part.out_of_fold),
        "by": part.units, "seed": part.seed, "cover": part.cover,
    }  # fmt: skip
    inputs = {"data": Path(data_dir)} | ({"ali": Path(ali_dir)} if ali_dir is not None else {})
    artefact = Artefact(out, VERB, config, dict(inputs))
    if artefact.is_done():
        return
    work = artefact.begin()
    kept.write(work)
    if (Path(data_dir) / FEATURE_JSON).is_file():
        shutil.copy(Path(data_dir) / FEATURE_JSON, work)
    share = units.share_of(taken)
    said = (
        f"{part}: {len(kept.utt2spk)} of {len(data.utt2spk)} utterances, {len(kept.spk2utt)} of "
        f"{len(data.spk2utt)} speakers, {100 * share:.2f}% of the whole"
    )
    if ali_dir is not None:
        said += "; every label has a frame"
    if drawn != taken:
        said += " (the draw left labels without any: it was replaced by a cover, filled up)"
    write_text(work / DESCRIPTION, said + "\n")
    _logger.info("%s: %s", out, said)
    artefact.publish(
        {"utterances": len(kept.utt2spk), "speakers": len(kept.spk2utt), "share": share}
    )


def _members(units: Units, part: Part) -> list[int]:
    if part.share is not None:
        return units.take(part.share)
    if part.in_fold is not None:
        return units.fold(part.in_fold)
    assert part.out_of_fold is not None
    inside = set(units.fold(part.out_of_fold))
    return [unit for unit in range(len(units.names)) if unit not in inside]


def _covering(
    units: Units, taken: list[int], part: Part, data: DataDir, ali_dir: Path
) -> list[int]:
    """The same units, or those of a cover, if they have all labels; otherwise says which not."""
    label_set = read_ali_labels(ali_dir)
    contents = _labels_of(units, data, ali_dir, label_set)
    everywhere = frozenset[int]().union(*contents)
    if not everywhere:
        raise InputError(f"{ali_dir}: aligns none of the {len(data.utt2spk)} of {data.path}")
    if unseen := [k for k in range(len(label_set)) if k not in everywhere]:
        _logger.warning("%s: %d labels without any frame in the whole: %s",
                        ali_dir, len(unseen), label_set.shown(unseen))  # fmt: skip
    missing = everywhere.difference(*(contents[unit] for unit in taken))
    if not missing:
        return taken
    smallest = cover(contents, units.sizes)
    if part.cover and part.share is not None:
        filled = units.take(part.share, smallest)
        _logger.warning(
            "%s: the utterances drawn leave %d labels without any frame; a cover of all labels "
            "takes %.2f%%, filled up to %.2f%%",
            part, len(missing), 100 * units.share_of(smallest), 100 * units.share_of(filled),
        )  # fmt: skip
        return filled
    names = label_set.shown(sorted(missing))
    faults = [f"{data.path}: {part} leaves {len(missing)} labels without any frame: {names}"]
    if part.share is not None:
        faults.append(
            f"with this seed --share {_first_share(units, contents):.4f} would do; a chosen set "
            f"(--cover) of {100 * units.share_of(smallest):.2f}%"
        )
    raise InputError(faults)


def _labels_of(
    units: Units, data: DataDir, ali_dir: Path, label_set: LabelSet
) -> list[frozenset[int]]:
    """The labels of each unit; utterances that the alignment lacks have none."""
    ali = Archive.read(ali_dir / "ali.scp")
    labels = {utt: np.unique(ali[utt]) for utt in data.utt_ids if utt in ali}
    if faults := [
        f"{ali_dir}: {utt}: label {found.max()} outside of the label set of {len(label_set)}"
        for utt, found in labels.items()
        if len(found) and not 0 <= found.min() <= found.max() < len(label_set)
    ]:
        raise InputError(faults)
    return [
        frozenset(label for utt in utts if utt in labels for label in labels[utt].tolist())
        for utts in units.utt_ids
    ]


def _first_share(units: Units, contents: Sequence[frozenset[int]]) -> float:
    """The share from which on the units in the seed's order have all labels, rounded up."""
    missing = set[int]().union(*contents)
    for count, held in enumerate(contents, start=1):
        missing -= held
        if not missing:
            return math.ceil(10_000 * units.share_of(range(count))) / 10_000
    raise AssertionError("all units together have all labels")
