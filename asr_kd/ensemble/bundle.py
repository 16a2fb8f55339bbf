"""torchaudio's wav2vec 2.0 and HuBERT models with CTC heads, as teachers that read sound.

Baevski et al. 2020, Hsu et al. 2021. They spell in characters, at 20 ms a frame: those of our
models are the same where features of 10 ms (windows of 25 ms, `snip_edges`) are subsampled by 2.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from asr_kd.artefact import hash_file, hash_json
from asr_kd.config import Config, config_dict, load_config
from asr_kd.data.directory import DataDir
from asr_kd.errors import AsrKdError, InputError
from asr_kd.features.spec import FeatureSpec
from asr_kd.io.audio import read_audio, resample
from asr_kd.labels.character_units import ends_words
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import BLANK_NAME, WORD_START, Units

BUNDLE = "bundle:"
"""How these teachers' names on the command line begin: bundle:NAME=UNITS."""
DESCRIPTION, WEIGHTS = "bundle.yaml", "weights.safetensors"
_WORD_END = "|"
_PUBLIC_SHIFT_MS = 20.0
_CONVOLUTIONS = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]  # channels, width, stride


class BundleConfig(Config):
    """What `bundle.yaml` holds, beside `weights.safetensors`.

    Attributes:
        model: arguments of `torchaudio.models.wav2vec2_model`.
        labels: its outputs without the blank, which comes first; `|` ends words.
        sample_rate: samples per second of its sound.
        normalize_waveform: whether each utterance is made to have mean 0 and variance 1.
    """

    model: dict[str, Any]
    labels: tuple[str, ...]
    sample_rate: PositiveInt = 16000
    normalize_waveform: bool = False


@dataclass(frozen=True)
class Bundle:
    """A model that is not loaded yet.

    Attributes:
        name: of the bundle.
        labels: names of its V labels, as units call them; the blank is first.
        sample_rate: samples per second of its sound.
        frame_shift_ms: from frame to frame of its outputs.
        digest: changes with the model.
        load: the model: waves (1,N) and no lengths -> logits (1,T',V).
    """

    name: str
    labels: tuple[str, ...]
    sample_rate: int
    frame_shift_ms: float
    digest: str
    load: Callable[[], nn.Module]

    @classmethod
    def find(cls, name: str) -> "Bundle":
        """A folder with `bundle.yaml`, or one of torchaudio's by its name.

        Raises:
            InputError: if it is neither, or describes no model with characters.
        """
        if (Path(name) / DESCRIPTION).is_file():
            return cls._read(Path(name))
        from torchaudio import pipelines

        found = getattr(pipelines, name, None)
        if not isinstance(found, pipelines.Wav2Vec2ASRBundle):
            kinds = vars(pipelines).items()
            known = [k for k, v in kinds if isinstance(v, pipelines.Wav2Vec2ASRBundle)]
            raise InputError(
                f"{BUNDLE}{name}: no folder with {DESCRIPTION}, and none of torchaudio's bundles "
                f"for recognition: {', '.join(sorted(known))}"
            )
        labels = _labels(found.get_labels()[1:], name)
        rate = int(found.sample_rate)
        # What is published under a name stays; hashing weights would fetch them for nothing.
        digest = hash_json(["torchaudio", name, labels, rate])

        def load() -> nn.Module:
            try:
                model: nn.Module = found.get_model(dl_kwargs={"weights_only": True})
            except (OSError, RuntimeError, UnpicklingError) as error:
                raise AsrKdError(
                    f"{BUNDLE}{name}: torchaudio could not fetch or load its weights: {error}"
                ) from None
            return model

        return cls(name, labels, rate, _PUBLIC_SHIFT_MS, digest, load)

    @classmethod
    def _read(cls, folder: Path) -> "Bundle":
        path, weights = folder / DESCRIPTION, folder / WEIGHTS
        config = load_config(BundleConfig, path)
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; expected the weights of {path}")
        labels = _labels(config.labels, str(path))
        outputs = config.model.get("aux_num_out")
        if outputs != len(labels):
            raise InputError(
                f"{path}: aux_num_out is {outputs}, expected {len(labels)}: labels and the blank"
            )
        try:
            layers = config.model.get("extractor_conv_layer_config") or _CONVOLUTIONS
            samples = math.prod(int(stride) for _channels, _width, stride in layers)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}: extractor_conv_layer_config: expected [channels, width, stride] of each "
                f"layer: {error}"
            ) from None
        shift = 1000 * samples / config.sample_rate
        digest = hash_json([config_dict(config), hash_file(weights)])

        def load() -> nn.Module:
            return _load(config, path, weights)

        return cls(str(folder), labels, config.sample_rate, shift, digest, load)


