import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from asr_kd.labels.character_units import character_units
from asr_kd.labels.ctc import collapse
from asr_kd.score.normalise import NONE

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench_ctc.py"


def test_made_up_posteriors_are_those_of_the_path() -> None:
    units = character_units(["▁", "A", "B"], NONE)
    labels = [2, 1, 3, 3, 1]
    make_log_posts = run_path(str(TOOL))["make_log_posts"]
    log_posts = make_log_posts(labels, units, 30.0, np.random.default_rng(0))
    assert log_posts.shape[1] == len(units.label_set)
    np.testing.assert_allclose(np.logaddexp.reduce(log_posts, axis=1), 0, atol=1e-4)
    assert collapse(log_posts.argmax(axis=1).astype(np.int32)).tolist() == labels


@pytest.mark.parametrize(("most", "status"), [("1e9", 0), ("1e-9", 1)])
def test_bench(most: str, status: int) -> None:
    sizes = {"words": 60, "units": 40, "sentences": 3, "repeats": 1, "at-most": most}
    options = [f"--{name}={value}" for name, value in sizes.items()]
    done = subprocess.run(
        [sys.executable, str(TOOL), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "60 words, 40 labels" in done.stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]]
            for line in done.stdout.splitlines() if line.count("│") > 2]  # fmt: skip
    assert {row[0] for row in rows} == {"peaky", "unsure"}
    right = {row[2]: row[4] for row in rows if row[0] == "peaky"}
    assert list(right) == ["TLG, beam 10", "TG of units, beam 10", "greedy", "prefix beam, 16"]
    assert right["TLG, beam 10"] == "3 of 3"
    assert all(float(row[3]) > 0 for row in rows)
