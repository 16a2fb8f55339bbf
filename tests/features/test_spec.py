from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.config import config_dict, load_config
from asr_kd.errors import InputError
from asr_kd.features.make_feats import FeatsConfig
from asr_kd.features.spec import FeatureSpec, read_spec, write_spec

CONFIGS = Path(__file__).parents[2] / "configs/features"


@given(st.sampled_from(["fbank", "mfcc", "librosa", "external"]), st.floats(1, 30))
def test_goes_to_json_and_back(
    tmp_path_factory: pytest.TempPathFactory, kind: str, shift: float
) -> None:
    folder = tmp_path_factory.mktemp("spec")
    spec = FeatureSpec(kind=kind, frame_shift_ms=shift)
    write_spec(spec, folder)
    assert read_spec(folder) == spec


def test_stores_only_what_the_kind_has() -> None:
    assert config_dict(FeatureSpec(kind="external", name="an4-mfc", dim=13)) == {
        "kind": "external", "frame_shift_ms": 10.0, "name": "an4-mfc", "dim": 13,
    }  # fmt: skip
    assert "num_ceps" not in config_dict(FeatureSpec(kind="fbank"))
    assert "num_ceps" in config_dict(FeatureSpec(kind="mfcc"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_ceps=13", "num_ceps is no option of fbank, but of mfcc"),
        ("high_freq=9000", "not inside 0 to 8000"),
        ("low_freq=8000", "not inside 0 to 8000"),
        ("frame_shift_ms=0.01", "shift of 0 samples"),
        ("num_mels=40", "did you mean 'num_mel'"),
        ("window=blackman", "window"),
    ],
)
def test_bad_options_are_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(FeatsConfig, None, [override])


def test_more_cepstra_than_filters() -> None:
    with pytest.raises(InputError, match="num_ceps=24 of num_mel=23"):
        load_config(FeatsConfig, CONFIGS / "mfcc13.yaml", ["num_ceps=24"])
    with pytest.raises(InputError, match="n_fft=256 is shorter than the window of 400"):
        load_config(FeatsConfig, CONFIGS / "librosa80.yaml", ["n_fft=256"])


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda f: f.stem)
def test_our_configs_are_valid(file: Path) -> None:
    assert load_config(FeatsConfig, file).spec.kind in file.stem


def test_sizes_in_samples() -> None:
    spec = FeatureSpec(sample_rate=22050, high_freq=-100)
    assert (spec.length, spec.shift, spec.top_freq) == (551, 220, 10925)
    assert FeatureSpec(sample_rate=44100).shift == 441


def test_unreadable_specifications(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make-feats"):
        read_spec(tmp_path)
    (tmp_path / "feature.json").write_text("{")
    with pytest.raises(InputError, match=r"feature\.json: not JSON"):
        read_spec(tmp_path)
    (tmp_path / "feature.json").write_text('{"kind": "external", "dims": 13}')
    with pytest.raises(InputError, match=r"feature\.json: dims"):
        read_spec(tmp_path)
