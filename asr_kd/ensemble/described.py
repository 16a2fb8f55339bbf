"""Teachers that a `model.yaml` describes, their frames and labels made those of the data."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr_kd.artefact import hash_json
from asr_kd.config import config_dict
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.features.reader import FeatureReader
from asr_kd.features.spec import FEATURE_JSON, FeatureSpec, read_spec, require_features
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.description import Described, read_label_map
from asr_kd.models.onnx_program import OnnxProgram
from asr_kd.models.trained_on import read_trained_on

_SUM_TOLERANCE = 0.01
_LEAST = 1e-30  # a posterior of 0 has no logarithm


class Source(Protocol):
    """What gives posteriors before frames and labels are reconciled; any teacher does."""

    name: str
    digest: str
    label_set: LabelSet
    utt_ids: Collection[str]
    spec: FeatureSpec | None
    trained_on: frozenset[str] | None

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T',V) of each utterance."""
        ...


class DescribedTeacher:
    """A source of posteriors (T',V') as a teacher of T frames and V labels.

    Where the description says `repeat: false`, the T' frames of the scores stay what they are.

    Args:
        described: the description.
        source: what it describes.
        data: feature directory that is labelled: it says how many frames there are.

    Raises:
        InputError: for a label map that does not fit, priors that do not, or data that do not say
            their numbers of frames.

    Attributes:
        source: what is described.
        log_prior: natural-log priors (V,), where they are known.
        num_bytes: of a program and its weights.
    """

    def __init__(self, described: Described, source: Source, data: DataDir) -> None:
        settings = described.settings
        self.name = str(described.path)
        self.settings = settings
        self.num_bytes = sum(path.stat().st_size for path in described.program_files())
        self.utt_ids: Collection[str] = source.utt_ids
        self.spec: FeatureSpec | None = source.spec
        self.trained_on: frozenset[str] | None = source.trained_on
        self.digest = hash_json([described.digest(), source.digest])
        self.source = source
        self._map: Tensor | None = None
        self.label_set = source.label_set
        if settings.label_map is not None and settings.map_to is not None:
            self.label_set = LabelSet.load(described.folder / settings.map_to)
            table = described.folder / settings.label_map
            self._map = torch.from_numpy(read_label_map(table, source.label_set, self.label_set))
        self.log_prior = self._prior(described)
        self._data_frames = data.num_frames
        step = 1 if settings.repeat else settings.subsampling
        self.num_frames: Mapping[str, int] = {u: -(-n // step) for u, n in data.num_frames.items()}
        self.frame_shift_ms: float | None = None
        if (data.path / FEATURE_JSON).is_file():
            self.frame_shift_ms = read_spec(data.path).frame_shift_ms * step
        if not data.num_frames:
            raise InputError(
                f"{data.path}: no utt2num_frames, which {described.path} is held against; make a "
                f"feature directory with `asr-kd make-feats`"
            )

    def _prior(self, described: Described) -> NDArray[np.float32] | None:
        checkpoint = getattr(self.source, "checkpoint", None)
        prior = described.read_priors(len(self.source.label_set))
        if checkpoint is not None:
            prior = checkpoint.log_prior
        if prior is None:
            return None
        mapped: NDArray[np.float32] = self._mapped(torch.from_numpy(prior)[None])[0].numpy()
        return mapped

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T,V) of each utterance.

        Raises:
            InputError: naming the utterance, from the source or where the frames do not fit.
        """
        each = self.source.log_posts(utt_ids)
        return [self._mapped(self._in_time(u, x)) for u, x in zip(utt_ids, each, strict=True)]

    def _in_time(self, utt: str, log_post: Tensor) -> Tensor:
        """(T',V') -> (T,V'): each row for as many frames as it stands for, if it is to be."""
        num_frames, step = self._data_frames[utt], self.settings.subsampling
        expected = -(-num_frames // step)
        if not len(log_post) or abs(len(log_post) - expected) > self.settings.tolerance:
            raise InputError(
                f"{self.name}: {utt}: {len(log_post)} frames of scores for {num_frames} frames, "
                f"expected {expected} (subsampling {step}, tolerance {self.settings.tolerance})"
            )
        if not self.settings.repeat:
            num_frames, step = expected, 1
        if len(log_post) == num_frames:
            return log_post
        at = (torch.arange(num_frames, device=log_post.device) // step).clamp_max(len(log_post) - 1)
        return log_post[at]

    def _mapped(self, log_post: Tensor) -> Tensor:
        """(N,V') -> (N,V): probabilities of labels that become one are added."""
        if self._map is None:
            return log_post
        at = self._map.to(log_post.device)
        sums = log_post.new_zeros(len(log_post), len(self.label_set), dtype=torch.float64)
        return sums.index_add_(1, at, log_post.double().exp()).log().to(log_post.dtype)


class ProgramTeacher:
    """An ONNX, TorchScript or torch.export program and the features that it reads.

    It gets one utterance at a time, since not every program knows what padding is.

    Args:
        described: its description.
        data_dir: its features.
        device: where TorchScript and torch.export run; ONNX Runtime runs on the CPU.
        trust: whether a program that can run any code may be loaded.

    Raises:
        InputError: for a program that is not trusted or cannot be loaded, or other features.
    """

    def __init__(
        self, described: Described, data_dir: Path, device: torch.device | str, trust: bool
    ) -> None:
        settings = described.settings
        if settings.kind != "onnx" and not trust:
            raise InputError(
                f"{described.source}: a {settings.kind} program can run any code when it is "
                f"loaded; if you trust who made it, say --trust"
            )
        assert settings.features is not None  # the description was checked
        self.name = str(described.path)
        self.label_set = described.read_labels()
        self.digest = described.digest()
        self.spec: FeatureSpec | None = settings.features
        self.trained_on = read_trained_on(described.folder)
        require_features(described.path, config_dict(settings.features), data_dir)
        data = DataDir.read(data_dir, require=("utt2spk", "feats"))
        self.utt_ids: Collection[str] = data.feats.keys()
        self._reader = FeatureReader(data, settings.cmvn)
        self._settings = settings
        if settings.kind == "onnx":
            self._program: OnnxProgram | TorchProgram = OnnxProgram(
                described.source, settings.takes_lengths, settings.output, torch.get_num_threads()
            )
        else:
            self._program = TorchProgram(described, device)

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T',V) of each utterance, at the program's own frame rate.

        Raises:
            InputError: naming the utterance for which the program fails, or gives another number
                of labels or something else than its description says.
        """
        return [self._log_post(utt) for utt in utt_ids]

    def _log_post(self, utt: str) -> Tensor:
        feats = np.array(self._reader[utt], np.float32)
        try:
            scores = self._program(feats[None], np.array([len(feats)]))
        except InputError as error:
            raise InputError([f"{utt}: {fault}" for fault in error.faults]) from None
        if scores.ndim != 3 or len(scores) != 1 or scores.shape[2] != len(self.label_set):
            raise InputError(
                f"{self.name}: {utt}: scores of shape {scores.shape}, expected "
                f"(1, frames, {len(self.label_set)} labels)"
            )
        found = torch.from_numpy(np.array(scores[0]))
        if fault := _fault(found, self._settings.values):
            raise InputError(f"{self.name}: {utt}: {fault}")
        if self._settings.values == "posteriors":
            found = found.clamp_min(_LEAST).log()
        return torch.log_softmax(found, dim=-1)


class TorchProgram:
    """A TorchScript or torch.export program; loading it can run any code.

    Raises:
        InputError: if torch cannot load it.
    """

    def __init__(self, described: Described, device: torch.device | str) -> None:
        self._path = described.source
        self._settings = described.settings
        self._device = device
        try:
            if described.settings.kind == "torchscript":
                self._call = torch.jit.load(str(self._path), map_location=device).eval()
            else:
                self._call = torch.export.load(str(self._path)).module().to(device)
        except Exception as error:  # torch raises whatever its parts do
            raise InputError(f"{self._path}: torch cannot load it: {error}") from None

    @torch.no_grad()
    def __call__(
        self, feats: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Features (B,T,F), lengths (B,) -> scores (B,T',V).

        Raises:
            InputError: if the program fails, or has no such output.
        """
        inputs = [torch.from_numpy(feats).to(self._device)]
        if self._settings.takes_lengths:
            inputs.append(torch.from_numpy(lengths).to(self._device))
        try:
            outputs = self._call(*inputs)
        except Exception as error:  # as above
            raise InputError(f"{self._path}: failed on features {feats.shape}: {error}") from None
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        if self._settings.output >= len(outputs):
            raise InputError(f"{self._path}: no output {self._settings.output} of {len(outputs)}")
        scores: NDArray[np.float32] = outputs[self._settings.output].float().cpu().numpy()
        return scores


def _fault(scores: Tensor, values: str) -> str | None:
    """What is wrong with scores (T',V) that should be logits or posteriors."""
    if bool(scores.isnan().any()) or bool((scores == torch.inf).any()):
        return "scores are NaN or infinite"
    probable = bool((scores >= 0).all()) and bool(
        ((scores.double().sum(1) - 1).abs() <= _SUM_TOLERANCE).all()
    )
    if values == "posteriors" and not probable:
        return "rows are not posteriors that add up to 1; are they logits (values: logits)?"
    if values == "logits" and probable and scores.shape[1] > 1 and len(scores):
        return "rows add up to 1: these are posteriors, not logits; say values: posteriors"
    return None
