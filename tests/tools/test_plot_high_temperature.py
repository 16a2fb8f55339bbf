import importlib.util
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "plot_high_temperature.py"


@pytest.fixture
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("plot_high_temperature", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_difference_halves_when_the_temperature_doubles(tool: Any) -> None:
    student, teacher = (z - z.mean(1, keepdim=True) for z in tool.random_logits(20, 7, 2.0, 1))
    near, far = (tool.relative_difference(student, teacher, t) for t in (500.0, 1000.0))
    assert near < 0.01
    assert far == pytest.approx(near / 2, rel=0.01)


def test_table_and_picture(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plots" / "t.svg"
    pytest.importorskip("matplotlib")
    options = ["--frames", "5", "--labels", "4", "--temperatures", "10", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["tool", *options])
    tool.main()
    said = capsys.readouterr().out
    assert "5 frames, 4 labels" in said
    student, teacher = (z - z.mean(1, keepdim=True) for z in tool.random_logits(5, 4, 3.0, 0))
    for temperature in (1.0, 10.0):
        assert f"{tool.relative_difference(student, teacher, temperature):.5f}" in said
    assert "temperature" in out.read_text()
