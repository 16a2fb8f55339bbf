"""How systems are named: arguments and YAML, globs, and what parts of a path say."""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic

from asr_kd.config import Config, load_config
from asr_kd.errors import InputError
from asr_kd.score.formats.read import AUTO, format_fault

DEFAULT_SET = "test"
"""The test set of systems that name none."""

_OPTION = re.compile(r"(?P<rest>.+),(?P<name>dev|format)=(?P<value>[^,]*)")
_SYSTEM = re.compile(
    r"((?P<role>[^@:={}/]+)(@(?P<seed>[^@:={}/]+))?(:(?P<set>[^@:={}/]+))?=)?(?P<path>.+)"
)
_SET_FILE = re.compile(r"((?P<set>[^=/]+)=)?(?P<path>.*[^=])")
# What a placeholder matches in a path: no slash, and so that {role}_{seed} can be told apart, no
# underscore in a seed.
_PLACES = {"{role}": "[^/]+", "{seed}": "[^/_]+", "{set}": "[^/]+"}
_WILD = re.compile(r"(\{role\}|\{seed\}|\{set\}|\*\*/|\*\*|\*|\?|\[[^\]]+\])")


class SystemConfig(Config):
    """A system in YAML: what `ROLE[@SEED][:SET]=PATH[,dev=DEV_DIR][,format=FORMAT]` says."""

    model_config = pydantic.ConfigDict(coerce_numbers_to_str=True)

    path: str
    role: str | None = None
    seed: str | None = None
    set: str | None = None
    dev: str | None = None
    format: str = AUTO


class SetConfig(Config):
    """A test set in YAML: its reference and its speakers."""

    ref: str | None = None
    ref_format: str = AUTO
    utt2spk: str | None = None


class CompareConfig(Config):
    """What is compared. Paths are relative to the folder of the YAML file."""

    sets: dict[str, SetConfig] = pydantic.Field(default_factory=dict)
    systems: list[SystemConfig] = pydantic.Field(default_factory=list)


@dataclass(frozen=True)
class Spec:
    """A system as named.

    Attributes:
        where: the argument, or the place in the YAML file, for faults.
        base: folder that relative paths start from.
        path: file or folder, or a pattern of such.
        role, seed, test_set: as named; None where the path says it, or nothing does.
        dev: Kaldi decode folder that chooses the LM weight.
        format: of the hypotheses.
    """

    where: str
    base: Path
    path: str
    role: str | None
    seed: str | None
    test_set: str | None
    dev: str | None
    format: str


@dataclass(frozen=True)
class SetFile:
    """A reference or a file of speakers: of a test set, or of all that have no other (None)."""

    where: str
    test_set: str | None
    path: Path
    format: str = AUTO


def parse_system(argument: str) -> Spec:
    """Parses `ROLE[@SEED][:SET]=PATH[,dev=DEV_DIR][,format=FORMAT]`.

    Raises:
        InputError: for an argument of another form.
    """
    rest, options = _options(argument)
    match = _SYSTEM.fullmatch(rest)
    if match is None:
        raise InputError(f"{argument!r}: expected ROLE[@SEED][:SET]=PATH")
    role = match["role"].strip() if match["role"] else None
    format = options.get("format", AUTO)
    if fault := format_fault(format):
        raise InputError(f"{argument!r}: {fault}")
    return Spec(
        repr(argument), Path(), match["path"], role, match["seed"], match["set"],
        options.get("dev"), format,
    )  # fmt: skip


def parse_file(argument: str) -> Spec:
    """Parses `PATH[,dev=DEV_DIR][,format=FORMAT]`, of which the path is taken as it stands.

    Raises:
        InputError: for an argument of another form.
    """
    path, options = _options(argument)
    format = options.get("format", AUTO)
    if fault := format_fault(format):
        raise InputError(f"{argument!r}: {fault}")
    return Spec(repr(argument), Path(), path, "", None, "", options.get("dev"), format)


def parse_set_file(argument: str) -> SetFile:
    """Parses `[SET=]FILE[,format=FORMAT]`.

    Raises:
        InputError: for an argument of another form.
    """
    rest, options = _options(argument)
    match = _SET_FILE.fullmatch(rest)
    fault = format_fault(options.get("format", AUTO))
    if match is None or "dev" in options or fault:
        raise InputError(f"{argument!r}: {fault or 'expected [SET=]FILE[,format=FORMAT]'}")
    return SetFile(repr(argument), match["set"], Path(match["path"]), options.get("format", AUTO))


