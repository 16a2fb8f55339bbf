"""`model.yaml`: how to use a model, or an archive, that is not a checkpoint of ours.

It says what cannot be seen: the labels and the features that a program reads, what its numbers are,
how many frames one output stands for, and which of our labels each of its labels is. What `export`
publishes has the same description, so that an exported student is a model like any other.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from asr_kd.artefact import MANIFEST, hash_input, hash_json
from asr_kd.config import Config, config_dict, load_config
from asr_kd.errors import InputError
from asr_kd.features.reader import CmvnMode
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.ark import archives_of
from asr_kd.io.table import read_table
from asr_kd.labels.label_set import LabelSet

MODEL_YAML = "model.yaml"
Kind = Literal["onnx", "torchscript", "torch.export", "archive", "checkpoint"]

_KINDS: dict[str, Kind] = {
    ".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".pt2": "torch.export",
    ".scp": "archive", ".ark": "archive",
}  # fmt: skip
_YOUNG = [("repeat", True), ("latency_ms", None)]
_PRIOR_TOLERANCE = 0.01


class Description(Config):
    """What `model.yaml` holds; paths are relative to its folder.

    Attributes:
        source: `NAME.onnx`; `NAME.pt` or `NAME.ts` (TorchScript) and `NAME.pt2` (torch.export),
            which are run only when they are trusted; `NAME.scp` or `NAME.ark`, log-posteriors; or
            the folder of a checkpoint.
        labels: JSON of the label set of its outputs; a checkpoint knows it.
        features: of a program, the features (B,T,F) that it reads, in place of a specification of
            its own; a checkpoint knows them.
        cmvn: of a program, what its features are normalised over.
        takes_lengths: whether a program's second input is the number of frames (B,).
        output: which of a program's outputs are the scores (B,T',V).
        values: what a program's outputs are: logits (or log-posteriors, which are logits too), or
            posteriors.
        unnormalised: of an archive, "softmax" if its rows are scores, as those of Kaldi's chain
            models are.
        priors: JSON list of V natural-log priors; without it the model cannot be decoded,
            unless its labels are CTC's.
        label_map: table of `THEIR_LABEL OUR_LABEL`, every one of theirs, to at least one of each
            of ours; posteriors of labels that become one are added.
        map_to: JSON of our label set, with `label_map`.
        subsampling: frames of the data that is labelled for each frame of the scores.
        repeat: whether each frame of the scores becomes all the frames that it stands for; if
            not, the model keeps its own frame rate, as students with subsampling do.
        tolerance: how many frames of scores there may be more or fewer than expected; the last is
            repeated, or those beyond the end are dropped.
        num_params: parameters, where known.
        multiply_adds: multiplications and additions of a frame, where known.
        latency_ms: what a model that can stream has to wait for, where known; see `Latency`.
    """

    source: Annotated[str, Field(min_length=1)]
    labels: str | None = None
    features: FeatureSpec | None = None
    cmvn: CmvnMode = "global"
    takes_lengths: bool = False
    output: NonNegativeInt = 0
    values: Literal["logits", "posteriors"] = "logits"
    unnormalised: Literal["softmax"] | None = None
    priors: str | None = None
    label_map: str | None = None
    map_to: str | None = None
    subsampling: PositiveInt = 1
    repeat: bool = True
    tolerance: NonNegativeInt = 0
    num_params: NonNegativeInt = 0
    multiply_adds: Annotated[float, Field(ge=0)] = 0.0
    latency_ms: Annotated[float, Field(ge=0)] | None = None

    @property
    def kind(self) -> Kind:
        """What the source is, by its name."""
        return _KINDS.get(Path(self.source).suffix, "checkpoint")

    @property
    def is_program(self) -> bool:
        """Whether the source is neither an archive nor a checkpoint."""
        return self.kind not in ("archive", "checkpoint")

    @model_serializer(mode="wrap")
    def _only_if_said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Younger than other keys: descriptions without them keep their content hashes.
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) not in _YOUNG}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needed = {"onnx": ["labels", "features"], "archive": ["labels"], "checkpoint": []}
        wanted = needed.get(self.kind, ["labels", "features"])
        faults = [f"{name} is needed for {self.source}" for name in wanted
                  if getattr(self, name) is None]  # fmt: skip
        programs = {"features", "cmvn", "takes_lengths", "output", "values"}
        if not self.is_program:
            excess = sorted(programs & self.model_fields_set)
            faults += [f"{name} is not for {self.source}, but for programs" for name in excess]
        if self.unnormalised is not None and self.kind != "archive":
            faults.append(f"unnormalised is not for {self.source}, but for archives")
        if self.kind == "checkpoint":
            known = sorted({"labels", "priors"} & self.model_fields_set)
            faults += [f"{name} of {self.source} are in the checkpoint" for name in known]
        if (self.label_map is None) != (self.map_to is None):
            faults.append("label_map and map_to belong together")
        if faults:
            raise ValueError("; ".join(faults))
        return self


class Described(NamedTuple):
    """A description and the folder that its paths start from.

    Attributes:
        folder: of `path`.
        path: the YAML file.
        settings: what it says.
    """

    folder: Path
    path: Path
    settings: Description

    @property
    def source(self) -> Path:
        """The program, the archive's table or the checkpoint's folder."""
        return self.folder / self.settings.source

    def read_labels(self) -> LabelSet:
        """The labels of a program's or an archive's columns."""
        return LabelSet.load(self.folder / str(self.settings.labels))

    def read_priors(self, num_labels: int) -> NDArray[np.float32] | None:
        """Natural-log priors (V,), where the description has them.

        Raises:
            InputError: if they are not V finite numbers whose exponentials add up to 1.
        """
        if self.settings.priors is None:
            return None
        path = self.folder / self.settings.priors
        try:
            values = np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float64)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: not a JSON list of log-priors: {error}") from None
        if values.shape != (num_labels,) or not np.isfinite(values).all():
            raise InputError(f"{path}: shape {values.shape}, expected {num_labels} finite numbers")
        if abs(math.fsum(np.exp(values)) - 1) > _PRIOR_TOLERANCE:
            raise InputError(
                f"{path}: exp of them adds up to {math.fsum(np.exp(values)):.4g}, expected 1: "
                f"natural logarithms of probabilities"
            )
        return values.astype(np.float32)

    def program_files(self) -> list[Path]:
        """A program and the files that hold its weights; none for another source."""
        if not self.settings.is_program:
            return []
        beside = external_data(self.source) if self.settings.kind == "onnx" else []
        return [self.source, *beside]

    def digest(self) -> str:
        """Hash over the description and the files that it names.

        Raises:
            InputError: for each that is missing.
        """
        named = (self.settings.source, self.settings.labels, self.settings.priors,
                 self.settings.label_map, self.settings.map_to)  # fmt: skip
        paths = [self.folder / name for name in named if name is not None]
        faults = [f"{self.path}: no such file or folder: {p}" for p in paths if not p.exists()]
        if faults:
            raise InputError(faults)
        beside = archives_of(self.source) if self.source.suffix == ".scp" else self.program_files()
        paths += [path for path in beside if path not in paths]
        return hash_json([config_dict(self.settings), *map(hash_input, paths)])


def find_description(model: Path) -> Path | None:
    """The `model.yaml` that a name on the command line means: the file itself, or in the folder."""
    if model.suffix in (".yaml", ".yml") and not model.is_dir():
        return model
    return model / MODEL_YAML if (model / MODEL_YAML).is_file() else None


def read_description(path: Path) -> Described:
    """Reads `model.yaml`.

    Raises:
        InputError: all faults of the file together.
    """
    return Described(path.parent, path, load_config(Description, path))


def model_hash(spec: str) -> str:
    """What identifies `MODEL[=FEATURE_DIR]` on the command line, without opening the model.

    Raises:
        InputError: if there is nothing by such a name.
    """
    name, *own = spec.split("=")
    path = find_description(Path(name))
    if path is None or (Path(name) / MANIFEST).is_file():  # what `export` published
        return "=".join(hash_input(Path(part)) for part in (name, *own))
    return "=".join([read_description(path).digest(), *(hash_input(Path(part)) for part in own)])


def external_data(program: Path) -> list[Path]:
    """The files beside an ONNX program that hold its larger weights.

    Raises:
        InputError: if the program cannot be read, or names a file outside its folder.
    """
    import onnx

    try:
        graph = onnx.load(program, load_external_data=False).graph
    except Exception as error:  # protobuf's errors have no common base that onnx documents
        raise InputError(f"{program}: not an ONNX program: {error}") from None
    names = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    paths = [program.parent / name for name in sorted(names)]
    inside = program.parent.resolve()
    faults = [
        f"{program}: its weights are in {path}, outside its folder"
        for path in paths
        if not path.resolve().is_relative_to(inside)
    ]
    faults += [f"{program}: its weights are in {p}: no such file" for p in paths if not p.exists()]
    if faults:
        raise InputError(faults)
    return paths


def read_label_map(path: Path, theirs: LabelSet, ours: LabelSet) -> NDArray[np.int64]:
    """For each label of `theirs` the index of one of `ours`: (V,).

    Raises:
        InputError: naming every label that is unknown, has no line, or is meant by no line.
    """
    table = read_table(path)
    index = {name: k for k, name in enumerate(ours.names)}
    known = set(theirs.names)
    faults = [f"{path}: {name} is none of its labels" for name in table if name not in known]
    faults += [
        f"{path}: {name} {target}: no such label of ours"
        for name, target in table.items()
        if target not in index
    ]
    faults += [f"{path}: no line for its label {name}" for name in theirs.names
               if name not in table]  # fmt: skip
    meant = set(table.values())
    faults += [
        f"{path}: no line leads to our label {name}: it would never be probable"
        for name in ours.names
        if name not in meant
    ]
    if faults:
        raise InputError(faults)
    return np.array([index[table[name]] for name in theirs.names])