class BundleTeacher:
    """A bundle and the sound that it hears; see `Teacher`.

    It gets one utterance at a time, as it does not know what padding is. Sound of another rate is
    resampled. Its weights are loaded, or fetched by torchaudio, when it is first asked.

    Args:
        bundle: the model.
        units: folder of `bundle-units`, whose labels are the model's.
        data_dir: data or feature directory with wav.scp.
        device: where it runs.

    Raises:
        InputError: for units of other labels, or data without sound.
    """

    def __init__(
        self, bundle: Bundle, units: Path, data_dir: Path, device: torch.device | str = "cpu"
    ) -> None:
        self.name = f"{BUNDLE}{bundle.name}"
        self.label_set: LabelSet = _same_labels(bundle, units)
        self.digest = hash_json([bundle.digest, self.label_set.digest])
        self.frame_shift_ms: float | None = bundle.frame_shift_ms
        self.num_frames: Mapping[str, int] = {}
        self.spec: FeatureSpec | None = None
        self.trained_on: frozenset[str] | None = None
        self._data = DataDir.read(data_dir, require=("utt2spk", "wav"))
        self.utt_ids: Collection[str] = self._data.utt2spk.keys()
        self._bundle = bundle
        self._device = device

    @cached_property
    def _model(self) -> nn.Module:
        return self._bundle.load().to(self._device).eval()

    @property
    def num_params(self) -> int:
        """Parameters of the model, which is loaded for it."""
        return sum(weights.numel() for weights in self._model.parameters())

    def log_posts(self, utt_ids: Sequence[str]) -> list[Tensor]:
        """Log-posteriors (T',V) of each utterance, on the device.

        Raises:
            InputError: naming the utterance whose sound cannot be read or is too short.
            AsrKdError: where torchaudio cannot fetch the weights.
        """
        return [self._log_post(utt) for utt in utt_ids]

    @torch.no_grad()
    def _log_post(self, utt: str) -> Tensor:
        wanted = self._bundle.sample_rate
        try:
            samples, rate = read_audio(*self._data.audio(utt))
        except InputError as error:
            raise InputError([f"{utt}: {fault}" for fault in error.faults]) from None
        speed = self._data.speed.get(utt, 1.0)
        if rate != wanted or speed != 1:
            samples = resample(samples, rate, wanted, speed)
        wave = torch.from_numpy(samples)[None].to(self._device)
        try:
            logits = self._model(wave)[0][0].float()
        except RuntimeError as error:
            seconds = len(samples) / wanted
            raise InputError(
                f"{self.name}: {utt}: failed on {seconds:.3f} s of sound: {error}"
            ) from None
        if not len(logits) or logits.shape[1] != len(self.label_set):
            raise InputError(
                f"{self.name}: {utt}: scores of shape {tuple(logits.shape)}, expected "
                f"{len(self.label_set)} labels for each of some frames"
            )
        if not bool(torch.isfinite(logits).all()):
            raise InputError(f"{self.name}: {utt}: scores are NaN or infinite")
        return logits.log_softmax(-1)


def open_bundle(
    name: str, units: str, data: Path, device: torch.device | str = "cpu"
) -> BundleTeacher:
    """Opens bundle:NAME=UNITS.

    Raises:
        InputError: if bundle, units or sound cannot be had, or do not belong together.
    """
    bundle = Bundle.find(name)
    if not units:
        raise InputError(
            f"{BUNDLE}{name}: say which units its labels are: {BUNDLE}{name}=UNITS, of "
            f"`asr-kd bundle-units {name} --out UNITS`"
        )
    return BundleTeacher(bundle, Path(units), data, device)


def _labels(theirs: Sequence[str], source: str) -> tuple[str, ...]:
    """The labels without the blank -> those of units, with it."""
    if not theirs or theirs[0] != _WORD_END:
        raise InputError(
            f"{source}: labels {' '.join(theirs)}: the first of them, behind the blank, does not "
            f"end words ({_WORD_END}): words could not be told apart"
        )
    return (BLANK_NAME, WORD_START, *theirs[1:])


def _same_labels(bundle: Bundle, folder: Path) -> LabelSet:
    units = Units.read(folder)
    ours, advice = units.label_set, f"make units by `asr-kd bundle-units {bundle.name}`"
    lowered = tuple(name.lower() for name in bundle.labels)
    if ours.names not in (bundle.labels, lowered):
        raise InputError(
            f"{folder} has {len(ours)} labels {' '.join(ours.names[:8])} ..., "
            f"{BUNDLE}{bundle.name} {len(bundle.labels)} labels "
            f"{' '.join(bundle.labels[:8])} ...; {advice}"
        )
    if not ends_words(units):
        raise InputError(
            f"{folder} begins words with {WORD_START}, {BUNDLE}{bundle.name} ends them with "
            f"{_WORD_END}; {advice}"
        )
    return ours


def _load(config: BundleConfig, path: Path, weights: Path) -> nn.Module:
    from safetensors.torch import load_file
    from torchaudio.models import wav2vec2_model

    try:
        model: nn.Module = wav2vec2_model(**config.model)
        model.load_state_dict(load_file(weights))
    except Exception as error:  # of torch's layers and safetensors, without a common base
        raise InputError(f"{path}: no such model, or other weights in {weights}: {error}") from None
    return _Normalised(model) if config.normalize_waveform else model


class _Normalised(nn.Module):
    """A model whose waves (1,N) get mean 0 and variance 1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, wave: Tensor) -> Any:
        """Waves (1,N) -> what the model makes of them."""
        return self.model(nn.functional.layer_norm(wave, wave.shape))
