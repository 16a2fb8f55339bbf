from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from asr_kd.config import Config, config_dict, load_config, write_config
from asr_kd.errors import InputError


class Small(Config):
    kind: Literal["small"] = "small"
    width: int = 8


class Deep(Config):
    kind: Literal["deep"]
    layers: int = 3


class Job(Config):
    seed: int = 0
    rate: float = 0.5
    model: Annotated[Small | Deep, Field(discriminator="kind")] = Small()


def test_yaml_states_only_what_differs_and_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("rate: 0.25\nmodel:\n  width: 16\n  kind: small\n")
    job = load_config(Job, file, ["model.width=32", "seed=7"])
    assert job == Job(seed=7, rate=0.25, model=Small(width=32))


def test_an_override_may_choose_another_member_of_a_union() -> None:
    assert load_config(Job, None, ["model.kind=deep"]).model == Deep(kind="deep")


def test_a_union_without_its_kind_names_them_all() -> None:
    class Both(Config):
        kind: Literal["both"] = "both"
        jobs: tuple[Job, ...] = ()
        one: Annotated[Small | Deep, Field(discriminator="kind")] | None = None

    class Outer(Config):
        model: Annotated[Both | Small, Field(discriminator="kind")]

    with pytest.raises(InputError) as error:
        load_config(Job, None, ["model.layers=4"])
    assert error.value.faults == ["model: which one? Add model.kind=..., one of small, deep"]
    with pytest.raises(InputError) as error:
        load_config(Outer, None, ["model.width=4"])
    assert error.value.faults == ["model: which one? Add model.kind=..., one of both, small"]
    given = ["model.kind=both", "model.one.width=4", "model.jobs=[{}, {model: {width: 1}}]"]
    with pytest.raises(InputError) as error:
        load_config(Outer, None, given)
    said = "which one? Add {0}.kind=..., one of small, deep"
    assert sorted(error.value.faults) == [
        f"{key}: {said.format(key)}" for key in ("model.jobs.1.model", "model.one")
    ]


def test_saved_config_reads_back(tmp_path: Path) -> None:
    job = Job(seed=3, model=Deep(kind="deep", layers=5))
    write_config(job, tmp_path / "config.yaml")
    assert load_config(Job, tmp_path / "config.yaml") == job
    assert config_dict(job)["model"] == {"kind": "deep", "layers": 5}


def test_all_faults_come_together_with_the_nearest_known_key(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("sed: 1\nrate: fast\n")
    with pytest.raises(InputError) as error:
        load_config(Job, file, ["model.widht=3", "nonsense", "model.kind=small"])
    text = str(error.value)
    assert len(error.value.faults) == 4
    assert "'seed'" in text
    assert "'width'" in text
    assert "rate" in text
    assert "'fast'" in text
    assert "'nonsense': expected key=value" in text


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\t: x"])
def test_a_file_that_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"odd\.yaml"):
        load_config(Job, file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        load_config(Job, tmp_path / "none.yaml")


def test_a_config_runs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"seed: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    with pytest.raises(InputError):
        load_config(Job, file)
    assert not (tmp_path / "made").exists()
