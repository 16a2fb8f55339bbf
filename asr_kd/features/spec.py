"""What a feature is: the specification that travels with features, models and stores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from asr_kd.config import Config, config_dict
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text

FEATURE_JSON = "feature.json"
Kind = Literal["fbank", "mfcc", "librosa", "external"]

_SOUND = {"sample_rate", "frame_length_ms", "num_mel", "low_freq", "high_freq"}
_KALDI = {
    *_SOUND, "dither", "preemphasis", "remove_dc_offset", "window", "snip_edges", "use_energy",
    "raw_energy", "energy_floor",
}  # fmt: skip
_OPTIONS: dict[Kind, set[str]] = {
    "fbank": _KALDI,
    "mfcc": {*_KALDI, "num_ceps", "cepstral_lifter"},
    "librosa": {*_SOUND, "n_fft", "power"},
    "external": {"name", "dim"},
}
_EVERYWHERE = {"kind", "frame_shift_ms"}


class FeatureSpec(Config):
    """How features are computed; an option that another kind has is refused, and not stored.

    Attributes:
        kind: fbank and mfcc as in Kaldi; librosa, a log-mel in librosa's manner; external,
            made elsewhere.
        frame_shift_ms: milliseconds from frame to frame.
        sample_rate: samples per second that the sound must have.
        frame_length_ms: milliseconds in a window.
        num_mel: triangular filters.
        low_freq: lower edge of the lowest filter, Hz.
        high_freq: upper edge of the highest filter, Hz; 0 or below counts from half the rate.
        dither: standard deviation of the noise added, in steps of 16-bit samples; the noise of an
            utterance depends on its id only.
        preemphasis: coefficient of the difference filter.
        remove_dc_offset: whether each window's mean is taken off.
        window: shape of the window.
        snip_edges: whether only whole windows count; otherwise T = N / shift, the ends mirrored.
        use_energy: fbank gets the log-energy as first dimension, mfcc in place of C0.
        raw_energy: whether that energy is measured before pre-emphasis and window.
        energy_floor: least energy, in squared 16-bit steps; 0 for none.
        num_ceps: cepstral coefficients, C0 included.
        cepstral_lifter: strength Q of the lifter; 0 for none.
        n_fft: samples in librosa's transform.
        power: exponent of librosa's magnitudes.
        name: what made external features; a model takes only features of the same name.
        dim: F of external features.
    """

    kind: Kind = "fbank"
    frame_shift_ms: PositiveFloat = 10.0
    sample_rate: PositiveInt = 16000
    frame_length_ms: PositiveFloat = 25.0
    num_mel: Annotated[int, Field(ge=4)] = 80
    low_freq: NonNegativeFloat = 20.0
    high_freq: float = 0.0
    dither: NonNegativeFloat = 0.0
    preemphasis: Annotated[float, Field(ge=0, le=1)] = 0.97
    remove_dc_offset: bool = True
    window: Literal["povey", "hamming", "hanning", "rectangular"] = "povey"
    snip_edges: bool = True
    use_energy: bool = False
    raw_energy: bool = True
    energy_floor: NonNegativeFloat = 0.0
    num_ceps: PositiveInt = 13
    cepstral_lifter: NonNegativeFloat = 22.0
    n_fft: PositiveInt = 512
    power: Literal[1, 2] = 2
    name: str = "external"
    dim: PositiveInt | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        faults = [
            f"{name} is no option of {self.kind}, but of {', '.join(kinds)}"
            for name in sorted(self.model_fields_set)
            if (kinds := [kind for kind, names in _OPTIONS.items() if name in names])
            and self.kind not in kinds
        ]
        if self.kind != "external":
            faults += self._sound_faults()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _sound_faults(self) -> list[str]:
        faults = []
        if self.shift < 1 or self.length < 2:
            faults.append(f"window of {self.length} and shift of {self.shift} samples")
        if not self.low_freq < self.top_freq <= self.sample_rate / 2:
            faults.append(
                f"filters from low_freq={self.low_freq} to high_freq={self.high_freq} are not "
                f"inside 0 to {self.sample_rate / 2} Hz"
            )
        if self.kind == "mfcc" and self.num_ceps > self.num_mel:
            faults.append(f"num_ceps={self.num_ceps} of num_mel={self.num_mel} filters")
        if self.kind == "librosa" and self.n_fft < self.length:
            faults.append(f"n_fft={self.n_fft} is shorter than the window of {self.length}")
        return faults

    @model_serializer(mode="wrap")
    def _without_other_kinds(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        others = set[str]().union(*_OPTIONS.values()) - _OPTIONS[self.kind]
        return {name: value for name, value in handler(self).items() if name not in others}

    @property
    def shift(self) -> int:
        """Samples from frame to frame."""
        return _samples(self.sample_rate, self.frame_shift_ms)

    @property
    def length(self) -> int:
        """Samples in a window."""
        return _samples(self.sample_rate, self.frame_length_ms)

    @property
    def top_freq(self) -> float:
        """Upper edge of the highest filter, Hz."""
        return self.high_freq + (self.sample_rate / 2 if self.high_freq <= 0 else 0.0)


def read_spec(data_path: Path) -> FeatureSpec:
    """Reads `feature.json` of a feature directory.

    Raises:
        InputError: if it is missing or not a specification.
    """
    path = Path(data_path) / FEATURE_JSON
    try:
        return FeatureSpec.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; make a feature directory with "
            f"`asr-kd make-feats {data_path} --out DIR`"
        ) from None
    except pydantic.ValidationError as error:
        faults = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError(faults) from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None


def require_features(model_dir: Path, trained_on: Mapping[str, Any], data_dir: Path) -> None:
    """Refuses features of another kind than a model was trained on.

    Raises:
        InputError: with every option that differs, or if there is no specification.
    """
    here = config_dict(read_spec(data_dir))
    faults = [
        f"{model_dir}: trained on features with {key} {trained_on.get(key)}, {data_dir} has "
        f"{here.get(key)}; name its own features as {model_dir}=FEATURE_DIR"
        for key in sorted(trained_on.keys() | here.keys())
        if trained_on.get(key) != here.get(key)
    ]
    if faults:
        raise InputError(faults)


def require_same_input(
    name: str, one: Mapping[str, Any], other_name: str, other: Mapping[str, Any]
) -> None:
    """Refuses two inputs of models that differ: options of features, dimensions, normalisation.

    Raises:
        InputError: with both values of every option that differs.
    """
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    if keys:
        here, there = (", ".join(f"{k} {x.get(k)}" for k in keys) for x in (one, other))
        raise InputError(
            f"features differ: {name} has {here}; {other_name} has {there}; models read "
            f"features and normalisation (cmvn=) as they were trained"
        )


def write_spec(spec: FeatureSpec, data_path: Path) -> None:
    """Writes `feature.json`."""
    write_text(Path(data_path) / FEATURE_JSON, spec.model_dump_json(indent=2) + "\n")


def _samples(rate: int, milliseconds: float) -> int:
    # Kaldi cuts off; the small term keeps a whole number from falling to the one below by rounding.
    return int(rate * milliseconds / 1000 + 1e-6)