def read_config(path: Path) -> tuple[list[Spec], list[SetFile], list[SetFile]]:
    """The systems, references and speakers that a YAML file of `CompareConfig` names.

    Raises:
        InputError: all faults together, by key.
    """
    config = load_config(CompareConfig, path)
    base = Path(path).parent
    specs = [
        Spec(f"{path}: systems.{i}", base, s.path, s.role, s.seed, s.set, s.dev, s.format)
        for i, s in enumerate(config.systems)
    ]
    refs, speakers = [], []
    faults = [f"{s.where}: {fault}" for s in specs if (fault := format_fault(s.format))]
    for name, one in config.sets.items():
        where = f"{path}: sets.{name}"
        if fault := format_fault(one.ref_format):
            faults.append(f"{where}: {fault}")
        if one.ref is not None:
            refs.append(SetFile(where, name, base / one.ref, one.ref_format))
        if one.utt2spk is not None:
            speakers.append(SetFile(where, name, base / one.utt2spk))
    if faults:
        raise InputError(faults)
    return specs, refs, speakers


def expand(spec: Spec) -> list[Spec]:
    """The systems that a spec names, each with a path, a role and a test set.

    Raises:
        InputError: if nothing matches, nothing says the role, or the placeholders do not part a
            file that the pattern matches.
    """
    pattern = spec.path
    known = {"{role}": spec.role, "{seed}": spec.seed, "{set}": spec.test_set}
    if spec.role is None and "{role}" not in pattern:
        raise InputError(f"{spec.where}: no role; expected ROLE=PATH, or a path with {{role}}")
    if not _WILD.search(pattern) or (spec.role is not None and (spec.base / pattern).exists()):
        return [_filled(replace(spec, test_set=spec.test_set or DEFAULT_SET))]
    for place, value in known.items():
        if value is not None:
            pattern = pattern.replace(place, glob.escape(value))
    found, faults = [], []
    extractor = _extractor(pattern)
    # Of one that stands twice the glob also matches files with two texts, which are not meant.
    twice = any(pattern.count(place) > 1 for place in _PLACES)
    root = spec.base if spec.base.parts else None
    for path in sorted(glob.glob(_globbed(pattern), root_dir=root, recursive=True)):
        if match := extractor.fullmatch(path):
            found.append(_matched(spec, path, match.groupdict()))
        elif not twice:
            faults.append(
                f"{spec.where}: {path}: cannot be parted by {pattern} (a seed holds no "
                f"underscore); rename it, or name each system by itself"
            )
    if not found and not faults:
        faults.append(f"{spec.where}: nothing matches {_globbed(pattern)}")
    if faults:
        raise InputError(faults)
    return found


def _matched(spec: Spec, path: str, said: Mapping[str, str]) -> Spec:
    return _filled(
        replace(
            spec, path=path, role=spec.role or said["role"],
            seed=spec.seed or said.get("seed"),
            test_set=spec.test_set or said.get("set") or DEFAULT_SET,
        )
    )  # fmt: skip


def _filled(spec: Spec) -> Spec:
    """The spec with its dev folder by the same placeholders."""
    dev = spec.dev
    for place, value in zip(_PLACES, (spec.role, spec.seed, spec.test_set), strict=True):
        if dev is not None and value is not None:
            dev = dev.replace(place, value)
    return replace(spec, dev=dev)


def _globbed(pattern: str) -> str:
    for place in _PLACES:
        pattern = pattern.replace(place, "*")
    return pattern


def _extractor(pattern: str) -> re.Pattern[str]:
    """A regular expression that matches what the glob does, and names its placeholders' parts."""
    parts: list[str] = []
    seen: set[str] = set()
    simple = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    for part in _WILD.split(pattern):
        if part in _PLACES:
            name = part[1:-1]
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_PLACES[part]})")
            seen.add(name)
        elif part in simple:
            parts.append(simple[part])
        elif part.startswith("[") and part.endswith("]"):
            body = re.sub(r"([\\\[])", r"\\\1", part[1:-1])
            parts.append(f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]")
        else:
            parts.append(re.escape(part))
    return re.compile("".join(parts))


def _options(argument: str) -> tuple[str, dict[str, str]]:
    options: dict[str, str] = {}
    while match := _OPTION.fullmatch(argument):
        if match["name"] in options or not match["value"]:
            raise InputError(f"{argument!r}: expected one {match['name']}=VALUE")
        argument, options[match["name"]] = match["rest"], match["value"]
    return argument, options


def one_of_each(files: Sequence[SetFile], kind: str, sets: Sequence[str]) -> list[str]:
    """Faults of files of test sets: two for one set, or a set that no system has."""
    faults = []
    seen: dict[str | None, SetFile] = {}
    for file in files:
        if (first := seen.setdefault(file.test_set, file)) is not file:
            of = f"set {file.test_set}" if file.test_set else "all sets"
            faults.append(f"{file.where}: {kind} of {of} stands already: {first.where}")
        if file.test_set is not None and file.test_set not in sets:
            faults.append(
                f"{file.where}: no system has the test set {file.test_set!r}; sets: "
                f"{', '.join(sets) or 'none'}"
            )
    return faults
