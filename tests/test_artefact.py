import os
from pathlib import Path

import pytest

from asr_kd.artefact import Artefact, hash_input, read_manifest
from asr_kd.errors import InputError


def make(path: Path, text: str = "whole", **config: object) -> Artefact:
    artefact = Artefact(path, "cook", config, {})
    work = artefact.begin()
    (work / "dish").write_text(text)
    artefact.publish({"portions": 2})
    return artefact


def test_published_whole_with_its_manifest(tmp_path: Path) -> None:
    artefact = make(tmp_path / "out", salt=1)
    assert (tmp_path / "out" / "dish").read_text() == "whole"
    manifest = read_manifest(tmp_path / "out", "cook")
    assert manifest.config == {"salt": 1}
    assert manifest.info == {"portions": 2}
    assert artefact.is_done()
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_another_config_or_input_is_not_done(tmp_path: Path) -> None:
    make(tmp_path / "out", salt=1)
    grain = tmp_path / "grain"
    grain.write_text("rye")
    assert not Artefact(tmp_path / "out", "cook", {"salt": 2}, {}).is_done()
    assert not Artefact(tmp_path / "out", "cook", {"salt": 1}, {"grain": grain}).is_done()


def test_inputs_are_known_by_content(tmp_path: Path) -> None:
    grain = tmp_path / "grain"
    grain.write_text("rye")
    before = Artefact(tmp_path / "out", "cook", {}, {"grain": grain}).fingerprint
    os.utime(grain, (0, 0))
    assert Artefact(tmp_path / "out", "cook", {}, {"grain": grain}).fingerprint == before
    grain.write_text("oat")
    assert Artefact(tmp_path / "out", "cook", {}, {"grain": grain}).fingerprint != before


def test_a_changed_upstream_artefact_changes_those_below(tmp_path: Path) -> None:
    make(tmp_path / "dough", salt=1)
    first = hash_input(tmp_path / "dough")
    make(tmp_path / "dough", salt=2)
    assert hash_input(tmp_path / "dough") != first


def test_a_killed_run_leaves_the_former_output_and_is_taken_up(tmp_path: Path) -> None:
    make(tmp_path / "out", "former", salt=1)
    killed = Artefact(tmp_path / "out", "cook", {"salt": 2}, {})
    (killed.begin() / "half").write_text("done before the kill")
    assert (tmp_path / "out" / "dish").read_text() == "former"
    again = Artefact(tmp_path / "out", "cook", {"salt": 2}, {})
    assert not again.is_done()
    assert (again.begin() / "half").read_text() == "done before the kill"


def test_work_of_another_configuration_is_discarded(tmp_path: Path) -> None:
    stale = Artefact(tmp_path / "out", "cook", {"salt": 2}, {})
    (stale.begin() / "half").write_text("stale")
    assert not (Artefact(tmp_path / "out", "cook", {"salt": 3}, {}).begin() / "half").exists()


def test_killed_between_manifest_and_rename_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "out", "former", salt=1)
    artefact = Artefact(tmp_path / "out", "cook", {"salt": 2}, {})
    (artefact.begin() / "dish").write_text("new")
    with monkeypatch.context() as patch:
        patch.setattr(Artefact, "_move_into_place", lambda self: None)
        artefact.publish()
    assert (tmp_path / "out" / "dish").read_text() == "former"
    assert Artefact(tmp_path / "out", "cook", {"salt": 2}, {}).is_done()
    assert (tmp_path / "out" / "dish").read_text() == "new"


def test_a_folder_that_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(InputError, match="choose another --out"):
        Artefact(tmp_path / "thesis", "cook", {}, {}).begin()
    assert (tmp_path / "thesis" / "chapter").exists()


def test_the_output_of_another_verb_is_never_replaced(tmp_path: Path) -> None:
    make(tmp_path / "out", "hours of work")
    with pytest.raises(InputError, match="not the output of `asr-kd bake`"):
        Artefact(tmp_path / "out", "bake", {}, {}).begin()
    assert (tmp_path / "out" / "dish").read_text() == "hours of work"


@pytest.mark.parametrize("read", ["out", "out/dish"])
def test_an_input_is_never_replaced(tmp_path: Path, read: str) -> None:
    make(tmp_path / "out")
    with pytest.raises(InputError, match="would be replaced by --out"):
        Artefact(tmp_path / "out", "cook", {"salt": 2}, {"recipe": tmp_path / read})


def test_a_manifest_that_cannot_be_written_costs_no_shard(tmp_path: Path) -> None:
    artefact = Artefact(tmp_path / "out", "cook", {}, {})
    shards = artefact.begin() / "shards"
    shards.mkdir()
    with pytest.raises(TypeError):
        artefact.publish({"portions": object()})
    assert shards.exists()
    artefact.publish()
    assert sorted(os.listdir(tmp_path / "out")) == ["manifest.json"]


def test_manifest_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="asr-kd cook"):
        read_manifest(tmp_path, "cook")
    make(tmp_path / "out")
    with pytest.raises(InputError, match="made by `asr-kd cook`, expected `asr-kd bake`"):
        read_manifest(tmp_path / "out", "bake")
    (tmp_path / "out" / "manifest.json").write_text('{"verb": ')
    with pytest.raises(InputError, match="corrupt manifest"):
        read_manifest(tmp_path / "out")


def test_missing_inputs_are_named_together(tmp_path: Path) -> None:
    inputs: dict[str, Path | str] = {"a": tmp_path / "one", "b": tmp_path / "two"}
    with pytest.raises(InputError) as error:
        Artefact(tmp_path / "out", "cook", {}, inputs)
    assert [fault.split(":")[0] for fault in error.value.faults] == [
        str(p) for p in inputs.values()
    ]


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing-here"):
        hash_input(tmp_path / "nothing-here")
