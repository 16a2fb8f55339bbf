from pathlib import Path

from asr_kd.models.trained_on import read_trained_on, write_trained_on


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_trained_on(tmp_path) is None
    write_trained_on(tmp_path, ["b", "é", "a", "b"])
    assert (tmp_path / "trained_on.txt").read_text(encoding="utf-8") == "a\nb\né\n"
    assert read_trained_on(tmp_path) == {"a", "b", "é"}
    write_trained_on(tmp_path, [])
    assert read_trained_on(tmp_path) == frozenset()
