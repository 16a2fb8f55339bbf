"""`evaluate` and decode directories as the systems of one table, held against one another first."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from asr_kd.artefact import MANIFEST, read_manifest
from asr_kd.errors import InputError
from asr_kd.report.comparison import Comparison
from asr_kd.report.systems import read_systems

_ORDER = ("train", "dev", "test")
_SYSTEM = re.compile(r"(?P<role>[^@=]+)(@(?P<seed>[^@=]+))?=(?P<path>.+)")


@dataclass(frozen=True)
class Evaluation:
    """One `evaluate` directory: one system's frame figures on one data set.

    Attributes:
        role: its row in the table.
        seed: the seed of training it belongs to, or None where it is the same for all seeds.
        path: its folder.
        set: the data set.
        params: parameters of the model or models.
        by_speaker: speaker → frames, errors, summed cross-entropy (nats).
        by_label: name → frames of that label, errors on them.
    """

    role: str
    seed: str | None
    path: Path
    set: str
    params: int
    by_speaker: dict[str, tuple[int, int, float]]
    by_label: dict[str, tuple[int, int]]

    @property
    def errors(self) -> int:
        """Wrong frames."""
        return sum(errors for _, errors, _ in self.by_speaker.values())

    def errors_on(self, labels: Sequence[str]) -> int:
        """Wrong frames among those of the labels that match one of the glob patterns."""
        return sum(
            errors
            for name, (_, errors) in self.by_label.items()
            if any(fnmatchcase(name, pattern) for pattern in labels)
        )


@dataclass(frozen=True)
class FrameComparison:
    """Systems over the same data sets.

    Attributes:
        roles: the rows, in the order they were first named.
        evaluations: in the order given.
        decoded: the decode directories among them, if any.
    """

    roles: list[str]
    evaluations: list[Evaluation]
    decoded: Comparison | None

    @property
    def seeds(self) -> list[str]:
        """Seeds of training, sorted; empty where none was named."""
        return sorted({e.seed for e in self.evaluations if e.seed is not None})

    @property
    def sets(self) -> list[str]:
        """Data sets: those of training, dev and test first, others in the order given."""
        named = dict.fromkeys(evaluation.set for evaluation in self.evaluations)
        return sorted(named, key=lambda name: [not name.startswith(known) for known in _ORDER])

    def of(self, role: str, data_set: str | None = None) -> list[Evaluation]:
        """The evaluations of one role, on one data set or on all."""
        return [e for e in self.evaluations if e.role == role and data_set in (None, e.set)]


def read_evaluations(
    specs: Sequence[str], labels: Sequence[str] = (), roles_asked: Sequence[str] = ()
) -> FrameComparison:
    """Reads `ROLE[@SEED]=DIR` arguments.

    Args:
        specs: DIR is the output of `evaluate` or of `decode`, or a folder of such.
        labels: glob patterns on label names, each of which must match a label.
        roles_asked: roles that must be among the systems.

    Raises:
        InputError: all faults together: arguments of another form, other folders, figures over
            other frames than the first of the same data set, seeds that a role lacks, roles whose
            evaluated models are not those decoded.
    """
    faults: list[str] = []
    roles: dict[str, None] = {}
    evaluations: list[Evaluation] = []
    decodings: list[str] = []
    for spec in specs:
        try:
            role, seed, folder = _parse(spec)
            roles[role] = None
            for verb, path in _outputs(folder):
                if verb == "evaluate":
                    evaluations.append(_read(role, seed, path))
                else:
                    decodings.append(f"{spec.partition('=')[0]}={path}")
        except InputError as error:
            faults += error.faults
    decoded = None
    if decodings:
        try:
            decoded = read_systems(decodings)
        except InputError as error:
            faults += error.faults
    comparison = FrameComparison(list(roles), evaluations, decoded)
    faults += _unlike(evaluations) + _seed_faults(comparison) + _decoded_faults(comparison)
    faults += _label_faults(evaluations, labels)
    faults += [
        f"no role {role!r}; the roles are {', '.join(roles)}"
        for role in dict.fromkeys(roles_asked)
        if role not in roles
    ]
    if not evaluations:
        faults.append("no output of `asr-kd evaluate` among the systems")
    if faults:
        raise InputError(faults)
    return comparison


def _parse(spec: str) -> tuple[str, str | None, Path]:
    match = _SYSTEM.fullmatch(spec)
    if match is None:
        raise InputError(f"{spec!r}: expected ROLE=FOLDER or ROLE@SEED=FOLDER")
    return match["role"].strip(), match["seed"], Path(match["path"])


def _outputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Verb and path of an output, or of all outputs in a folder."""
    if (folder / MANIFEST).is_file() or not folder.is_dir():
        paths = [folder]
    else:
        paths = sorted(p.parent for p in folder.glob(f"*/{MANIFEST}") if p.parent.name[0] != ".")
    faults = [] if paths else [f"{folder}: holds no output of `asr-kd evaluate` or `asr-kd decode`"]
    for path in paths:
        verb = read_manifest(path).verb
        if verb in ("evaluate", "decode"):
            yield verb, path
        else:
            faults.append(f"{path}: made by `asr-kd {verb}`, expected `asr-kd evaluate` or decode")
    if faults:
        raise InputError(faults)


