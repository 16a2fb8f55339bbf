import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "plot_temperature.py"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """narrow rises to T = 2 and falls, wide only rises; two seeds, 1 point apart."""
    folders = []
    for role, accuracy in (
        ("narrow-T1", 0.5), ("narrow-T2", 0.6), ("narrow-T20", 0.4), ("wide-T1", 0.7),
        ("wide-T20", 0.8), ("narrow-hard", 0.45), ("teacher", 0.9),
    ):  # fmt: skip
        for seed in ("1", "2"):
            value = accuracy + (0.01 if seed == "2" else 0)
            folders.append({"role": role, "seed": seed, "set": "test", "accuracy": value})
            folders.append({"role": role, "seed": seed, "set": "dev", "accuracy": 0.1})
    (tmp_path / "results.json").write_text(json.dumps({"folders": folders}))
    return tmp_path


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    env = {"COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_table_and_picture(results: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "pictures" / "T.svg"
    done = _run(results, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = {row.split()[1]: row for row in done.stdout.splitlines() if row.startswith("│")}
    narrow = "50.50 [50.00, 51.00] │ 60.50 [60.00, 61.00] │ 40.50 [40.00, 41.00]"
    assert narrow in rows["narrow"]
    assert rows["wide"].split("│")[3].strip() == "—"
    assert "teacher: 90.50 [90.00, 91.00]" in done.stdout
    picture = out.read_text()
    for text in ("narrow", "wide", "teacher", "narrow-hard", "temperature of the targets"):
        assert f">{text}<" in picture


def test_what_it_cannot_draw(results: Path, tmp_path: Path) -> None:
    assert "no figures on 'train'; there are dev, test" in _run(results, "--set", "train").stderr
    (tmp_path / "x.json").write_text(
        '{"folders": [{"role":"a","seed":"1","set":"test","accuracy":1}]}'
    )
    assert "no role like NAME-T4" in _run(tmp_path / "x.json").stderr