def _read(role: str, seed: str | None, path: Path) -> Evaluation:
    file = path / "frames.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Evaluation(
            role, seed, path, content["set"], content["num_params"] or 0,
            {name: tuple(figures) for name, figures in content["by_speaker"].items()},
            {name: tuple(figures) for name, figures in content["by_label"].items()},
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not what `asr-kd evaluate` writes ({error!r})") from error


def _unlike(evaluations: Sequence[Evaluation]) -> list[str]:
    """Faults of figures over other frames, or frames of other labels, than the set's first."""
    faults = []
    firsts: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        first = firsts.setdefault(evaluation.set, evaluation)
        where = f"{evaluation.path}: {evaluation.set}:"
        if _frames(evaluation.by_speaker) != _frames(first.by_speaker):
            faults.append(f"{where} other speakers or numbers of frames than in {first.path}")
        elif _frames(evaluation.by_label) != _frames(first.by_label):
            faults.append(f"{where} another alignment or label set than in {first.path}")
    return faults


def _frames(figures: dict[str, tuple[int, int, float]] | dict[str, tuple[int, int]]) -> object:
    # A label without frames may be listed or not.
    return {name: one[0] for name, one in figures.items() if one[0]}


def _seed_faults(comparison: FrameComparison) -> list[str]:
    faults = []
    for role in comparison.roles:
        for data_set in comparison.sets:
            own = {e.seed for e in comparison.of(role, data_set)}
            if own and own != {None} and own != set(comparison.seeds):
                faults.append(
                    f"role {role}: {data_set} was evaluated for the seeds {sorted(map(str, own))}, "
                    f"the comparison has {comparison.seeds}; give each role all seeds, or none"
                )
    return faults


def _decoded_faults(comparison: FrameComparison) -> list[str]:
    """Word errors and frame figures of one row must be of the same models."""
    faults = []
    for one in comparison.decoded.decodings if comparison.decoded else []:
        for data_set in comparison.sets:
            evaluated = comparison.of(one.role, data_set)
            same = [e for e in evaluated if e.seed == one.seed]
            if evaluated and not same:
                seeds = sorted({str(e.seed) for e in evaluated})
                faults.append(
                    f"{one.path}: role {one.role} was decoded for the seed {one.seed}, but "
                    f"evaluated on {data_set} for {', '.join(seeds)}"
                )
            elif same and _models(one.path) not in [_models(e.path) for e in same]:
                counts = [len(_models(path)) for path in (one.path, same[0].path)]
                faults.append(
                    f"{one.path}: role {one.role} was decoded by other models ({counts[0]}) than "
                    f"were evaluated in {same[0].path} ({counts[1]}); give each row the outputs "
                    f"of one system"
                )
    return faults


def _models(path: Path) -> list[str]:
    """What identifies the models behind an output; features of theirs differ from set to set."""
    inputs = read_manifest(path).inputs
    return sorted(
        value.partition("=")[0] for name, value in inputs.items() if name.startswith("model")
    )


def _label_faults(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> list[str]:
    names = {name for evaluation in evaluations for name in evaluation.by_label}
    return [
        f"no label matches {pattern!r}; the labels are {', '.join(sorted(names)[:20])}"
        for pattern in labels
        if evaluations and not any(fnmatchcase(name, pattern) for name in names)
    ]
